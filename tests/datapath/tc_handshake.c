// SPDX-License-Identifier: GPL-2.0
/* The observer's state machine, segment by segment. */
#include "tests/datapath/tc_course.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* ---- the plain course, in every wrapping ---- */

static void test_wrappings(void **state)
{
	static const struct segment_spec wrappings[] = {
		{},
		{.tcp_options = 40},
		{.ip_options = 4},
		{.ip_options = 40, .tcp_options = 20},
		{.vlans = 1},
		{.vlans = 2, .ip_options = 12},
		{.pad = 18},
		{.more = true, .tcp_options = 20},
		{.family = 6},
		{.family = 6, .tcp_options = 40, .vlans = 1},
		{.family = 6, .extensions = 1},
		{.family = 6, .extensions = 4, .vlans = 2},
		{.family = 6, .extensions = 1, .extension = 'h'},
		{.family = 6, .extensions = 1, .extension = 'r'},
		{.family = 6, .extensions = 1, .extension = 'a'},
		{.family = 6, .extensions = 1, .extension = 'm'},
		{.family = 6, .more = true},
		{.family = 6, .pad = 6},
	};

	for (size_t i = 0; i < sizeof(wrappings) / sizeof(wrappings[0]); i++)
		handshake_is_seen(*state, wrappings[i]);
}

static void test_device_without_ethernet(void **state)
{
	struct weir_tc_config config = {.handshakes = 1};
	struct observer o;

	(void)state;
	observer_open_with(&o, &config);
	handshake_is_seen(&o, (struct segment_spec){});
	handshake_is_seen(&o, (struct segment_spec){.family = 6, .tcp_options = 20});
	observer_close(&o);
}

/* The same numbers and ports in both families are two handshakes. */
static void test_families_are_apart(void **state)
{
	struct segment_spec six = {.family = 6};

	at_server(*state, syn());
	at_server(*state, syn_in(six));
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).half_open, 2);
	at_server(*state, synack_in(six));
	at_server(*state, ack_in(six));
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).half_open, 1);
}

static void test_client_role(void **state)
{
	struct handshake_endpoint e;

	at_client(*state, syn());
	e = endpoint_of(*state, WEIR_CLIENT, 80);
	assert_int_equal(e.half_open, 1);
	at_client(*state, synack());
	at_client(*state, ack());
	e = endpoint_of(*state, WEIR_CLIENT, 80);
	assert_int_equal(e.stats.established, 1);
	assert_int_equal(e.half_open, 0);
	assert_int_equal(e.half_open_peak, 1);
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.syn, 0);
}

static void test_off_means_nothing(void **state)
{
	struct weir_tc_config config = {.ethernet = 1};
	struct observer o;

	(void)state;
	observer_open_with(&o, &config);
	at_server(&o, syn());
	assert_int_equal(endpoint_of(&o, WEIR_SERVER, 80).stats.syn, 0);
	observer_close(&o);
}

/* ---- flags ---- */

static void test_ecn_and_pushed_flags(void **state)
{
	struct segment_spec s = syn();

	s.flags = SYN | ECE | CWR;
	at_server(*state, s);
	at_server(*state, from_server(SYN | ACK | ECE, SISN, ISN + 1));
	at_server(*state, from_client(ACK | PSH | URG | FIN, ISN + 1, SISN + 1));
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.established, 1);
}

static void test_impossible_flags(void **state)
{
	static const uint8_t flags[] = {
		0, FIN, PSH | URG | FIN, SYN | FIN, SYN | RST, SYN | RST | ACK, SYN | FIN | ACK};

	at_server(*state, syn());
	for (size_t i = 0; i < sizeof(flags); i++) {
		at_server(*state, from_client(flags[i], ISN, SISN + 1));
		at_server(*state, from_server(flags[i], SISN, ISN + 1));
	}
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.syn, 1);
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.syn_retransmits, 0);
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).half_open, 1);
}

/* ---- repeats ---- */

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}

