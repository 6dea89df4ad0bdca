// SPDX-License-Identifier: GPL-2.0
/*
 * The balancer. The kernel's test loop does not restore frames, so each case runs behind a wrapper
 * that does and calls bpf_xdp_adjust_head() once a packet, as does the empty program it is compared
 * with: what a figure contains is the program with its own call of that (dsr-ipip), and no undoing.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/bench.h"
#include "loader/program/xdp_program.h"
#include "loader/base/error.h"
#include "tests/shared/balance_run.h"

#define VIP4	    PACKET_SERVER
#define VIP6	    PACKET_SERVER6
#define MOVING	    "192.0.2.2" /* its flows are remembered */
#define MOVING_OLD  "192.0.2.3" /* its flows are not */
#define PORT	    443
#define BACKENDS    4
#define K	    1024u
#define BUCKETS	    (1u << 17) /* so many that 16k flows all find room */
#define NAT_BUCKETS (1u << 19) /* and 64k */

struct balance_case {
	const char *name;
	const char *vip, *away; /* destination; NULL: VIP4. `away`: of no service instead */
	enum weir_mode mode;
	__u8 proto, flags;
	__u32 clients;
	bool begun; /* each flow was begun by a SYN before */
	bool alone; /* without the wrapper: the program leaves the frame as it needs it */
	const char *peer;
};

static __u8 family_of(const struct balance_case *c)
{
	return c->vip && strchr(c->vip, ':') ? 6 : 4;
}

static void layout_of(const struct balance_case *c, struct packet_layout *layout)
{
	*layout = (struct packet_layout){
		.family = family_of(c),
		.proto = c->proto,
		.flags = c->flags ? c->flags : PACKET_DATA,
		.destination = c->away ? c->away : c->vip,
		.sport = 40000,
		.dport = PORT,
		.payload = 64,
	};
}

static void add_backends(struct balance *services, __u8 family)
{
	for (int i = 1; i <= BACKENDS; i++) {
		char address[32];

		snprintf(address, sizeof(address), family == 6 ? "2001:db8:1::%d" : "10.1.0.%d", i);
		test_backend(services, address, 0, 1);
	}
}

static struct service *add_service(struct balance *services, const char *vip, __u8 proto,
				   enum weir_mode mode, bool over6)
{
	struct service *service = test_service(services, proto, vip, PORT, mode);

	add_backends(services, over6 || strchr(vip, ':') ? 6 : 4);
	return service;
}

/* Every slot is moving: the next backend owns it, and the one before did. */
static void move_all(struct balance_run *run, __u32 service)
{
	const struct service *s = &run->services.services[service - 1];

	for (__u32 i = 0; i < s->slots; i++) {
		__u32 owner = WEIR_SLOT_OWNER(*balance_run_slot(run, service, i));
		__u32 first = (service - 1) * BACKENDS + 1;

		balance_run_move_slot(run, service, i, first + (owner - first + 1) % BACKENDS);
	}
}

/* Services of one mode; runs stay as long as the process. */
static struct balance_run *open_mode(enum weir_mode mode, bool over6)
{
	struct address own[] = {test_address(TEST_OWN4), test_address(TEST_OWN6)};
	struct balance services = {};
	struct balance_setup setup = {.services = &services, .nat_ports = NAT_BUCKETS};
	struct balance_run *run = calloc(1, sizeof(*run));

	if (!run)
		abort();
	if (mode == WEIR_NAT)
		setup.nat_sources = (struct nat_sources){.address = own, .count = 2};
	add_service(&services, VIP4, IPPROTO_TCP, mode, over6)->buckets =
		mode == WEIR_NAT ? NAT_BUCKETS : BUCKETS;
	add_service(&services, MOVING, IPPROTO_TCP, mode, over6)->buckets =
		mode == WEIR_NAT ? 0 : BUCKETS;
	add_service(&services, MOVING_OLD, IPPROTO_TCP, mode, over6);
	add_service(&services, VIP4, IPPROTO_UDP, mode, over6);
	add_service(&services, VIP6, IPPROTO_TCP, mode, over6);
	add_service(&services, VIP6, IPPROTO_UDP, mode, over6);
	balance_run_open(run, &setup);
	move_all(run, 2);
	move_all(run, 3);
	balance_free(&services);
	return run;
}

