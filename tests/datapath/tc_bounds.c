// SPDX-License-Identifier: GPL-2.0
/* What the observer does under load and with time: several CPUs, timeouts, full tables. */
#include "tests/datapath/tc_course.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- several CPUs ---- */

struct repeats {
	struct observer *o;
	int client_port;
	int err;
};

#define REPEATS 1000000

static void *repeat_syn(void *arg)
{
	struct repeats *r = arg;
	struct segment_spec s = {.client_port = r->client_port};
	LIBBPF_OPTS(bpf_test_run_opts, run, .repeat = REPEATS);
	struct packet packet;

	s = syn_in(s);
	build(&packet, &s, true);
	run.data_in = packet.bytes;
	run.data_size_in = packet.length;
	r->err = bpf_prog_test_run_opts(bpf_program__fd(r->o->skel->progs.weir_ingress), &run);
	return NULL;
}

/* Two handshakes of one endpoint at a time. */
static void test_no_count_is_lost(void **state)
{
	struct repeats repeats[] = {{.o = *state, .client_port = 1},
				    {.o = *state, .client_port = 2}};
	pthread_t threads[2];
	struct handshake_endpoint e;

	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, repeat_syn, &repeats[i]), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(repeats[i].err, 0);
	}
	e = endpoint_of(*state, WEIR_SERVER, 80);
	assert_int_equal(e.stats.syn, 2);
	assert_int_equal(e.stats.syn_retransmits, 2 * (REPEATS - 1));
	assert_int_equal(e.half_open, 2);
	assert_balanced(&e);
}

/* ---- the clock ---- */

static void test_given_up_by_the_reader(void **state)
{
	struct segment_spec other = {.client_port = 40001};
	struct handshake_endpoint e;

	at_server(*state, syn());
	at_server(*state, syn_in(other));
	at_server(*state, synack_in(other));
	let_pass(*state, 50 * SECOND); /* and what this test takes itself */
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).half_open, 2);
	let_pass(*state, 11 * SECOND);
	e = endpoint_of(*state, WEIR_SERVER, 80);
	assert_int_equal(e.half_open, 0);
	assert_int_equal(e.stats.unanswered, 1);
	assert_int_equal(e.stats.unfinished, 1);
	assert_balanced(&e);
}

/* SYNs of another port sweep them away; nothing is counted twice. */
static void test_given_up_by_the_sweep(void **state)
{
	struct segment_spec s = {.server_port = 81};
	struct handshake_endpoint e;
	struct weir_endpoints all;
	uint32_t zero = 0;
	int half_open = 0;

	for (s.client_port = 1; s.client_port <= 1000; s.client_port++)
		at_server(*state, syn_in(s));
	let_pass(*state, 61 * SECOND);
	s.server_port = 82;
	for (s.client_port = 1; s.client_port <= 400; s.client_port++)
		at_server(*state, syn_in(s));
	e = endpoint_of(*state, WEIR_SERVER, 81);
	/* By chance five may have met in a set of four. */
	assert_int_equal(e.stats.unanswered + e.stats.untracked, 1000);
	assert_in_range(e.stats.untracked, 0, 5);
	assert_balanced(&e);
	assert_int_equal(
		bpf_map_lookup_elem(((struct observer *)*state)->maps.endpoints, &zero, &all), 0);
	for (int slot = 0; slot < WEIR_ENDPOINTS; slot++)
		half_open += all.slot[slot].half_open;
	assert_int_equal(half_open, endpoint_of(*state, WEIR_SERVER, 82).half_open);
}

static void test_answer_after_the_timeout(void **state)
{
	struct handshake_endpoint e;

	at_server(*state, syn());
	let_pass(*state, 61 * SECOND);
	at_server(*state, synack());
	e = endpoint_of(*state, WEIR_SERVER, 80);
	assert_int_equal(e.stats.unanswered, 1);
	assert_int_equal(e.stats.synack, 0);
	at_server(*state, syn()); /* the last repeat of an old kernel begins anew */
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 80).stats.syn, 2);
}