static void test_repeated_syn_keeps_the_time(void **state)
{
	uint64_t begun = now_us(), took; /* besides what is let pass */
	struct handshake_endpoint e;

	at_server(*state, syn());
	let_pass(*state, SECOND);
	at_server(*state, syn());
	let_pass(*state, 2 * SECOND);
	at_server(*state, syn());
	at_server(*state, synack());
	let_pass(*state, SECOND);
	at_server(*state, synack());
	at_server(*state, ack());
	took = now_us() - begun;
	e = endpoint_of(*state, WEIR_SERVER, 80);
	assert_int_equal(e.stats.syn, 1);
	assert_int_equal(e.stats.syn_retransmits, 2);
	assert_int_equal(e.stats.synack, 1);
	assert_int_equal(e.stats.synack_retransmits, 1);
	assert_int_equal(e.stats.established, 1);
	assert_in_range(e.synack.max_us, 3000000, 3000001 + took);
	assert_in_range(e.ack.max_us, 1000000, 1000001 + took);
	assert_int_equal(e.half_open_peak, 1);
}

static void test_port_reuse(void **state)
{
	struct segment_spec again = syn();
	struct handshake_endpoint e;

	at_server(*state, syn());
	again.seq = ISN + 77777;
	at_server(*state, again);
	e = endpoint_of(*state, WEIR_SERVER, 80);
	assert_int_equal(e.stats.syn, 2);
	assert_int_equal(e.stats.syn_retransmits, 0);
	assert_int_equal(e.stats.unanswered, 1);
	assert_int_equal(e.half_open, 1);
	at_server(*state, synack()); /* answers the first: too late */
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.synack, 0);
	at_server(*state, from_server(SYN | ACK, SISN, again.seq + 1));
	at_server(*state, from_client(ACK, again.seq + 1, SISN + 1));
	e = endpoint_of(*state, WEIR_SERVER, 80);
	assert_int_equal(e.stats.established, 1);
	assert_balanced(&e);
}

static void test_reuse_after_established(void **state)
{
	for (int i = 0; i < 3; i++) {
		at_server(*state, syn());
		at_server(*state, synack());
		at_server(*state, ack());
	}
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.established, 3);
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.syn_retransmits, 0);
}

/* Each SYN-ACK of a server that sends cookies may have another number. */
static void test_cookie_numbers(void **state)
{
	at_server(*state, syn());
	at_server(*state, synack());
	at_server(*state, syn());
	at_server(*state, from_server(SYN | ACK, SISN + 90000, ISN + 1));
	at_server(*state, from_client(ACK, ISN + 1, SISN + 90001));
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.established, 1);
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.synack_retransmits, 1);
}

/* ---- RST ---- */

static void test_refused(void **state)
{
	struct handshake_endpoint e;

	at_client(*state, syn());
	at_client(*state, from_server(RST | ACK, 0, ISN + 1));
	e = endpoint_of(*state, WEIR_CLIENT, 80);
	assert_int_equal(e.stats.refused, 1);
	assert_int_equal(e.half_open, 0);
	assert_int_equal(e.verdict, HANDSHAKE_REFUSED);
	assert_balanced(&e);
}

static void test_rst_that_nobody_believes(void **state)
{
	at_client(*state, syn());
	at_client(*state, from_server(RST | ACK, 0, ISN));
	at_client(*state, from_server(RST | ACK, 0, ISN + 2));
	at_client(*state, from_server(RST, 0, ISN + 1));
	at_client(*state, from_client(RST, ISN + 5000, 0));
	assert_int_equal(endpoint_of(*state, WEIR_CLIENT, 80).half_open, 1);
	at_client(*state, synack());
	at_client(*state, from_server(RST, SISN + 3, 0));
	assert_int_equal(endpoint_of(*state, WEIR_CLIENT, 80).half_open, 1);
}

