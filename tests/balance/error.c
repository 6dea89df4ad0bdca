// SPDX-License-Identifier: GPL-2.0
/* ICMP errors that the balancer makes: too big for the tunnel, out of hops. */
#include <linux/bpf.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "icmp.h"

#define WEB	    80
#define CHANGES	    20000
#define AT_ONCE	    256 /* ERRORS_AT_ONCE, ERRORS_PER_TICK of xdp/balance/error.h */
#define PER_TICK    1000
#define QUOTE_MOST4 548
#define QUOTE_MOST6 1232

/* The ways through a tunnel, each a service with one backend: its index is the service's. */
static const struct way {
	int family;
	const char *vip, *backend;
	__u32 outer;
} ways[] = {
	{4, "192.0.2.1", "10.0.0.1", sizeof(struct iphdr)},
	{6, "2001:db8::1", "fd00::1", sizeof(struct ipv6hdr)},
	{4, "192.0.2.2", "fd00::2", sizeof(struct ipv6hdr)},
};

#define WAYS (sizeof(ways) / sizeof(*ways))

static struct balance services;
static struct balance_run run, frags;

static int setup(void **state)
{
	struct balance_setup with_frags = {.services = &services, .config = {.frags = 1}};
	struct balance_setup plain = {.services = &services};

	(void)state;
	for (size_t i = 0; i < WAYS; i++) {
		test_service(&services, IPPROTO_TCP, ways[i].vip, WEB, WEIR_DSR_IPIP);
		test_backend(&services, ways[i].backend, 0, 1);
	}
	balance_run_open(&run, &plain);
	balance_run_open(&frags, &with_frags);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	balance_run_close(&frags);
	balance_run_close(&run);
	balance_free(&services);
	return 0;
}

/* A packet of `size` bytes from its IP header on. */
static void build(struct packet *packet, const struct way *way, __u32 size,
		  const struct packet_layout *shape)
{
	struct packet_layout layout = *shape;

	layout.family = way->family;
	layout.proto = IPPROTO_TCP;
	layout.flags = PACKET_DATA;
	layout.destination = way->vip;
	layout.sport = 50000;
	layout.dport = WEB;
	layout.fill = 0xc3;
	layout.payload = 0;
	packet_build(packet, &layout);
	if (size > packet->end - packet->l3)
		layout.payload = size - (packet->end - packet->l3);
	packet_build(packet, &layout);
	set_macs(packet);
}

static void set_hops(struct packet *packet, __u8 hops)
{
	struct iphdr *ip = (struct iphdr *)(packet->bytes + packet->l3);

	if (address_size(packet) == 16) {
		((struct ipv6hdr *)ip)->hop_limit = hops;
		return;
	}
	ip->ttl = hops;
	ip->check = 0;
	ip->check = htons(~fold_sum(sum_bytes((__u8 *)ip, ip->ihl * 4, 0)));
}

static void set_mtu(__u32 way, __u32 mtu)
{
	run.backends[way + 1].mtu = mtu;
}

/* What comes out is the error of this type about what went in. */
static void check_error(const struct packet *in, struct packet *out, __u32 type_code, __u32 rest)
{
	__u32 most = address_size(in) == 16 ? QUOTE_MOST6 : QUOTE_MOST4, size = in->end - in->l3;
	const __u8 *icmp;
	__be32 value;

	locate(out, in->l3);
	icmp = out->bytes + out->l4;
	size = size < most ? size : most;
	assert_true(is_sent_back(in, out));
	assert_true(are_sums_right(out));
	assert_int_equal(hops_of(out), 64);
	assert_int_equal(out->end, out->length);
	assert_int_equal(icmp[0] << 8 | icmp[1], type_code);
	memcpy(&value, icmp + 4, sizeof(value));
	assert_int_equal(ntohl(value), rest);
	assert_int_equal(out->end - out->l4 - ICMP_HEADER, size);
	assert_memory_equal(icmp + ICMP_HEADER, in->bytes + in->l3, size);
}

