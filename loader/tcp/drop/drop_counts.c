// SPDX-License-Identifier: GPL-2.0
#include "drop_counts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "loader/base/error.h"
#include "trace/abi/drop.h"

static int by_kind(const void *a, const void *b)
{
	const struct weir_drop_slot *x = a, *y = b;

	return memcmp(&x->kind, &y->kind, sizeof(x->kind));
}

/* Slots that are used come first, sorted by their kind. Returns their number. */
static size_t gather(struct weir_drop_slot *slot, size_t count)
{
	size_t used = 0;

	for (size_t i = 0; i < count; i++)
		if (slot[i].kind.location && slot[i].packets)
			slot[used++] = slot[i];
	if (used)
		qsort(slot, used, sizeof(*slot), by_kind);
	return used;
}

static void sum_up(struct counts *c, const struct weir_drop_slot *slot, size_t used)
{
	struct weir_drop_kind *kind = c->keys;

	for (size_t i = 0; i < used; i++) {
		if (!i || by_kind(&slot[i - 1], &slot[i])) {
			kind[c->count] = slot[i].kind;
			c->value[c->count++] = 0;
		}
		c->value[c->count - 1] += slot[i].packets;
	}
}

int drop_counts_read(struct counts *c, struct trace_run *run)
{
	int cpus = libbpf_num_possible_cpus(), fd = trace_map(run, "drops"), err;
	struct weir_drop_table *table;
	__u32 zero = 0;
	size_t used;

	*c = (struct counts){.key_size = sizeof(struct weir_drop_kind), .values = 1};
	if (fd < 0)
		return fd;
	table = cpus > 0 ? calloc(cpus, sizeof(*table)) : NULL;
	if (!table)
		return fail(-ENOMEM, "out of memory");
	err = bpf_map_lookup_elem(fd, &zero, table);
	used = err ? 0 : gather(table->slot, (size_t)cpus * WEIR_DROP_KINDS);
	c->keys = calloc(used + 1, c->key_size);
	c->value = calloc(used + 1, sizeof(*c->value));
	if (err)
		fail(err, "cannot read what was dropped: %s", strerror(-err));
	else if (!c->keys || !c->value)
		err = fail(-ENOMEM, "out of memory");
	else
		sum_up(c, table->slot, used);
	free(table);
	if (err)
		counts_free(c);
	return err;
}
