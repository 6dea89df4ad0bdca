// SPDX-License-Identifier: GPL-2.0
/* --decap: tunnels to this host are unpacked, and what is no tunnel of ours is left as it is. */
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cmocka.h>

#include "tests/shared/balance_run.h"
#include "tests/shared/tunnels.h"
#include "weir_xdp.skel.h"

static struct xdp_run run;

static int setup(void **state)
{
	struct weir_xdp_config config = {.ethernet = 1};

	(void)state;
	tunnel_open(&run, &config, NULL, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	xdp_run_close(&run);
	return 0;
}

/* ---- what should come out ---- */

static __u64 decapsulated(const struct xdp_result *r)
{
	return r->counters.decapsulated.packets;
}

static void check_same(const struct xdp_result *r, const struct packet *want)
{
	assert_int_equal(r->code, XDP_PASS);
	assert_int_equal(r->packet.length, want->length);
	assert_memory_equal(r->packet.bytes, want->bytes, want->length);
}

static void check_unpacked(const struct packed *p, enum weir_class class)
{
	struct xdp_result r;
	struct packet want;

	tunnel_cut_out(&want, &p->frame, p->frame.l3, p->frame.l4);
	xdp_run_frame(&run, &p->frame, &r);
	check_same(&r, &want);
	assert_int_equal(decapsulated(&r), 1);
	assert_int_equal(r.counters.decapsulated.bytes, p->frame.length);
	r.counters.decapsulated = (struct weir_counter){};
	assert_true(xdp_run_counted_only(&r.counters, WEIR_PASS, class, WEIR_REASONS, want.length));
}

static void check_left(struct xdp_run *by, const struct packed *p)
{
	struct xdp_result r;

	xdp_run_frame(by, &p->frame, &r);
	check_same(&r, &p->frame);
	assert_int_equal(decapsulated(&r), 0);
}

static void check_bad(const struct packed *p)
{
	struct xdp_result r;

	xdp_run_frame(&run, &p->frame, &r);
	assert_int_equal(r.code, XDP_DROP);
	assert_int_equal(decapsulated(&r), 0);
	assert_true(xdp_run_counted_only(&r.counters, WEIR_DROP,
					 p->frame.bytes[p->frame.l3] >> 4 == 4 ? WEIR_OTHER4
									       : WEIR_OTHER6,
					 WEIR_BY_BAD_TUNNEL, p->frame.length));
}

/* ---- tests ---- */

static void check_shape(__u8 outer, __u8 inner, const char *tags)
{
	static const char *const chains[] = {"", "h", "d", "hrd", "D", "f", "hDrdhd"};
	static const __u8 options[] = {0, 4, 8, 12, 20, 36, 40};
	static const __u32 payloads[] = {0, 1, 6, 100, 1400};
	struct packed p;

	for (int i = 0; i < 7; i++)
		for (int j = 0; j < 5; j++) {
			struct tunnel t = tunnel_of(outer, inner);

			t.outer.tags = tags;
			t.outer.chain = chains[i];
			t.outer.ip_options = options[i];
			t.outer.padding = j % 2 * 9;
			t.inner.payload = payloads[j];
			t.inner.padding = j % 3; /* outer longer than inner */
			t.inner.chain = i % 2 ? "hd" : "";
			t.inner.ip_options = i % 3 * 4;
			tunnel_pack(&p, &t);
			check_unpacked(&p, inner == 4 ? WEIR_TCP4 : WEIR_TCP6);
			t.inner.proto = IPPROTO_UDP;
			tunnel_pack(&p, &t);
			check_unpacked(&p, inner == 4 ? WEIR_UDP4 : WEIR_UDP6);
		}
}

static void test_every_shape(void **state)
{
	static const char *const tags[] = {"", "q", "aq"};

	(void)state;
	for (__u8 outer = 4; outer <= 6; outer += 2)
		for (__u8 inner = 4; inner <= 6; inner += 2)
			for (int i = 0; i < 3; i++)
				check_shape(outer, inner, tags[i]);
}

/* The smallest: an IP header with nothing behind it, and a fragment of the inner packet. */
static void test_inner_of_any_kind(void **state)
{
	struct packed p;

	(void)state;
	for (__u8 outer = 4; outer <= 6; outer += 2) {
		struct tunnel t = tunnel_of(outer, 4);

		t.inner.proto = IPPROTO_NONE;
		t.inner.payload = 0;
		tunnel_pack(&p, &t);
		check_unpacked(&p, WEIR_OTHER4);
		t.inner.family = 6;
		tunnel_pack(&p, &t);
		check_unpacked(&p, WEIR_OTHER6);
		t.inner.proto = IPPROTO_UDP;
		t.inner.fragment = 3;
		tunnel_pack(&p, &t);
		check_unpacked(&p, WEIR_FRAGMENT6);
		t.inner.family = 4;
		tunnel_pack(&p, &t);
		check_unpacked(&p, WEIR_FRAGMENT4);
		/* What is in the tunnel is looked at no further than its own length. */
		t.inner.fragment = 0;
		t.inner.proto = IPPROTO_TCP;
		t.inner.payload = 0;
		tunnel_pack(&p, &t);
		p.frame.bytes[p.frame.l4 + 3] = 30;
		check_unpacked(&p, WEIR_MALFORMED);
	}
}

static void check_ecn(__u8 outer, __u8 inner, __u8 o, __u8 i)
{
	struct tunnel t = tunnel_of(outer, inner);
	struct packet want;
	struct xdp_result r;
	struct packed p;

	for (int class = 0; class < 64; class += 9) {
		tunnel_pack(&p, &t);
		p.frame.bytes[p.frame.l4 + 1] |= inner == 4 ? class << 2 : class & 0xf;
		tunnel_set_ecn(&p.frame, p.frame.l3, o);
		tunnel_set_ecn(&p.frame, p.frame.l4, i);
		if (outer == 4)
			tunnel_sum_ip4(p.frame.bytes + p.frame.l3);
		if (inner == 4)
			tunnel_sum_ip4(p.frame.bytes + p.frame.l4);
		if (tunnel_merged_ecn[i][o] == TUNNEL_DROP) {
			check_bad(&p);
			continue;
		}
		tunnel_cut_out(&want, &p.frame, p.frame.l3, p.frame.l4);
		tunnel_set_ecn(&want, p.frame.l3, tunnel_merged_ecn[i][o]);
		if (inner == 4)
			tunnel_sum_ip4(want.bytes + p.frame.l3);
		xdp_run_frame(&run, &p.frame, &r);
		check_same(&r, &want);
	}
}

static void test_ecn(void **state)
{
	(void)state;
	for (__u8 outer = 4; outer <= 6; outer += 2)
		for (__u8 inner = 4; inner <= 6; inner += 2)
			for (int o = 0; o < 4; o++)
				for (int i = 0; i < 4; i++)
					check_ecn(outer, inner, o, i);
}

static void test_only_for_this_host(void **state)
{
	struct packed p;

	(void)state;
	for (__u8 outer = 4; outer <= 6; outer += 2) {
		const char *ends[] = {PACKET_SERVER, outer == 4 ? TUNNEL_HERE4 : TUNNEL_HERE6};
		struct tunnel t = tunnel_of(outer, 4);

		t.outer.destination = outer == 4 ? "203.0.113.8" : "2001:db8:9::8";
		tunnel_pack(&p, &t);
		check_left(&run, &p);
		/* The bits of this host's IPv4 address, and the other way round. */
		t.outer.destination = outer == 4 ? "32.1.13.184" : "cb00:7109::";
		tunnel_pack(&p, &t);
		check_left(&run, &p);
		t.outer.destination = NULL;
		tunnel_pack(&p, &t);
		check_unpacked(&p, WEIR_TCP4);
		tunnel_set_ends(&run, ends, 2);
		check_unpacked(&p, WEIR_TCP4);
		tunnel_set_ends(&run, ends, 1);
		check_left(&run, &p);
		tunnel_set_ends(&run, NULL, 0);
		check_left(&run, &p);
		tunnel_set_usual_ends(&run);
	}
}

/* What is in the tunnel goes no further than this host. */
static void test_inner_for_this_host(void **state)
{
	static const char *const others4[] = {"192.0.2.2", "224.0.0.1", "255.255.255.255",
					      "32.1.13.184", "0.0.0.0"};
	static const char *const others6[] = {"2001:db8::2", "ff02::1", "::", "::1", "c000:201::"};
	struct packed p;

	(void)state;
	for (__u8 outer = 4; outer <= 6; outer += 2)
		for (__u8 inner = 4; inner <= 6; inner += 2)
			for (int i = 0; i < 5; i++) {
				struct tunnel t = tunnel_of(outer, inner);

				t.inner.destination = inner == 4 ? others4[i] : others6[i];
				tunnel_pack(&p, &t);
				check_left(&run, &p);
				/* Nor is it this host's to judge. */
				t.inner.source = inner == 4 ? "127.0.0.1" : "::1";
				tunnel_pack(&p, &t);
				check_left(&run, &p);
				tunnel_set_ecn(&p.frame, p.frame.l3, TUNNEL_CE);
				if (outer == 4)
					tunnel_sum_ip4(p.frame.bytes + p.frame.l3);
				check_left(&run, &p);
			}
}

static void test_martians(void **state)
{
	static const char *const bad4[] = {"127.0.0.1",	     "127.255.255.255", "0.0.0.0",
					   "0.1.2.3",	     "224.0.0.1",	"240.0.0.1",
					   "255.255.255.255"};
	static const char *const good4[] = {"126.255.255.255", "128.0.0.1", "1.0.0.0",
					    "223.255.255.255", "10.0.0.1",  "169.254.1.1",
					    "100.64.0.1"};
	static const char *const bad6[] = {
		"::", "::1", "ff02::1", "ff00::", "fe80::1", "febf::ffff", "ffff::"};
	static const char *const good6[] = {"::2",     "0:0:0:1::", "0:0:0:1::1", "fe7f::1",
					    "fec0::1", "fd00::1",   "feff::1"};
	struct packed p;

	(void)state;
	for (__u8 outer = 4; outer <= 6; outer += 2)
		for (__u8 inner = 4; inner <= 6; inner += 2)
			for (int i = 0; i < 7; i++) {
				struct tunnel t = tunnel_of(outer, inner);

				t.inner.source = inner == 4 ? bad4[i] : bad6[i];
				tunnel_pack(&p, &t);
				check_bad(&p);
				t.inner.source = inner == 4 ? good4[i] : good6[i];
				tunnel_pack(&p, &t);
				check_unpacked(&p, inner == 4 ? WEIR_TCP4 : WEIR_TCP6);
			}
}

static void test_fragments_and_others(void **state)
{
	static const __u8 others[] = {IPPROTO_GRE, IPPROTO_UDP, IPPROTO_TCP, IPPROTO_ESP, 0xff};
	struct packed p;

	(void)state;
	for (__u8 outer = 4; outer <= 6; outer += 2) {
		struct tunnel t = tunnel_of(outer, 4);

		t.outer.more = true;
		tunnel_pack(&p, &t);
		check_left(&run, &p);
		t.outer.fragment = 2;
		tunnel_pack(&p, &t);
		check_left(&run, &p);
		t.outer.more = false;
		tunnel_pack(&p, &t);
		check_left(&run, &p);
		t.outer.fragment = 0;
		for (size_t i = 0; i < sizeof(others); i++) {
			t.outer.proto = others[i];
			tunnel_pack(&p, &t);
			check_left(&run, &p);
		}
	}
}

static void spoil(const struct packed *p, __u32 at, __u8 value)
{
	struct packed bad = *p;

	bad.frame.bytes[p->frame.l4 + at] = value;
	check_bad(&bad);
}

static void test_no_packet_inside(void **state)
{
	struct packed p;

	(void)state;
	for (__u8 outer = 4; outer <= 6; outer += 2)
		for (__u8 inner = 4; inner <= 6; inner += 2) {
			struct tunnel t = tunnel_of(outer, inner);

			/* Padding behind the outer packet does not belong to the inner one. */
			t.outer.padding = 64;
			tunnel_pack(&p, &t);
			spoil(&p, 0, inner == 4 ? 0x65 : 0x40); /* version */
			spoil(&p, 0, inner == 4 ? 0x35 : 0x70);
			spoil(&p, inner == 4 ? 3 : 5, p.inner.bytes[inner == 4 ? 3 : 5] + 1);
			spoil(&p, inner == 4 ? 2 : 4, 0x40);
			if (inner == 4) {
				spoil(&p, 0, 0x44);
				spoil(&p, 3, 19);
				spoil(&p, 3, 0);
			}
			/* The other family's number. */
			t.outer.proto = inner == 4 ? IPPROTO_IPV6 : IPPROTO_IPIP;
			tunnel_pack(&p, &t);
			check_bad(&p);
		}
}

static void test_truncated(void **state)
{
	(void)state;
	for (__u8 outer = 4; outer <= 6; outer += 2)
		for (__u8 inner = 4; inner <= 6; inner += 2) {
			__u32 header = inner == 4 ? 20 : 40;
			struct tunnel t = tunnel_of(outer, inner);
			struct packed p;

			for (__u32 left = 0; left < header; left++) {
				__u32 length = left + (outer == 4 ? 20 : 0);

				tunnel_pack(&p, &t);
				p.frame.bytes[p.frame.l3 + (outer == 4 ? 3 : 5)] = length;
				p.frame.bytes[p.frame.l3 + (outer == 4 ? 2 : 4)] = 0;
				/* Length 0 means as much as there is. */
				p.frame.length = p.frame.l4 + left;
				check_bad(&p);
			}
		}
}

/* ---- with the rest of the pipeline ---- */

struct ruled {
	const char *texts[3];
	enum weir_verdict verdict;
	bool unpacked;
	__u64 matched[3];
};

static void check_ruled(const struct ruled *want, const struct packed *p)
{
	struct weir_xdp_config config = {.ethernet = 1};
	struct table_names names = {};
	struct rule_set set;
	struct xdp_result r;
	struct xdp_run other;
	size_t count = 0;

	while (count < 3 && want->texts[count])
		count++;
	rules_from_text(&set, want->texts, count);
	tunnel_open(&other, &config, &set, &names);
	xdp_run_frame(&other, &p->frame, &r);
	assert_int_equal(r.code, want->verdict == WEIR_DROP ? XDP_DROP : XDP_PASS);
	assert_int_equal(r.counters.reason[WEIR_BY_RULE].packets, want->verdict == WEIR_DROP);
	assert_int_equal(decapsulated(&r), want->unpacked);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(xdp_run_rule(&other, i).packets, want->matched[i]);
	xdp_run_close(&other);
	rule_set_free(&set);
}

static void test_rules_see_both_packets(void **state)
{
	static const struct ruled wanted[] = {
		{{"drop src 10.7.7.7 proto tcp dport 80"}, WEIR_DROP, true, {1}},
		{{"drop src 10.7.7.8"}, WEIR_PASS, true, {0}},
		{{"drop dst " TUNNEL_HERE4}, WEIR_DROP, false, {1}},
		{{"drop src " PACKET_CLIENT}, WEIR_DROP, false, {1}},
		{{"drop proto 4"}, WEIR_DROP, false, {1}},
		{{"pass proto 4", "drop src 10.7.7.7"}, WEIR_DROP, true, {1, 1}},
		{{"pass proto 4", "pass proto tcp", "drop"}, WEIR_PASS, true, {1, 1, 0}},
		{{"pass proto tcp", "drop"}, WEIR_DROP, false, {0, 1}},
		{{"pass"}, WEIR_PASS, true, {2}},
	};
	struct tunnel t = tunnel_of(4, 4);
	struct packed p;

	(void)state;
	t.inner.source = "10.7.7.7";
	tunnel_pack(&p, &t);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++)
		check_ruled(&wanted[i], &p);
}