static void assert_error(struct balance_run *by, const struct packet *in, enum weir_reason reason,
			 __u32 rest)
{
	int family = in->bytes[in->l3] >> 4;
	bool too_big = reason == WEIR_BY_TOO_BIG;
	struct xdp_result r;

	balance_run_frame(by, in, &r);
	assert_int_equal(r.code, XDP_TX);
	assert_true(xdp_run_counted_only(&r.counters, WEIR_TX, family == 6 ? WEIR_TCP6 : WEIR_TCP4,
					 reason, in->length));
	if (family == 6)
		check_error(in, &r.packet, too_big ? 0x0200 : 0x0300, rest);
	else
		check_error(in, &r.packet, too_big ? 0x0304 : 0x0b00, rest);
}

static void assert_delivered(const struct packet *in, const struct way *way)
{
	struct xdp_result r;

	balance_run_frame(&run, in, &r);
	assert_int_equal(r.code, XDP_TX);
	assert_int_equal(r.packet.length, in->length + way->outer);
	assert_int_equal(r.packet.bytes[0], 0x02);
	assert_int_equal(r.packet.bytes[1], 0xbb);
}

/* ---- too big ---- */

static void test_edges_of_the_mtu(void **state)
{
	static const __u32 mtus[] = {1320, 1400, 1443, 1499, 1500};
	static const char *const tags[] = {"", "q", "aq"};
	struct packet packet;

	(void)state;
	for (__u32 w = 0; w < WAYS; w++) {
		for (size_t i = 0; i < sizeof(mtus) / sizeof(*mtus); i++) {
			struct packet_layout shape = {.tags = tags[i % 3]};
			__u32 inner = mtus[i] - ways[w].outer;
			__u64 before = balance_run_service(&run, w + 1).too_big;

			set_mtu(w, mtus[i]);
			build(&packet, &ways[w], inner, &shape);
			assert_delivered(&packet, &ways[w]);
			assert_int_equal(balance_run_service(&run, w + 1).too_big, before);
			for (__u32 more = 1; more < 8; more++) {
				forget_errors(&run);
				build(&packet, &ways[w], inner + more, &shape);
				assert_error(&run, &packet, WEIR_BY_TOO_BIG, inner);
			}
			assert_int_equal(balance_run_service(&run, w + 1).too_big, before + 7);
		}
		set_mtu(w, 1500);
	}
}

/* A frame's padding is no part of the packet. */
static void test_padding_is_not_too_big(void **state)
{
	struct packet_layout shape = {.padding = 77};
	struct packet packet;

	(void)state;
	for (__u32 w = 0; w < WAYS; w++) {
		build(&packet, &ways[w], 1500 - ways[w].outer, &shape);
		assert_delivered(&packet, &ways[w]);
	}
}

static void test_least_mtu(void **state)
{
	static const __u32 mtus[] = {0, 1, 19, 20, 60, 87, 88, 89, 1279, 1300, 1319, 1320, 1321};
	struct packet_layout shape = {};
	struct packet packet;

	(void)state;
	for (__u32 w = 0; w < WAYS; w++) {
		for (size_t i = 0; i < sizeof(mtus) / sizeof(*mtus); i++) {
			__s32 told = mtus[i] - ways[w].outer;
			__s32 least = ways[w].family == 6 ? 1280 : 68;

			forget_errors(&run);
			set_mtu(w, mtus[i]);
			build(&packet, &ways[w], 1400, &shape);
			assert_error(&run, &packet, WEIR_BY_TOO_BIG, told < least ? least : told);
		}
		set_mtu(w, 1500);
	}
}

static void test_may_be_fragmented(void **state)
{
	struct packet_layout shape = {};
	struct packet packet;
	struct iphdr *ip;

	(void)state;
	for (__u32 w = 0; w < WAYS; w++) {
		if (ways[w].family == 6)
			continue;
		build(&packet, &ways[w], 1500, &shape);
		ip = (struct iphdr *)(packet.bytes + packet.l3);
		ip->frag_off = 0;
		set_hops(&packet, 64);
		forget_errors(&run);
		assert_dropped(&run, &packet, WEIR_BY_TOO_BIG);
	}
}

/* More than a page: the error is cut out of what is in front. */
static void test_behind_a_page(void **state)
{
	static const __u32 sizes[] = {1481, 3000, 3400, 3500, 3600, 4096, 8001, 9000};
	struct packet_layout shape = {.tags = "q"};
	struct packet packet;

	(void)state;
	for (__u32 w = 0; w < WAYS; w++) {
		for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
			forget_errors(&frags);
			build(&packet, &ways[w], sizes[i], &shape);
			assert_error(&frags, &packet, WEIR_BY_TOO_BIG, 1500 - ways[w].outer);
		}
	}
}

