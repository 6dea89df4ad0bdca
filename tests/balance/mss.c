// SPDX-License-Identifier: GPL-2.0
/* The MSS of SYNs: lowered wherever it stands, with the checksum that goes with it. */
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/shared/balance_run.h"

#define MSS	     1200
#define CLAMPED	     80
#define LEFT	     81
#define TUNNELLED    82
#define MOST_OPTIONS 40
#define MUTATIONS    20000

static struct balance_run run, finisher, by_tc;

static void add(struct balance *services, const char *vip, __u16 port, enum weir_mode mode,
		__u16 mss)
{
	test_service(services, IPPROTO_TCP, vip, port, mode)->mss = mss;
	test_backend(services, strchr(vip, ':') ? "fd00::1" : "10.0.0.1", 0, 1);
}

static int setup(void **state)
{
	struct balance services = {};
	struct balance_setup how = {.services = &services};

	(void)state;
	add(&services, PACKET_SERVER, CLAMPED, WEIR_DSR_L2, MSS);
	add(&services, PACKET_SERVER, LEFT, WEIR_DSR_L2, 0);
	add(&services, PACKET_SERVER, TUNNELLED, WEIR_DSR_IPIP, MSS);
	add(&services, PACKET_SERVER6, CLAMPED, WEIR_DSR_L2, MSS);
	add(&services, PACKET_SERVER6, LEFT, WEIR_DSR_L2, 0);
	add(&services, PACKET_SERVER6, TUNNELLED, WEIR_DSR_IPIP, MSS);
	balance_run_open(&run, &how);
	how.config.partial_sums = 1;
	balance_run_open(&finisher, &how);
	how.config.via_tc = 1;
	balance_run_open(&by_tc, &how);
	balance_free(&services);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	balance_run_close(&run);
	balance_run_close(&finisher);
	balance_run_close(&by_tc);
	return 0;
}

/* ---- packets ---- */

struct syn {
	__u8 family;
	__u8 flags;
	__u16 port;
	__u8 options[MOST_OPTIONS];
	__u8 length; /* of the options, a multiple of 4 */
	__u32 payload;
	__u32 padding;
	const char *tags;
};

static void sum(struct packet *packet)
{
	__be16 check = packet_checksum(packet, IPPROTO_TCP);

	memcpy(packet_checksum_field(packet, IPPROTO_TCP), &check, sizeof(check));
}

static void build(struct packet *packet, const struct syn *syn)
{
	struct packet_layout layout = {
		.family = syn->family,
		.proto = IPPROTO_TCP,
		.flags = syn->flags,
		.sport = 40000,
		.dport = syn->port,
		.seq = 0x12345678,
		.tcp_options = syn->length ? syn->length : -1,
		.payload = syn->payload,
		.fill = 0xa7,
		.tags = syn->tags,
		.padding = syn->padding,
	};

	packet_build(packet, &layout);
	memcpy(packet->bytes + packet->l4 + 20, syn->options, syn->length);
	sum(packet);
}

/* Offset of the MSS among the options, as RFC 9293 3.1 has them; -1: none. */
static int model(const __u8 *options, int length)
{
	for (int at = 0; at < length;) {
		if (options[at] == 0)
			return -1;
		if (options[at] == 1) {
			at++;
			continue;
		}
		if (at + 1 >= length || options[at + 1] < 2)
			return -1;
		if (options[at] == 2)
			return options[at + 1] == 4 && at + 4 <= length ? at : -1;
		at += options[at + 1];
	}
	return -1;
}

/* What should come out, but for the Ethernet addresses. */
static void expect(struct packet *packet, const struct syn *syn, bool clamps)
{
	int at = model(syn->options, syn->length);
	__u8 *mss = packet->bytes + packet->l4 + 20 + at + 2;

	if (!clamps || at < 0 || (mss[0] << 8 | mss[1]) <= MSS)
		return;
	mss[0] = MSS >> 8;
	mss[1] = MSS & 0xff;
	sum(packet);
}

