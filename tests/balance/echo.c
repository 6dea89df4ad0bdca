// SPDX-License-Identifier: GPL-2.0
/* Echo requests to a VIP are answered, whatever they hold, and only those. */
#include <linux/bpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "icmp.h"

#define VIP4	"192.0.2.1"
#define VIP6	"2001:db8::1"
#define OTHER4	"192.0.2.77" /* of no service */
#define CHANGES 20000

static struct balance services;
static struct balance_run run, frags;

static int setup(void **state)
{
	struct balance_setup with_frags = {.services = &services, .config = {.frags = 1}};
	struct balance_setup plain = {.services = &services};

	(void)state;
	test_service(&services, IPPROTO_TCP, VIP4, 80, WEIR_DSR_L2);
	test_backend(&services, "10.0.0.1", 0, 1);
	test_service(&services, IPPROTO_UDP, VIP6, 53, WEIR_DSR_L2);
	test_backend(&services, "fd00::1", 0, 1);
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

static struct message echo(int family)
{
	return (struct message){
		.outer = {.family = family, .destination = family == 6 ? VIP6 : VIP4},
		.type = family == 6 ? 128 : 8,
		.rest = 0x12345678,
	};
}

static void assert_answered(struct balance_run *by, const struct packet *in)
{
	__u64 before = balance_run_service(by, 0).icmp_answered;
	int family = in->bytes[in->l3] >> 4;
	struct xdp_result r;

	balance_run_frame(by, in, &r);
	assert_int_equal(r.code, XDP_TX);
	assert_int_equal(r.packet.length, in->length);
	locate(&r.packet, in->l3);
	assert_true(is_sent_back(in, &r.packet));
	assert_true(are_sums_right(&r.packet));
	assert_int_equal(hops_of(&r.packet), 64);
	assert_int_equal(r.packet.bytes[r.packet.l4], family == 6 ? 129 : 0);
	assert_memory_equal(r.packet.bytes + r.packet.l4 + 4, in->bytes + in->l4 + 4,
			    in->length - in->l4 - 4);
	assert_true(xdp_run_counted_only(&r.counters, WEIR_TX,
					 family == 6 ? WEIR_ICMP6 : WEIR_ICMP4, WEIR_REASONS,
					 in->length));
	assert_int_equal(balance_run_service(by, 0).icmp_answered, before + 1);
}

static void test_echo_of_any_length(void **state)
{
	static const char *const tags[] = {"", "q", "aq"};
	struct packet packet;

	(void)state;
	for (int family = 4; family <= 6; family += 2) {
		for (size_t tag = 0; tag < 3; tag++) {
			for (__u32 size = 0; size < 1472; size += size < 70 ? 1 : 101) {
				struct message m = echo(family);

				m.outer.tags = tags[tag];
				m.outer.fill = 0xa5;
				m.outer.padding = size < 18 ? 18 - size : 0;
				m.size = size;
				build_message(&packet, &m);
				assert_answered(&run, &packet);
			}
		}
	}
}

static void test_echo_behind_a_page(void **state)
{
	struct packet packet;

	(void)state;
	for (int family = 4; family <= 6; family += 2) {
		struct message m = echo(family);

		m.outer.fill = 0x5a;
		m.size = 8001;
		build_message(&packet, &m);
		assert_answered(&frags, &packet);
	}
}

static void fill_random(__u8 *bytes, size_t count)
{
	while (count--)
		*bytes++ = random();
}

static void test_echo_of_any_content(void **state)
{
	struct packet packet;
	__u8 body[64];

	(void)state;
	for (int i = 0; i < 4000; i++) {
		struct message m = echo(i % 2 ? 6 : 4);

		fill_random(body, sizeof(body));
		m.rest = i % 5 ? random() : 0;
		m.body = body;
		m.size = random() % sizeof(body);
		if (i % 7 == 0)
			memset(body, i % 14 ? 0 : 0xff, sizeof(body));
		build_message(&packet, &m);
		assert_answered(&run, &packet);
	}
}

static void test_echo_left_to_the_stack(void **state)
{
	struct message m[] = {echo(4), echo(4), echo(4), echo(4), echo(6), echo(6), echo(6)};
	struct packet packet;

	(void)state;
	m[0].outer.ip_options = 8;
	m[1].outer.destination = OTHER4;
	m[2].code = 1;
	m[3].outer.more = true;
	m[3].size = 64;
	m[4].outer.chain = "h";
	m[5].outer.destination = "2001:db8::77";
	m[6].outer.more = true;
	m[6].size = 64;
	for (size_t i = 0; i < sizeof(m) / sizeof(*m); i++) {
		build_message(&packet, &m[i]);
		assert_passed(&run, &packet);
	}
	for (int family = 4; family <= 6; family += 2) {
		m[0] = echo(family);
		build_message(&packet, &m[0]);
		packet.bytes[0] |= 1;
		assert_passed(&run, &packet);
	}
}

static void test_echo_to_nobody(void **state)
{
	static const char *const sources[] = {
		"0.0.0.0",   "0.1.2.3", "127.0.0.1",	   "224.0.0.1", "239.255.255.255",
		"240.0.0.1", VIP4,	"255.255.255.255", "::",	"::1",
		"ff02::1",   VIP6,
	};
	struct packet packet;

	(void)state;
	for (size_t i = 0; i < sizeof(sources) / sizeof(*sources); i++) {
		struct message m = echo(strchr(sources[i], ':') ? 6 : 4);

		m.outer.source = sources[i];
		build_message(&packet, &m);
		assert_dropped(&run, &packet, WEIR_BY_MARTIAN);
	}
}

static void test_explained(void **state)
{
	struct weir_explanation told;
	struct message m = echo(4);
	struct packet packet;
	struct xdp_result r;
	__u64 before;

	(void)state;
	before = balance_run_fingerprint(&run);
	build_message(&packet, &m);
	balance_run_explain(&run, &packet, &r, &told);
	assert_int_equal(r.code, XDP_TX);
	assert_int_equal(told.service, 0);
	assert_true(before == balance_run_fingerprint(&run));
}

/* An answer is as right as what was asked. */
static void check_damaged(struct packet *in, const struct xdp_result *r)
{
	struct packet out = r->packet;

	assert_true(r->code == XDP_PASS || r->code == XDP_TX || r->code == XDP_DROP);
	if (r->code == XDP_DROP)
		return;
	if (r->code == XDP_PASS) {
		assert_memory_equal(out.bytes, in->bytes, in->length);
		return;
	}
	locate(in, in->l3);
	locate(&out, in->l3);
	assert_true(is_sent_back(in, &out));
	assert_int_equal(are_sums_right(&out), are_sums_right(in));
}

static void test_damaged_requests(void **state)
{
	struct packet packet;
	struct xdp_result r;
	int answered = 0;

	(void)state;
	for (int i = 0; i < CHANGES; i++) {
		struct message m = echo(i % 2 ? 6 : 4);

		m.outer.tags = i % 5 ? "" : "q";
		m.size = random() % 80;
		build_message(&packet, &m);
		damage(&packet);
		balance_run_frame(&run, &packet, &r);
		check_damaged(&packet, &r);
		answered += r.code == XDP_TX;
	}
	assert_in_range(answered, CHANGES / 10, CHANGES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_echo_of_any_length),
		cmocka_unit_test(test_echo_behind_a_page),
		cmocka_unit_test(test_echo_of_any_content),
		cmocka_unit_test(test_echo_left_to_the_stack),
		cmocka_unit_test(test_echo_to_nobody),
		cmocka_unit_test(test_explained),
		cmocka_unit_test(test_damaged_requests),
	};

	xdp_run_prepare();
	srandom(3);
	return cmocka_run_group_tests_name("balancer: echo", tests, setup, teardown);
}