/* ---- time exceeded ---- */

static void test_last_hop(void **state)
{
	static const struct packet_layout shapes[] = {{},
						      {.tags = "q"},
						      {.tags = "aq"},
						      {.ip_options = 40},
						      {.chain = "hd"},
						      {.padding = 18}};
	struct packet packet;

	(void)state;
	for (__u32 w = 0; w < WAYS; w++) {
		for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
			if (ways[w].family == 6 ? shapes[i].ip_options : !!shapes[i].chain)
				continue;
			for (__u32 size = 0; size < 1400; size += size < 160 ? 1 : 31) {
				forget_errors(&run);
				build(&packet, &ways[w], size, &shapes[i]);
				set_hops(&packet, 2);
				assert_delivered(&packet, &ways[w]);
				set_hops(&packet, size % 2);
				assert_error(&run, &packet, WEIR_BY_TTL, 0);
			}
		}
	}
}

static void test_fragmentable_last_hop(void **state)
{
	struct packet_layout shape = {};
	struct packet packet;

	(void)state;
	forget_errors(&run);
	build(&packet, &ways[0], 100, &shape);
	((struct iphdr *)(packet.bytes + packet.l3))->frag_off = 0;
	set_hops(&packet, 1);
	assert_error(&run, &packet, WEIR_BY_TTL, 0);
}

/* ---- never ---- */

static void test_nobody_to_tell(void **state)
{
	static const char *const sources[] = {
		"0.0.0.0",   "0.255.255.255",
		"127.0.0.1", "127.255.255.255",
		"224.0.0.1", "239.255.255.255",
		"240.0.0.1", "255.255.255.255",
		"192.0.2.1", "::",
		"::1",	     "ff02::1",
		"ff0e::1:2", "2001:db8::1",
	};
	struct packet packet;

	(void)state;
	for (size_t i = 0; i < sizeof(sources) / sizeof(*sources); i++) {
		struct packet_layout shape = {.source = sources[i]};
		const struct way *way = &ways[strchr(sources[i], ':') ? 1 : 0];

		forget_errors(&run);
		build(&packet, way, 1500, &shape);
		assert_dropped(&run, &packet, WEIR_BY_TOO_BIG);
		build(&packet, way, 100, &shape);
		set_hops(&packet, 1);
		assert_dropped(&run, &packet, WEIR_BY_TTL);
	}
}

static void test_came_by_broadcast(void **state)
{
	struct packet_layout shape = {};
	struct packet packet;

	(void)state;
	for (__u32 w = 0; w < WAYS; w++) {
		forget_errors(&run);
		build(&packet, &ways[w], 1500, &shape);
		memset(packet.bytes, 0xff, 6);
		assert_dropped(&run, &packet, WEIR_BY_TOO_BIG);
		memcpy(packet.bytes, "\x01\x00\x5e\x00\x00\x01", 6);
		assert_dropped(&run, &packet, WEIR_BY_TOO_BIG);
	}
}

static void test_about_an_error(void **state)
{
	struct packet quote, packet;

	(void)state;
	for (__u32 w = 0; w < WAYS; w++) {
		struct packet_layout reply = {.family = ways[w].family,
					      .proto = IPPROTO_TCP,
					      .source = ways[w].vip,
					      .destination = ways[w].family == 6 ? PACKET_CLIENT6
										 : PACKET_CLIENT,
					      .sport = WEB,
					      .dport = 50000,
					      .payload = 1200,
					      .bare = true};
		struct message m = {.outer = {.family = ways[w].family,
					      .source = ways[w].family == 6 ? ROUTER6 : ROUTER4,
					      .destination = ways[w].vip},
				    .type = 3,
				    .body = quote.bytes,
				    .size = 1200};

		forget_errors(&run);
		packet_build(&quote, &reply);
		build_message(&packet, &m);
		assert_delivered(&packet, &ways[w]);
		set_hops(&packet, 1);
		assert_dropped(&run, &packet, WEIR_BY_TTL);
		set_mtu(w, 600);
		set_hops(&packet, 64);
		assert_dropped(&run, &packet, WEIR_BY_TOO_BIG);
		set_mtu(w, 1500);
	}
}