static void check_from(struct balance_run *from, const struct packet *in, const struct packet *want)
{
	struct xdp_result r;

	balance_run_frame(from, in, &r);
	assert_int_equal(r.code, from == &by_tc ? XDP_PASS : XDP_TX);
	assert_int_equal(r.meta.magic, from == &by_tc ? WEIR_META_MAGIC : 0);
	assert_int_equal(r.packet.length, want->length);
	assert_memory_equal(r.packet.bytes + 12, want->bytes + 12, want->length - 12);
}

static void check(const struct syn *syn, bool clamps)
{
	struct packet packet, want;

	build(&packet, syn);
	want = packet;
	expect(&want, syn, clamps);
	check_from(&run, &packet, &want);
}

static struct syn syn_of(__u8 family, __u8 length)
{
	struct syn syn = {.family = family, .flags = PACKET_SYN, .port = CLAMPED, .length = length};

	memset(syn.options, 1, sizeof(syn.options));
	return syn;
}

static void put_mss(struct syn *syn, int at, __u16 mss)
{
	__u8 option[4] = {2, 4, mss >> 8, mss & 0xff};

	memcpy(syn->options + at, option, sizeof(option));
}

/* ---- tests ---- */

static const __u16 values[] = {0, 1, 536, MSS - 1, MSS, MSS + 1, 1460, 8960, 0xff00, 0xffff};
#define VALUES (sizeof(values) / sizeof(*values))

static void check_place(__u8 family, __u8 length, int at)
{
	for (size_t i = 0; i < VALUES; i++) {
		struct syn syn = syn_of(family, length);

		put_mss(&syn, at, values[i]);
		syn.payload = i;
		syn.tags = i % 3 ? "" : "aq";
		syn.padding = i % 2 * 5;
		check(&syn, true);
		/* Behind another option in place of no-operations. */
		if (at >= 2) {
			memset(syn.options, 0x99, at);
			syn.options[0] = 254;
			syn.options[1] = at;
			check(&syn, true);
		}
	}
}

static void test_every_offset(void **state)
{
	(void)state;
	for (__u8 family = 4; family <= 6; family += 2)
		for (__u8 length = 4; length <= MOST_OPTIONS; length += 4)
			for (int at = 0; at + 4 <= length; at++)
				check_place(family, length, at);
}

static void test_flags(void **state)
{
	(void)state;
	for (int flags = 0; flags < 256; flags++) {
		struct syn syn = syn_of(flags % 2 ? 4 : 6, 8);
		bool begins = (flags & (PACKET_SYN | PACKET_FIN | PACKET_RST)) == PACKET_SYN;

		syn.flags = flags;
		put_mss(&syn, 3, 1460);
		check(&syn, begins);
	}
}

static void test_service_without(void **state)
{
	struct syn syn = syn_of(4, 8);

	(void)state;
	syn.port = LEFT;
	put_mss(&syn, 0, 1460);
	check(&syn, false);
	syn.family = 6;
	check(&syn, false);
}

static void test_inside_the_tunnel(void **state)
{
	(void)state;
	for (__u8 family = 4; family <= 6; family += 2) {
		__u32 outer = family == 4 ? 20 : 40;
		struct syn syn = syn_of(family, 12);
		struct packet packet, want;
		struct xdp_result r;

		syn.port = TUNNELLED;
		put_mss(&syn, 5, 1460);
		build(&packet, &syn);
		want = packet;
		expect(&want, &syn, true);
		balance_run_frame(&run, &packet, &r);
		assert_int_equal(r.code, XDP_TX);
		assert_memory_equal(r.packet.bytes + packet.l4 + outer, want.bytes + packet.l4,
				    packet.end - packet.l4);
	}
}