/* ---- bounds ---- */

static void test_flood(void **state)
{
	struct segment_spec s = {.server_port = 443};
	struct handshake_endpoint e;
	const int flood = 3 * WEIR_HANDSHAKE_SETS * WEIR_HANDSHAKE_WAYS;
	char client[32];

	for (int i = 0; i < flood; i++) {
		snprintf(client, sizeof(client), "10.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
		s.client = client;
		at_server(*state, syn_in(s));
	}
	e = endpoint_of(*state, WEIR_SERVER, 443);
	assert_int_equal(e.stats.syn, flood);
	assert_in_range(e.half_open, WEIR_HANDSHAKE_SETS * 3, WEIR_HANDSHAKE_SETS * 4);
	assert_int_equal(e.stats.untracked, flood - e.half_open);
	assert_balanced(&e);
	handshake_is_seen(*state, (struct segment_spec){}); /* the newest is never the victim */
}

static void test_evicted_when_old_is_unanswered(void **state)
{
	struct segment_spec s = {};
	struct handshake_endpoint e;
	char client[32];
	const int flood = WEIR_HANDSHAKE_SETS * WEIR_HANDSHAKE_WAYS;

	for (int i = 0; i < 2 * flood; i++) {
		if (i == flood)
			let_pass(*state, 61 * SECOND);
		snprintf(client, sizeof(client), "10.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
		s.client = client;
		at_server(*state, syn_in(s));
	}
	e = endpoint_of(*state, WEIR_SERVER, 80);
	assert_int_equal(e.stats.syn, 2 * flood);
	assert_in_range(e.stats.unanswered, flood * 3 / 4, flood);
	assert_balanced(&e);
}

static void test_port_scan_leaves_room(void **state)
{
	struct segment_spec s = {};
	struct handshake_endpoint e;

	for (s.server_port = 1000; s.server_port < 3000; s.server_port++) {
		at_server(*state, syn_in(s));
		at_server(*state, from_server_in(s, RST | ACK, 0, ISN + 1));
	}
	e = other_endpoints(*state);
	assert_true(e.others);
	assert_in_range(e.stats.syn, 2000 - WEIR_ENDPOINTS_ANSWERED, 2000);
	assert_int_equal(e.stats.refused, e.stats.syn);
	assert_int_equal(counters_of(*state).no_endpoint, e.stats.syn);
	handshake_is_seen(*state, (struct segment_spec){}); /* answered: has a slot, its SYN too */
	handshake_is_seen(*state, (struct segment_spec){});
	s.server_port = 90;
	at_server(*state, syn_in(s));
	at_server(*state, syn_in(s));
	assert_int_equal(other_endpoints(*state).stats.syn_retransmits, 1);
	at_server(*state, synack_in(s)); /* and its repeats move along */
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 90).stats.syn, 1);
	assert_int_equal(endpoint_of(*state, WEIR_SERVER, 90).stats.syn_retransmits, 1);
	assert_int_equal(other_endpoints(*state).stats.syn_retransmits, 0);
	assert_int_equal(other_endpoints(*state).stats.syn, e.stats.syn);
}

static void test_answered_ports_are_bounded(void **state)
{
	struct segment_spec s = {};
	struct handshake_endpoint e;

	for (s.server_port = 1000; s.server_port < 2000; s.server_port++) {
		at_server(*state, syn_in(s));
		at_server(*state, synack_in(s));
		at_server(*state, ack_in(s));
	}
	e = other_endpoints(*state);
	assert_in_range(e.stats.established, 1000 - WEIR_ENDPOINTS, 1000);
	assert_balanced(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(no_count_is_lost),
		TEST(given_up_by_the_reader),
		TEST(given_up_by_the_sweep),
		TEST(answer_after_the_timeout),
		TEST(flood),
		TEST(evicted_when_old_is_unanswered),
		TEST(port_scan_leaves_room),
		TEST(answered_ports_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
