// SPDX-License-Identifier: GPL-2.0
/*
 * weir's TC program: ordinary segments, fresh connections, SYN floods; towards a local listener,
 * whose queues are read at each SYN, and towards a port where nothing listens.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/bench/bench.h"
#include "loader/base/error.h"
#include "tc/abi.h"
#include "weir_tc.skel.h"

#define LOOPBACK      1
#define LISTENS	      8080
#define LISTENS_NOT   8081
#define BACKLOG	      128
#define CLIENT_NUMBER 1000u
#define SERVER_NUMBER 5000u

/* A copy of the program with maps of its own. */
struct observer {
	struct weir_tc_bpf *skel;
	bool listener; /* SYNs meet one */
};

static struct observer quiet, connections[2], floods[2];

static __u64 sum_over_endpoints(const struct observer *o, size_t offset)
{
	int map = bpf_map__fd(o->skel->maps.endpoint_stats);
	struct weir_endpoint_stats stats;
	__u64 sum = 0, part;

	for (__u32 slot = 0; slot < WEIR_ENDPOINTS; slot++) {
		if (bpf_map_lookup_elem(map, &slot, &stats))
			continue;
		memcpy(&part, (__u8 *)&stats + offset, sizeof(part));
		sum += part;
	}
	return sum;
}

/* The limit of a listener's queues is known where one was found. */
static bool met_listener(const struct observer *o)
{
	struct weir_endpoints endpoints = {};
	__u32 key = 0;

	bpf_map_lookup_elem(bpf_map__fd(o->skel->maps.endpoints), &key, &endpoints);
	for (int slot = 0; slot < WEIR_ENDPOINTS; slot++)
		if (endpoints.slot[slot].queue_max)
			return true;
	return false;
}

static __u64 syns(const void *owner)
{
	const struct observer *o = owner;

	if (met_listener(o) != o->listener)
		return 0;
	return sum_over_endpoints(o, offsetof(struct weir_endpoint_stats, syn));
}

/* Each of a connection's three packets once. */
static __u64 steps(const void *owner)
{
	const struct observer *o = owner;

	return syns(o) + sum_over_endpoints(o, offsetof(struct weir_endpoint_stats, synack)) +
	       sum_over_endpoints(o, offsetof(struct weir_endpoint_stats, established));
}

static int load(struct observer *o, bool listener)
{
	int err;

	o->listener = listener;
	o->skel = weir_tc_bpf__open();
	if (!o->skel)
		return fail(-errno, "weir: the TC program does not open: %s", strerror(errno));
	o->skel->rodata->config.ifindex = LOOPBACK;
	o->skel->rodata->config.ethernet = 1;
	o->skel->rodata->config.handshakes = 1;
	err = weir_tc_bpf__load(o->skel);
	return err ? fail(err, "weir: the TC program does not load: %s", strerror(-err)) : 0;
}

/* It lives as long as the process, and nobody connects. */
static int listen_locally(void)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(LISTENS)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof(any)) || listen(fd, BACKLOG))
		return fail(-errno, "bench: listening: %s", strerror(errno));
	return 0;
}

static struct packet_layout segment(enum packet_tcp flags, __u16 dport)
{
	return (struct packet_layout){
		.family = 4,
		.proto = IPPROTO_TCP,
		.flags = flags,
		.sport = 20000,
		.dport = dport,
		.seq = CLIENT_NUMBER,
	};
}

static struct bench_case *add_case(struct bench *bench, const char *name,
				   const struct packet_layout *layout, const struct observer *o,
				   __u64 (*counted)(const void *owner))
{
	struct bench_case *c = bench_add(bench, "TC", name);

	packet_build(&c->packet, layout);
	c->counted = counted;
	c->owner = o;
	return c;
}

/* Of these packets the observer has nothing to count. */
static struct bench_case *add_ordinary_case(struct bench *bench, const char *name,
					    const struct packet_layout *layout)
{
	struct bench_case *c = add_case(bench, name, layout, &quiet, steps);

	c->uncounted = true;
	return c;
}