static enum weir_class class_of(const struct balance_case *c)
{
	bool ip6 = family_of(c) == 6;

	switch (c->proto) {
	case IPPROTO_TCP: return ip6 ? WEIR_TCP6 : WEIR_TCP4;
	case IPPROTO_UDP: return ip6 ? WEIR_UDP6 : WEIR_UDP4;
	default: return WEIR_ICMP4;
	}
}

static int add_balance_case(struct bench *bench, struct balance_run *run,
			    const struct balance_case *b, const struct packet *packet)
{
	const struct bpf_program *program = xdp_program_of(run->xdp.skel);
	struct bench_case *c = bench_add(bench, "XDP", b->name);
	struct packet_layout layout;
	struct packet first;

	layout_of(b, &layout);
	if (packet)
		c->packet = *packet;
	else
		packet_build(&c->packet, &layout);
	layout.flags = PACKET_SYN;
	packet_build(&first, &layout);
	c->peer = b->peer;
	c->counted = cell_packets;
	c->owner = cell_of(run->xdp.skel, b->away ? WEIR_PASS : WEIR_TX, class_of(b));
	if (b->alone)
		return plain(c, program, XDP_TX);
	return vary_clients(c, program, b->away ? XDP_PASS : XDP_TX, b->clients,
			    b->begun ? &first : NULL);
}

static int add_cases(struct bench *bench, struct balance_run *run, const struct balance_case *cases,
		     size_t count)
{
	int err = 0;

	for (size_t i = 0; i < count && !err; i++)
		err = add_balance_case(bench, run, &cases[i], NULL);
	return err;
}

#define ADD(run, cases) add_cases(bench, run, cases, sizeof(cases) / sizeof((cases)[0]))

/* ---- ICMP ---- */