/* The address of a service is this host's too where it is a backend and a balancer. */
static void test_unpacked_has_arrived(void **state)
{
	struct balance services = {};
	struct balance_setup how = {.services = &services, .config.decap = 1};
	struct tunnel t = tunnel_of(6, 4);
	struct balance_run balance;
	struct weir_explanation e;
	struct xdp_result r;
	struct packet want;
	struct packed p;
	__u64 before;

	(void)state;
	test_service(&services, IPPROTO_TCP, PACKET_SERVER, 80, WEIR_DSR_L2);
	test_backend(&services, "10.0.0.1", 0, 1);
	balance_run_open(&balance, &how);
	tunnel_set_usual_ends(&balance.xdp);
	tunnel_pack(&p, &t);
	tunnel_cut_out(&want, &p.frame, p.frame.l3, p.frame.l4);
	balance_run_frame(&balance, &p.frame, &r);
	check_same(&r, &want);
	assert_int_equal(decapsulated(&r), 1);
	before = balance_run_fingerprint(&balance);
	balance_run_explain(&balance, &p.frame, &r, &e);
	check_same(&r, &want);
	assert_int_equal(e.backend, 0);
	assert_true(before == balance_run_fingerprint(&balance));
	/* What comes without a tunnel is. */
	t.inner.bare = false;
	packet_build(&p.inner, &t.inner);
	balance_run_frame(&balance, &p.inner, &r);
	assert_int_equal(r.code, XDP_TX);
	balance_run_close(&balance);
	balance_free(&services);
}

