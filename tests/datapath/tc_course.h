/* SPDX-License-Identifier: GPL-2.0 */
/* The segments of one handshake, and a fresh observer for each test. */
#ifndef WEIR_TESTS_TC_COURSE_H
#define WEIR_TESTS_TC_COURSE_H

#include "tests/datapath/tc_segments.h"

#define ISN    1000u
#define SISN   5000u
#define SECOND 1000000000ull

/* The segments of one handshake, in whatever wrapping. */
static inline struct segment_spec syn_in(struct segment_spec s)
{
	s.flags = SYN;
	s.seq = ISN;
	return s;
}

static inline struct segment_spec from_server_in(struct segment_spec s, uint8_t flags, uint32_t seq,
						 uint32_t ack)
{
	s.from_server = true;
	s.flags = flags;
	s.seq = seq;
	s.ack = ack;
	return s;
}

static inline struct segment_spec from_client_in(struct segment_spec s, uint8_t flags, uint32_t seq,
						 uint32_t ack)
{
	s.flags = flags;
	s.seq = seq;
	s.ack = ack;
	return s;
}

static inline struct segment_spec synack_in(struct segment_spec s)
{
	return from_server_in(s, SYN | ACK, SISN, ISN + 1);
}

static inline struct segment_spec ack_in(struct segment_spec s)
{
	return from_client_in(s, ACK, ISN + 1, SISN + 1);
}

static const struct segment_spec plain = {};

static inline struct segment_spec syn(void)
{
	return syn_in(plain);
}

static inline struct segment_spec synack(void)
{
	return synack_in(plain);
}

static inline struct segment_spec ack(void)
{
	return ack_in(plain);
}

static inline struct segment_spec from_server(uint8_t flags, uint32_t seq, uint32_t ack_number)
{
	return from_server_in(plain, flags, seq, ack_number);
}

static inline struct segment_spec from_client(uint8_t flags, uint32_t seq, uint32_t ack_number)
{
	return from_client_in(plain, flags, seq, ack_number);
}

static inline int setup(void **state)
{
	struct observer *o = calloc(1, sizeof(*o));

	observer_open(o);
	*state = o;
	return 0;
}

static inline int teardown(void **state)
{
	observer_close(*state);
	free(*state);
	return 0;
}

/* The whole course, and what is to be known of it then. */
static inline void handshake_is_seen(struct observer *o, struct segment_spec wrapping)
{
	struct handshake_endpoint before = endpoint_of(o, WEIR_SERVER, 80), after;

	at_server(o, syn_in(wrapping));
	at_server(o, synack_in(wrapping));
	at_server(o, ack_in(wrapping));
	after = endpoint_of(o, WEIR_SERVER, 80);
	assert_int_equal(after.stats.syn, before.stats.syn + 1);
	assert_int_equal(after.stats.synack, before.stats.synack + 1);
	assert_int_equal(after.stats.established, before.stats.established + 1);
	assert_int_equal(after.synack.samples, before.synack.samples + 1);
	assert_int_equal(after.ack.samples, before.ack.samples + 1);
	assert_int_equal(after.half_open, 0);
	assert_balanced(&after);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

#endif
