// SPDX-License-Identifier: GPL-2.0
/*
 * The balancer on veth, each mode beside a bare program that sends frames the same way. Frames come
 * back by XDP_TX, as from hardware; by a redirect to the device itself, which is how weir avoids
 * XDP_TX on veth; or leave by another device.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/bench.h"
#include "loader/program/xdp_program.h"
#include "loader/base/error.h"
#include "tests/shared/balance_run.h"

#define PORT	 443
#define BACKENDS 4
#define BUCKETS	 4096
#define ELSE	 8 /* stands for the device that is not TEST_DEVICE */

enum sent_by {
	BY_TX,
	BY_REDIRECT_BACK,
	BY_REDIRECT_ELSEWHERE,
};

struct live_case {
	const char *name;
	enum weir_mode mode;
	enum sent_by by;
	const char *bare;
};

static struct balance_run *open_run(const struct live_case *live)
{
	struct address own = test_address(TEST_OWN4);
	struct balance services = {};
	struct balance_setup setup = {.services = &services, .nat_ports = BUCKETS};
	struct balance_run *run = calloc(1, sizeof(*run));

	if (!run)
		abort();
	if (live->mode == WEIR_NAT)
		setup.nat_sources = (struct nat_sources){.address = &own, .count = 1};
	/* As attach sets it for veth. */
	setup.config.no_tx = live->by != BY_TX;
	setup.config.partial_sums = live->by != BY_TX;
	test_service(&services, IPPROTO_TCP, PACKET_SERVER, PORT, live->mode);
	for (int i = 1; i <= BACKENDS; i++) {
		const char *const address[] = {"10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4"};

		test_backend(&services, address[i - 1], 0, 1);
	}
	balance_run_open(run, &setup);
	balance_free(&services);
	return run;
}

static int add_egress(const struct balance_run *run, __u32 ifindex, __u32 device)
{
	return bpf_map_update_elem(run->maps.egress_devs, &ifindex, &device, BPF_ANY) ? -errno : 0;
}

static int choose_egress(struct balance_run *run, enum sent_by by)
{
	int err = add_egress(run, TEST_DEVICE, live_device());

	if (!err)
		err = add_egress(run, ELSE, live_exit());
	if (by == BY_REDIRECT_ELSEWHERE)
		for (int i = 1; i <= BACKENDS; i++)
			run->backends[i].ifindex = ELSE;
	return err ? fail(err, "bench: devmap: %s", strerror(-err)) : 0;
}

/* A flow begins, and a segment of it tells what all that follow look like behind the program. */
static int try_out(struct balance_run *run, const struct bench_case *c, enum sent_by by,
		   struct packet_layout *layout, struct packet *arrives)
{
	struct xdp_result result;
	struct packet syn;

	layout->flags = PACKET_SYN;
	packet_build(&syn, layout);
	balance_run_frame(run, &syn, &result);
	balance_run_frame(run, &c->packet, &result);
	if (result.code != (by == BY_TX ? XDP_TX : XDP_REDIRECT))
		return fail(-EINVAL, "%s: verdict %d", c->name, result.code);
	*arrives = result.packet;
	return 0;
}

static int add_live(struct bench *bench, const struct live_case *live)
{
	struct packet_layout layout = {
		.family = 4,
		.proto = IPPROTO_TCP,
		.flags = PACKET_DATA,
		.sport = 40000,
		.dport = PORT,
		.payload = 64,
	};
	struct bench_case *c = bench_add(bench, "XDP", live->name);
	struct balance_run *run = open_run(live);
	bool away = live->by == BY_REDIRECT_ELSEWHERE;
	struct packet arrives;
	int err = choose_egress(run, live->by);

	if (err)
		return err;
	packet_build(&c->packet, &layout);
	err = try_out(run, c, live->by, &layout, &arrives);
	if (err)
		return err;
	c->counted = cell_packets;
	c->owner = cell_of(run->xdp.skel, away ? WEIR_REDIRECT : WEIR_TX, WEIR_TCP4);
	return live_changing_case(c, xdp_program_of(run->xdp.skel), live->bare,
				  away ? LIVE_ELSEWHERE : LIVE_BACK, &arrives);
}

int add_balance_live(struct bench *bench)
{
	static const struct live_case cases[] = {
		{"weir, dsr-l2: live, XDP_TX", WEIR_DSR_L2, BY_TX, "empty_tx"},
		{"weir, dsr-ipip: live, XDP_TX", WEIR_DSR_IPIP, BY_TX, "empty_tx"},
		{"weir, nat: to the backend, live, XDP_TX", WEIR_NAT, BY_TX, "empty_tx"},
		{"weir, dsr-l2: live, back by redirect", WEIR_DSR_L2, BY_REDIRECT_BACK,
		 "empty_redirect_back"},
		{"weir, dsr-l2: live, back by redirect, beside XDP_TX", WEIR_DSR_L2,
		 BY_REDIRECT_BACK, "empty_tx"},
		{"weir, dsr-l2: live, to another device", WEIR_DSR_L2, BY_REDIRECT_ELSEWHERE,
		 "empty_redirect"},
	};
	int err = 0;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && !err; i++)
		err = add_live(bench, &cases[i]);
	return err;
}