static __u16 icmp_sum(const __u8 *bytes, __u32 length)
{
	__u32 sum = 0;

	for (__u32 i = 0; i + 1 < length; i += 2)
		sum += bytes[i] << 8 | bytes[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

static void build_icmp(struct packet *packet, __u8 type, __u8 code, const struct packet *quote)
{
	struct packet_layout layout = {.family = 4, .proto = IPPROTO_ICMP, .payload = 64};
	struct icmphdr *icmp;

	packet_build(packet, &layout);
	icmp = (void *)(packet->bytes + packet->l4);
	*icmp = (struct icmphdr){.type = type, .code = code};
	if (quote) {
		icmp->un.frag.mtu = htons(1400);
		memcpy(icmp + 1, quote->bytes + quote->l3, 28);
	}
	icmp->checksum = htons(icmp_sum((void *)icmp, packet->end - packet->l4));
}

static int add_icmp(struct bench *bench, struct balance_run *run)
{
	static const struct packet_layout answer = {
		.family = 4,
		.proto = IPPROTO_TCP,
		.flags = PACKET_DATA,
		.source = VIP4,
		.destination = PACKET_CLIENT,
		.sport = PORT,
		.dport = 40000,
	};
	struct balance_case echo = {
		.name = "weir, echo to a VIP answered", .proto = IPPROTO_ICMP, .clients = 1};
	struct balance_case error = {.name = "weir, dsr-l2: ICMP error to the backend of its flow",
				     .proto = IPPROTO_ICMP,
				     .clients = 1};
	struct packet packet, quote;
	int err;

	build_icmp(&packet, ICMP_ECHO, 0, NULL);
	err = add_balance_case(bench, run, &echo, &packet);
	packet_build(&quote, &answer);
	build_icmp(&packet, ICMP_UNREACH, ICMP_UNREACH_NEEDFRAG, &quote);
	return err ? err : add_balance_case(bench, run, &error, &packet);
}

/* ---- modes ---- */

static int add_dsr_l2(struct bench *bench)
{
	static const char counting[] = "weir, counting only: TCP, IPv4";
	static const struct balance_case cases[] = {
		{"weir, dsr-l2: TCP, IPv4, 1 flow", .proto = IPPROTO_TCP, .clients = 1},
		{"weir, dsr-l2: TCP, IPv4, 1 flow, no wrapper", .proto = IPPROTO_TCP, .clients = 1,
		 .alone = true},
		{"weir, dsr-l2: TCP, IPv4, 1k flows", .proto = IPPROTO_TCP, .clients = K},
		{"weir, dsr-l2: TCP, IPv4, 64k flows", .proto = IPPROTO_TCP, .clients = 64 * K},
		{"weir, dsr-l2: TCP, IPv4, 1M flows", .proto = IPPROTO_TCP, .clients = K * K},
		{"weir, dsr-l2: TCP, IPv6, 1 flow", VIP6, .proto = IPPROTO_TCP, .clients = 1},
		{"weir, dsr-l2: TCP, IPv6, 1M flows", VIP6, .proto = IPPROTO_TCP, .clients = K * K},
		{"weir, dsr-l2: UDP, IPv4, 1 flow", .proto = IPPROTO_UDP, .clients = 1},
		{"weir, dsr-l2: UDP, IPv4, 1M flows", .proto = IPPROTO_UDP, .clients = K * K},
		{"weir, dsr-l2: UDP, IPv6, 1 flow", VIP6, .proto = IPPROTO_UDP, .clients = 1},
		{"weir, dsr-l2: UDP, IPv6, 1M flows", VIP6, .proto = IPPROTO_UDP, .clients = K * K},
		{"weir, dsr-l2: SYN, IPv4, 1 flow", .proto = IPPROTO_TCP, .flags = PACKET_SYN,
		 .clients = 1},
		{"weir, dsr-l2: SYN, IPv4, 1M flows", .proto = IPPROTO_TCP, .flags = PACKET_SYN,
		 .clients = K * K},
		{"weir, dsr-l2: slot moving, flow remembered, 1 flow", MOVING, .proto = IPPROTO_TCP,
		 .clients = 1, .begun = true},
		{"weir, dsr-l2: slot moving, flow remembered, 16k flows", MOVING,
		 .proto = IPPROTO_TCP, .clients = 16 * K, .begun = true},
		{"weir, dsr-l2: slot moving, flow not remembered, 1 flow", MOVING_OLD,
		 .proto = IPPROTO_TCP, .clients = 1},
		{"weir, dsr-l2: slot moving, flow not remembered, 1M flows", MOVING_OLD,
		 .proto = IPPROTO_TCP, .clients = K * K},
		{"weir, packet for no service: TCP, IPv4", .away = "192.0.2.77",
		 .proto = IPPROTO_TCP, .clients = 1, .peer = counting},
		{"weir, packet for no service: TCP, IPv6", VIP6, .away = "2001:db8::77",
		 .proto = IPPROTO_TCP, .clients = 1},
	};
	struct balance_run *run = open_mode(WEIR_DSR_L2, false);
	int err = ADD(run, cases);

	return err ? err : add_icmp(bench, run);
}

static int add_dsr_ipip(struct bench *bench)
{
	static const struct balance_case same[] = {
		{"weir, dsr-ipip: TCP, IPv4, 1 flow", .proto = IPPROTO_TCP, .clients = 1},
		{"weir, dsr-ipip: TCP, IPv4, 1k flows", .proto = IPPROTO_TCP, .clients = K},
		{"weir, dsr-ipip: TCP, IPv4, 64k flows", .proto = IPPROTO_TCP, .clients = 64 * K},
		{"weir, dsr-ipip: TCP, IPv4, 1M flows", .proto = IPPROTO_TCP, .clients = K * K},
		{"weir, dsr-ipip: TCP, IPv6 in IPv6, 1 flow", VIP6, .proto = IPPROTO_TCP,
		 .clients = 1},
		{"weir, dsr-ipip: TCP, IPv6 in IPv6, 1M flows", VIP6, .proto = IPPROTO_TCP,
		 .clients = K * K},
		{"weir, dsr-ipip: UDP, IPv4, 1M flows", .proto = IPPROTO_UDP, .clients = K * K},
	};
	static const struct balance_case over6[] = {
		{"weir, dsr-ipip: TCP, IPv4 in IPv6, 1 flow", .proto = IPPROTO_TCP, .clients = 1},
		{"weir, dsr-ipip: TCP, IPv4 in IPv6, 1M flows", .proto = IPPROTO_TCP,
		 .clients = K * K},
	};
	int err = ADD(open_mode(WEIR_DSR_IPIP, false), same);

	return err ? err : ADD(open_mode(WEIR_DSR_IPIP, true), over6);
}

static void reverse(struct packet_layout *answer, const struct packet *sent)
{
	static char from[INET_ADDRSTRLEN], to[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, sent->bytes + sent->l3 + 16, from, sizeof(from));
	inet_ntop(AF_INET, sent->bytes + sent->l3 + 12, to, sizeof(to));
	*answer = (struct packet_layout){
		.family = 4,
		.proto = IPPROTO_TCP,
		.flags = PACKET_DATA,
		.source = from,
		.destination = to,
		.sport = PORT,
		.dport = sent->bytes[sent->l4] << 8 | sent->bytes[sent->l4 + 1],
		.payload = 64,
	};
}

/* A flow with its handshake done, and what its backend answers. */
static int add_nat_reply(struct bench *bench, struct balance_run *run)
{
	static const struct balance_case reply = {"weir, nat: TCP, IPv4, from the backend, 1 flow",
						  .proto = IPPROTO_TCP, .clients = 1};
	struct packet_layout layout = {
		.family = 4,
		.proto = IPPROTO_TCP,
		.flags = PACKET_SYN,
		.sport = 50000,
		.dport = PORT,
	};
	struct xdp_result result;
	struct packet packet;

	packet_build(&packet, &layout);
	balance_run_frame(run, &packet, &result);
	if (result.code != XDP_TX)
		return fail(-EINVAL, "bench: nat: a SYN is not sent but gets verdict %d",
			    result.code);
	reverse(&layout, &result.packet);
	packet_build(&packet, &layout);
	return add_balance_case(bench, run, &reply, &packet);
}

static int add_nat(struct bench *bench)
{
	static const struct balance_case cases[] = {
		{"weir, nat: TCP, IPv4, to the backend, 1 flow", .proto = IPPROTO_TCP, .clients = 1,
		 .begun = true},
		{"weir, nat: TCP, IPv4, to the backend, 1k flows", .proto = IPPROTO_TCP,
		 .clients = K, .begun = true},
		{"weir, nat: TCP, IPv4, to the backend, 16k flows", .proto = IPPROTO_TCP,
		 .clients = 16 * K, .begun = true},
		{"weir, nat: TCP, IPv4, to the backend, 64k flows", .proto = IPPROTO_TCP,
		 .clients = 64 * K, .begun = true},
		{"weir, nat: TCP, IPv6, to the backend, 1 flow", VIP6, .proto = IPPROTO_TCP,
		 .clients = 1, .begun = true},
		{"weir, nat: UDP, IPv4, to the backend, 1 flow", .proto = IPPROTO_UDP,
		 .clients = 1},
	};
	struct balance_run *run = open_mode(WEIR_NAT, false);
	int err = ADD(run, cases);

	return err ? err : add_nat_reply(bench, run);
}

int add_balance(struct bench *bench)
{
	int err = add_dsr_l2(bench);

	if (!err)
		err = add_dsr_ipip(bench);
	return err ? err : add_nat(bench);
}