/* ---- how many ---- */

static void stay_on_this_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	assert_int_equal(sched_setaffinity(0, sizeof(set), &set), 0);
}

struct bucket {
	__u64 level;
	__u32 at, pad;
};

static int errors_of(const struct packet *packet, int times)
{
	struct xdp_result r;
	int made = 0;

	for (int i = 0; i < times; i++) {
		balance_run_frame(&run, packet, &r);
		assert_int_equal(r.counters.reason[WEIR_BY_TOO_BIG].packets, 1);
		made += r.code == XDP_TX;
	}
	return made;
}

/* A tick is so long here that what leaks out while the test runs is less than an error. */
static void test_how_many(void **state)
{
	static struct bucket each[1024];
	struct packet_layout shape = {};
	struct packet packet;

	(void)state;
	stay_on_this_cpu();
	forget_errors(&run);
	build(&packet, &ways[1], 1500, &shape);
	assert_in_range(errors_of(&packet, AT_ONCE + 100), AT_ONCE, AT_ONCE + 1);
	for (int i = 0; i < libbpf_num_possible_cpus(); i++) {
		each[i].level = (__u64)AT_ONCE << TEST_TICK_SHIFT;
		each[i].at = balance_run_jiffies() - (1u << TEST_TICK_SHIFT) / PER_TICK * 10;
	}
	balance_run_write(bpf_map__fd(run.xdp.skel->maps.error_bucket), 0, each);
	assert_in_range(errors_of(&packet, 100), 9, 11);
}

/* ---- damaged packets ---- */

static void check_damaged(struct packet *in, const struct xdp_result *r, __u32 l3)
{
	struct packet out = r->packet;

	assert_true(r->code == XDP_PASS || r->code == XDP_TX || r->code == XDP_DROP);
	if (r->code != XDP_TX || !memcmp(out.bytes, "\x02\xbb", 2))
		return;
	in->l3 = l3;
	locate(&out, l3);
	assert_true(is_sent_back(in, &out));
	assert_true(are_sums_right(&out));
	assert_memory_equal(out.bytes + out.l4 + ICMP_HEADER, in->bytes + l3,
			    out.end - out.l4 - ICMP_HEADER);
	assert_true(out.length <= l3 + (address_size(in) == 16 ? 1280 : 576));
}

static void test_damaged_packets(void **state)
{
	struct packet packet;
	struct xdp_result r;
	int made = 0;

	(void)state;
	for (int i = 0; i < CHANGES; i++) {
		static const struct packet_layout shapes[] = {
			{}, {.tags = "q", .ip_options = 8, .chain = "hd"}};
		const struct way *way = &ways[i % WAYS];
		__u32 size = i % 2 ? 1500 : 64 + random() % 200;

		forget_errors(&run);
		build(&packet, way, size, &shapes[i / 6 % 2]);
		if (size != 1500)
			set_hops(&packet, 1);
		damage(&packet);
		balance_run_frame(&run, &packet, &r);
		check_damaged(&packet, &r, packet.l3);
		made += r.counters.cell[WEIR_TX][way->family == 6 ? WEIR_TCP6 : WEIR_TCP4]
				.packets &&
			memcmp(r.packet.bytes, "\x02\xbb", 2);
	}
	assert_in_range(made, CHANGES / 10, CHANGES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_edges_of_the_mtu),
		cmocka_unit_test(test_padding_is_not_too_big),
		cmocka_unit_test(test_least_mtu),
		cmocka_unit_test(test_may_be_fragmented),
		cmocka_unit_test(test_behind_a_page),
		cmocka_unit_test(test_last_hop),
		cmocka_unit_test(test_fragmentable_last_hop),
		cmocka_unit_test(test_nobody_to_tell),
		cmocka_unit_test(test_came_by_broadcast),
		cmocka_unit_test(test_about_an_error),
		cmocka_unit_test(test_how_many),
		cmocka_unit_test(test_damaged_packets),
	};

	xdp_run_prepare();
	srandom(2);
	return cmocka_run_group_tests_name("balancer: ICMP errors made", tests, setup, teardown);
}