static void test_malformed(void **state)
{
	static const struct {
		__u8 length;
		__u8 options[8];
	} cases[] = {
		{8, {2, 0, 5, 180, 1, 1, 1, 1}}, /* no length */
		{8, {2, 1, 5, 180, 1, 1, 1, 1}}, /* shorter than its head */
		{8, {2, 3, 5, 180, 1, 1, 1, 1}}, /* not an MSS's */
		{8, {2, 5, 5, 180, 1, 1, 1, 1}},
		{8, {0, 2, 4, 5, 180, 0, 0, 0}},   /* behind the end */
		{8, {254, 0, 2, 4, 5, 180, 1, 1}}, /* behind one without length */
		{8, {254, 9, 2, 4, 5, 180, 1, 1}}, /* inside another */
		{8, {1, 1, 1, 1, 1, 2, 4, 5}},	   /* the value is not there any more */
		{8, {1, 1, 1, 1, 1, 1, 2, 4}},
		{8, {1, 1, 1, 1, 1, 1, 1, 2}},
		{4, {254, 255, 2, 4}},
		{4, {1, 1, 1, 1}},
		{0, {0}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		for (__u8 family = 4; family <= 6; family += 2) {
			struct syn syn = syn_of(family, cases[i].length);

			memcpy(syn.options, cases[i].options, 8);
			syn.payload = 20;
			memset(syn.options + 8, 0, sizeof(syn.options) - 8);
			assert_int_equal(model(syn.options, syn.length), -1);
			check(&syn, true);
		}
}

/* A header that ends before, or long behind, what the IP length gives it. */
static void test_data_offset(void **state)
{
	(void)state;
	for (int doff = 0; doff < 16; doff++)
		for (__u32 payload = 0; payload < 8; payload++) {
			struct syn syn = syn_of(4, 8);
			struct packet packet, want;
			int length = doff * 4 - 20, most = 8 + payload;
			__u8 options[64];

			put_mss(&syn, 4, 1460);
			syn.payload = payload;
			syn.padding = 20;
			build(&packet, &syn);
			packet.bytes[packet.l4 + 12] = doff << 4;
			sum(&packet);
			want = packet;
			memcpy(options, packet.bytes + packet.l4 + 20, most);
			if (model(options, length < most ? length : most) >= 0) {
				want.bytes[want.l4 + 26] = MSS >> 8;
				want.bytes[want.l4 + 27] = MSS & 0xff;
				sum(&want);
			}
			check_from(&run, &packet, &want);
		}
}

static void test_random_options(void **state)
{
	static const __u8 kinds[] = {0, 1, 1, 1, 2, 2, 2, 3, 4, 5, 8, 254};

	(void)state;
	srandom(1);
	for (int i = 0; i < MUTATIONS; i++) {
		struct syn syn = syn_of(i % 2 ? 4 : 6, random() % 11 * 4);

		for (int at = 0; at < syn.length;) {
			__u8 kind = kinds[random() % sizeof(kinds)];
			__u8 size = kind == 2 ? 4 : random() % 12;

			syn.options[at++] = kind;
			if (kind < 2)
				continue;
			if (at < syn.length)
				syn.options[at++] = random() % 9 ? size : random();
			for (; size > 2 && at < syn.length; size--)
				syn.options[at++] = random();
		}
		syn.payload = random() % 4;
		check(&syn, true);
	}
}

/* A local sender's checksum is finished first, or by the kernel after TC. */
static void test_unfinished(void **state)
{
	(void)state;
	for (__u8 family = 4; family <= 6; family += 2)
		for (int at = 0; at <= 8; at++)
			for (size_t i = 0; i < VALUES; i++) {
				struct syn syn = syn_of(family, 12);
				struct packet packet, want;
				__be16 partial;

				put_mss(&syn, at, values[i]);
				build(&packet, &syn);
				want = packet;
				expect(&want, &syn, true);
				check_from(&finisher, &packet, &want);
				check_from(&by_tc, &packet, &want);
				partial = packet_partial_sum(&packet, IPPROTO_TCP);
				memcpy(packet_checksum_field(&packet, IPPROTO_TCP), &partial, 2);
				check_from(&finisher, &packet, &want);
				/* It still is unfinished then, and covers nothing of the packet. */
				memcpy(packet_checksum_field(&want, IPPROTO_TCP), &partial, 2);
				check_from(&by_tc, &packet, &want);
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_offset),	cmocka_unit_test(test_flags),
		cmocka_unit_test(test_service_without), cmocka_unit_test(test_inside_the_tunnel),
		cmocka_unit_test(test_malformed),	cmocka_unit_test(test_data_offset),
		cmocka_unit_test(test_random_options),	cmocka_unit_test(test_unfinished),
	};

	xdp_run_prepare();
	return cmocka_run_group_tests_name("balancer: MSS", tests, setup, teardown);
}