static void test_reset_by_either_side(void **state)
{
	at_server(*state, syn());
	at_server(*state, synack());
	at_server(*state, from_client(RST, ISN + 1, 0)); /* the half-open scan */
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.reset, 1);
	at_server(*state, syn());
	at_server(*state, synack());
	at_server(*state, from_server(RST, SISN + 1, 0));
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.reset, 2);
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.refused, 0);
}

static void test_rst_after_the_handshake(void **state)
{
	at_server(*state, syn());
	at_server(*state, synack());
	at_server(*state, ack());
	at_server(*state, from_client(RST | ACK, ISN + 1, SISN + 1));
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.reset, 0);
}

/* ---- the third packet ---- */

static void test_third_packet_with_data(void **state)
{
	struct segment_spec s = ack();

	s.data = 500;
	s.flags |= PSH;
	at_server(*state, syn());
	at_server(*state, synack());
	at_server(*state, s);
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.established, 1);
}

static void test_acks_of_something_else(void **state)
{
	at_server(*state, syn());
	at_server(*state, from_server(ACK, SISN, 77)); /* challenge ACK */
	at_server(*state, from_client(ACK, ISN + 9, 77));
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.established, 0);
	at_server(*state, synack());
	at_server(*state, from_client(ACK, ISN + 1, SISN));
	at_server(*state, from_client(ACK, ISN + 1, SISN + 0x70000000));
	at_server(*state, from_server(ACK, SISN + 1, ISN + 1));
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.established, 0);
	at_server(*state, ack());
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.established, 1);
}

static void test_sequence_numbers_wrap(void **state)
{
	at_server(*state, from_client(SYN, 0xffffffff, 0));
	at_server(*state, from_server(SYN | ACK, 0xffffffff, 0));
	at_server(*state, from_client(ACK, 0, 0));
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.established, 1);
}

static void test_fast_open(void **state)
{
	struct segment_spec s = syn();

	s.data = 100;
	at_server(*state, s);
	at_server(*state, from_server(SYN | ACK, SISN, ISN + 101));
	at_server(*state, from_server(ACK | PSH, SISN + 1, ISN + 101)); /* data before the ACK */
	at_server(*state, from_client(ACK, ISN + 101, SISN + 1000));
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.established, 1);
	at_server(*state, s);
	at_server(*state, from_server(SYN | ACK, SISN, ISN + 1)); /* data not taken */
	at_server(*state, ack());
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.established, 2);
	at_server(*state, s);
	at_server(*state, from_server(SYN | ACK, SISN, ISN + 102)); /* more than was sent */
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.synack, 2);
}

/* ---- unusual courses ---- */

static void test_simultaneous_open(void **state)
{
	struct handshake_endpoint e;

	at_client(*state, syn());
	at_client(*state, from_server(SYN, SISN, 0));
	at_client(*state, from_client(SYN | ACK, ISN, SISN + 1));
	at_client(*state, synack());
	e = endpoint_of(*state, WEIR_CLIENT, 80);
	assert_int_equal(e.stats.syn, 1);
	assert_int_equal(e.stats.established, 1);
	assert_int_equal(e.synack.samples, 1);
	assert_int_equal(e.half_open, 0);
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 40000).stats.syn, 0);
}

static void test_simultaneous_open_their_answer_first(void **state)
{
	at_client(*state, syn());
	at_client(*state, from_server(SYN, SISN, 0));
	at_client(*state, synack());
	assert_int_equal(endpoint_of(*state, WEIR_CLIENT, 80).half_open, 1);
	at_client(*state, from_client(SYN | ACK, ISN, SISN + 1));
	assert_int_equal(endpoint_of(*state, WEIR_CLIENT, 80).stats.established, 1);
}

static void test_attached_late(void **state)
{
	struct handshake_endpoint e;

	at_server(*state, synack());
	at_server(*state, ack());
	at_server(*state, from_server(RST | ACK, 0, ISN + 1));
	e = endpoint_of(*state, WEIR_SERVER, 80);
	assert_int_equal(e.stats.syn + e.stats.synack + e.stats.established + e.stats.refused, 0);
	at_server(*state, syn());
	at_server(*state, synack());
	at_server(*state, ack());
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.established, 1);
}

