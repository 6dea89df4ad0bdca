// SPDX-License-Identifier: GPL-2.0
/* weir's XDP program: counting alone, block lists, general rules, limits, redirects. */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "cases_filter.h"
#include "cases_list.h"
#include "loader/error.h"
#include "xdp/abi.h"
#include "weir_xdp.skel.h"

#define LOOPBACK 1

/* Which cell of which program's counters a case's packets belong to. */
struct cell {
	int counters;
	enum weir_verdict verdict;
	enum weir_class class;
};

static __u64 cell_packets(const void *owner)
{
	const struct cell *cell = owner;

	return percpu_sum(cell->counters, 0,
			  offsetof(struct weir_device_counters, cell) +
				  (cell->verdict * WEIR_CLASSES + cell->class) *
					  sizeof(struct weir_counter) +
				  offsetof(struct weir_counter, packets));
}

static struct cell *cell_of(const struct weir_xdp_bpf *skel, enum weir_verdict verdict,
			    enum weir_class class)
{
	struct cell *cell = malloc(sizeof(*cell));

	if (cell)
		*cell = (struct cell){bpf_map__fd(skel->maps.counters), verdict, class};
	return cell;
}

static int add_count_case(struct bench *bench, const struct weir_xdp_bpf *skel, const char *name,
			  const struct packet_layout *layout, enum weir_class class)
{
	struct bench_case *c = bench_add(bench, "XDP", name);

	packet_build(&c->packet, layout);
	c->counted = cell_packets;
	c->owner = cell_of(skel, WEIR_PASS, class);
	if (!c->owner)
		return fail(-ENOMEM, "bench: out of memory");
	return plain(c, skel->progs.weir_xdp, XDP_PASS);
}

static int add_count_live(struct bench *bench, const struct weir_xdp_bpf *skel,
			  const struct packet_layout *layout)
{
	struct bench_case *c = bench_add(bench, "XDP", "weir, counting only: passed, live on veth");

	packet_build(&c->packet, layout);
	c->counted = cell_packets;
	c->owner = cell_of(skel, WEIR_PASS, WEIR_TCP4);
	return live_case(c, skel->progs.weir_xdp, "empty_pass", false);
}

static int add_counting(struct bench *bench)
{
	struct packet_layout layout = {
		.family = 4,
		.proto = IPPROTO_TCP,
		.flags = PACKET_DATA,
		.sport = 40000,
		.dport = 443,
		.payload = 34,
	};
	struct weir_xdp_bpf *skel = weir_xdp_bpf__open();
	int err;

	if (!skel)
		return fail(-errno, "weir: the XDP program does not open: %s", strerror(errno));
	skel->rodata->config.ifindex = LOOPBACK;
	skel->rodata->config.ethernet = 1;
	skel->rodata->config.table_bytes = 4096;
	err = weir_xdp_bpf__load(skel);
	if (err)
		return fail(err, "weir: the XDP program does not load: %s", strerror(-err));
	err = add_count_case(bench, skel, "weir, counting only: TCP/IPv4", &layout, WEIR_TCP4);
	if (!err)
		err = add_count_live(bench, skel, &layout);
	layout.family = 6;
	if (!err)
		err = add_count_case(bench, skel, "weir, counting only: TCP/IPv6", &layout,
				     WEIR_TCP6);
	layout.proto = IPPROTO_UDP;
	if (!err)
		err = add_count_case(bench, skel, "weir, counting only: UDP/IPv6", &layout,
				     WEIR_UDP6);
	layout.family = 4;
	if (!err)
		err = add_count_case(bench, skel, "weir, counting only: UDP/IPv4", &layout,
				     WEIR_UDP4);
	return err;
}

int add_weir_xdp(struct bench *bench)
{
	return add_counting(bench);
}