/* tun: frames begin with an IP header. */
static void test_without_ethernet(void **state)
{
	struct weir_xdp_config config = {};
	struct xdp_run tun;
	struct packet want;
	struct xdp_result r;
	struct packed p;

	(void)state;
	tunnel_open(&tun, &config, NULL, NULL);
	for (__u8 outer = 4; outer <= 6; outer += 2)
		for (__u8 inner = 4; inner <= 6; inner += 2)
			for (int empty = 0; empty < 2; empty++) {
				struct tunnel t = tunnel_of(outer, inner);

				t.outer.bare = true;
				t.inner.proto = empty ? IPPROTO_NONE : IPPROTO_TCP;
				t.inner.payload = empty ? 0 : 30;
				tunnel_pack(&p, &t);
				tunnel_cut_out(&want, &p.frame, 0, p.frame.l4);
				xdp_run_frame(&tun, &p.frame, &r);
				check_same(&r, &want);
			}
	xdp_run_close(&tun);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_shape),
		cmocka_unit_test(test_inner_of_any_kind),
		cmocka_unit_test(test_ecn),
		cmocka_unit_test(test_only_for_this_host),
		cmocka_unit_test(test_inner_for_this_host),
		cmocka_unit_test(test_martians),
		cmocka_unit_test(test_fragments_and_others),
		cmocka_unit_test(test_no_packet_inside),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_rules_see_both_packets),
		cmocka_unit_test(test_unpacked_has_arrived),
		cmocka_unit_test(test_without_ethernet),
	};

	xdp_run_prepare();
	return cmocka_run_group_tests_name("tunnels unpacked", tests, setup, teardown);
}