/* Direct server return: the balancer never sees the SYN-ACK. */
static void test_one_half_only(void **state)
{
	struct handshake_endpoint e;

	at_server(*state, syn());
	at_server(*state, ack());
	e = endpoint_of(*state, WEIR_SERVER, 80);
	assert_int_equal(e.stats.established, 1);
	assert_int_equal(e.stats.synack, 0);
	assert_int_equal(e.ack.samples, 0);
	assert_balanced(&e);
}

/* Loopback and hairpin routing: every packet leaves and comes in by the same device. */
static void test_both_directions_on_one_device(void **state)
{
	struct segment_spec course[] = {syn(), syn(), synack(), ack()};

	for (size_t i = 0; i < sizeof(course) / sizeof(course[0]); i++) {
		pass(*state, &course[i], false);
		pass(*state, &course[i], true);
	}
	for (int role = 0; role < WEIR_ROLES; role++) {
		struct handshake_endpoint e = endpoint_of(*state, role, 80);

		assert_int_equal(e.stats.syn, 1);
		assert_int_equal(e.stats.syn_retransmits, 1);
		assert_int_equal(e.stats.synack, 1);
		assert_int_equal(e.stats.synack_retransmits, 0);
		assert_int_equal(e.stats.established, 1);
		assert_int_equal(e.half_open, 0);
	}
}

/* ---- what is no handshake ---- */

static void test_not_segments(void **state)
{
	struct segment_spec later_fragment = syn(), cut = syn(), bad = syn(), six = syn();
	struct segment_spec options_beyond = syn();

	later_fragment.fragment = 3;
	at_server(*state, later_fragment);
	six.family = 6;
	six.fragment = 3;
	at_server(*state, six);
	bad.bad_offset = true;
	at_server(*state, bad);
	cut.vlans = 1; /* the kernel itself refuses to run shorter untagged frames */
	for (cut.cut = 1; cut.cut < 44; cut.cut++)
		at_server(*state, cut);
	options_beyond.tcp_options = 40;
	options_beyond.cut = 4;
	at_server(*state, options_beyond);
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.syn, 0);
}

/* What would be a SYN, but the IP header says otherwise; long enough for a TCP header or not. */
static void test_other_protocols(void **state)
{
	static const uint8_t protos[] = {IPPROTO_UDP,  IPPROTO_ICMP,   IPPROTO_ICMPV6,
					 IPPROTO_IPV6, IPPROTO_ESP,    IPPROTO_SCTP,
					 IPPROTO_NONE, IPPROTO_UDPLITE};

	for (size_t i = 0; i < sizeof(protos); i++) {
		struct segment_spec s = {.flags = SYN, .seq = ISN, .proto = protos[i]};

		at_server(*state, s);
		s.family = 6;
		for (s.cut = 0; s.cut <= 20; s.cut += 4)
			at_server(*state, s);
	}
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.syn, 0);
	handshake_is_seen(*state, (struct segment_spec){.family = 6});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(wrappings),
		TEST(device_without_ethernet),
		TEST(families_are_apart),
		TEST(client_role),
		TEST(off_means_nothing),
		TEST(ecn_and_pushed_flags),
		TEST(impossible_flags),
		TEST(repeated_syn_keeps_the_time),
		TEST(port_reuse),
		TEST(reuse_after_established),
		TEST(cookie_numbers),
		TEST(refused),
		TEST(rst_that_nobody_believes),
		TEST(reset_by_either_side),
		TEST(rst_after_the_handshake),
		TEST(third_packet_with_data),
		TEST(acks_of_something_else),
		TEST(sequence_numbers_wrap),
		TEST(fast_open),
		TEST(simultaneous_open),
		TEST(simultaneous_open_their_answer_first),
		TEST(attached_late),
		TEST(one_half_only),
		TEST(both_directions_on_one_device),
		TEST(not_segments),
		TEST(other_protocols),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
