// SPDX-License-Identifier: GPL-2.0
#include <stddef.h>
#include <stdlib.h>

#include "bench.h"
#include "weir_xdp.skel.h"

/* Which cell of which program's counters a case's packets belong to. */
struct cell {
	int counters;
	enum weir_verdict verdict;
	enum weir_class class;
};

__u64 cell_packets(const void *owner)
{
	const struct cell *cell = owner;
	size_t index = cell->verdict * WEIR_CLASSES + cell->class;

	return percpu_sum(cell->counters, 0,
			  offsetof(struct weir_device_counters, cell) +
				  index * sizeof(struct weir_counter) +
				  offsetof(struct weir_counter, packets));
}

const struct cell *cell_of(const struct weir_xdp_bpf *skel, enum weir_verdict verdict,
			   enum weir_class class)
{
	struct cell *cell = malloc(sizeof(*cell));

	if (!cell)
		abort();
	*cell = (struct cell){bpf_map__fd(skel->maps.counters), verdict, class};
	return cell;
}