static int add_ordinary(struct bench *bench)
{
	struct packet_layout data = segment(PACKET_DATA, LISTENS);
	const struct bpf_program *ingress = quiet.skel->progs.weir_ingress;
	const struct bpf_program *egress = quiet.skel->progs.weir_egress;
	int err;

	data.payload = 34;
	err = plain(add_ordinary_case(bench, "weir, ingress: data segment, one flow", &data),
		    ingress, TC_ACT_UNSPEC);
	if (!err)
		err = plain(add_ordinary_case(bench, "weir, egress: data segment, one flow", &data),
			    egress, TC_ACT_UNSPEC);
	if (!err)
		err = vary_flows(
			add_ordinary_case(bench, "weir, ingress: data segment, 16M flows", &data),
			ingress, TC_ACT_UNSPEC);
	data.family = 6;
	if (!err)
		err = plain(add_ordinary_case(bench, "weir, ingress: data segment, IPv6, one flow",
					      &data),
			    ingress, TC_ACT_UNSPEC);
	data.family = 4;
	data.proto = IPPROTO_UDP;
	if (!err)
		err = plain(add_ordinary_case(bench, "weir, ingress: UDP, one flow", &data),
			    ingress, TC_ACT_UNSPEC);
	data.family = 6;
	if (!err)
		err = plain(add_ordinary_case(bench, "weir, ingress: UDP, IPv6, one flow", &data),
			    ingress, TC_ACT_UNSPEC);
	return err;
}

static int add_connections(struct bench *bench, const char *name, const struct observer *o)
{
	struct packet_layout syn = segment(PACKET_SYN, o->listener ? LISTENS : LISTENS_NOT);
	struct packet_layout ack = segment(PACKET_ACK, syn.dport);
	struct packet_layout synack = {
		.family = 4,
		.proto = IPPROTO_TCP,
		.flags = PACKET_SYNACK,
		.source = PACKET_SERVER,
		.destination = PACKET_CLIENT,
		.sport = syn.dport,
		.dport = syn.sport,
		.seq = SERVER_NUMBER,
		.ack = CLIENT_NUMBER + 1,
	};
	struct packet exchange[BENCH_EXCHANGE];

	ack.seq = CLIENT_NUMBER + 1;
	ack.ack = SERVER_NUMBER + 1;
	packet_build(&exchange[BENCH_SYN], &syn);
	packet_build(&exchange[BENCH_SYNACK], &synack);
	packet_build(&exchange[BENCH_ACK], &ack);
	return vary_connections(add_case(bench, name, &syn, o, steps), o->skel->progs.weir_ingress,
				o->skel->progs.weir_egress, TC_ACT_UNSPEC, exchange);
}

static int add_flood(struct bench *bench, const char *name, const struct observer *o)
{
	struct packet_layout syn = segment(PACKET_SYN, o->listener ? LISTENS : LISTENS_NOT);

	return vary_flows(add_case(bench, name, &syn, o, syns), o->skel->progs.weir_ingress,
			  TC_ACT_UNSPEC);
}

/* Data segments of flows that the flood before them has nothing to do with. */
static int add_data_under_flood(struct bench *bench)
{
	struct packet_layout data = segment(PACKET_DATA, LISTENS_NOT + 1);
	struct bench_case *c = add_case(bench, "weir, ingress: data segment, 16M flows, in a flood",
					&data, &floods[0], syns);

	c->uncounted = true;
	return vary_flows(c, floods[0].skel->progs.weir_ingress, TC_ACT_UNSPEC);
}

int add_weir_tc(struct bench *bench)
{
	int err = load(&quiet, false);

	for (int i = 0; !err && i < 2; i++) {
		err = load(&connections[i], i);
		if (!err)
			err = load(&floods[i], i);
	}
	if (!err)
		err = listen_locally();
	if (!err)
		err = add_ordinary(bench);
	if (!err)
		err = add_connections(bench, "weir: SYN, SYN-ACK, ACK, fresh connections",
				      &connections[0]);
	if (!err)
		err = add_connections(bench, "weir: SYN, SYN-ACK, ACK, fresh, of a local listener",
				      &connections[1]);
	if (!err)
		err = add_flood(bench, "weir, ingress: SYN flood", &floods[0]);
	if (!err)
		err = add_data_under_flood(bench);
	if (!err)
		err = add_flood(bench, "weir, ingress: SYN flood on a local listener", &floods[1]);
	return err;
}
