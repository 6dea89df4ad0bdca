// SPDX-License-Identifier: GPL-2.0
/*
 * Churn tracking: a flow whose backend is alive and that is not idle for longer than its service
 * allows stays at this backend, whatever happens to the slots.
 */
#include "world.h"

static struct plan tcp_plan = {.proto = IPPROTO_TCP, .buckets = 4096};

static __u32 moving(struct world *w)
{
	struct slot_range range = range_of(w);

	return slots_moving(&range);
}

static void nothing_moves(void **state)
{
	struct weir_service_counters counters;
	struct world w;

	(void)state;
	open_world(&w, &tcp_plan);
	for (__u32 n = 0; n < 200; n++) {
		__u32 backend = sent(&w, n, PACKET_SYN);

		assert_int_equal(sent(&w, n, PACKET_DATA), backend);
		assert_int_equal(sent(&w, n, PACKET_FIN | PACKET_ACK), backend);
		assert_null(entry(&w, n));
	}
	counters = balance_run_service(&w.run, SERVICE);
	assert_int_equal(counters.tracked + counters.untracked, 0);
	close_world(&w);
}

static void overlapping_changes(void **state)
{
	static const __u32 owners[] = {A, B, C, A, B, A};
	struct world w;

	(void)state;
	open_world(&w, &tcp_plan);
	own_all(&w, A);
	for (__u32 stage = 0; stage < 6; stage++) {
		move_all(&w, owners[stage]);
		for (__u32 n = 0; n < 10; n++)
			assert_int_equal(sent(&w, stage * 100 + n, PACKET_SYN), owners[stage]);
		for (__u32 n = 0; n <= stage * 100 + 9; n++)
			if (n % 100 < 10)
				assert_int_equal(sent(&w, n, PACKET_DATA), owners[n / 100]);
	}
	close_world(&w);
}

static void ports_are_reused(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, &tcp_plan);
	own_all(&w, A);
	sent(&w, 1, PACKET_SYN);
	move_all(&w, B);
	/* Begun before: its end changes nothing, its next life is a new flow. */
	assert_int_equal(sent(&w, 1, PACKET_FIN | PACKET_ACK), A);
	assert_int_equal(sent(&w, 1, PACKET_SYN), B);
	assert_int_equal(sent(&w, 1, PACKET_DATA), B);
	move_all(&w, C);
	/* Without an end a SYN is the same flow's. */
	assert_int_equal(sent(&w, 1, PACKET_SYN), B);
	assert_int_equal(sent(&w, 1, PACKET_FIN | PACKET_ACK), B);
	assert_int_equal(sent(&w, 1, PACKET_ACK), B);
	balance_run_age(&w.run, 2);
	assert_int_equal(sent(&w, 1, PACKET_SYN), C);
	assert_int_equal(sent(&w, 1, PACKET_RST), C);
	move_all(&w, A);
	assert_int_equal(sent(&w, 1, PACKET_ACK), C);
	/* At once, whoever sent the RST may have sent the SYN as well. */
	assert_int_equal(sent(&w, 1, PACKET_SYN), C);
	balance_run_age(&w.run, 2);
	assert_int_equal(sent(&w, 1, PACKET_SYN), A);
	close_world(&w);
}

/* A FIN or RST that the client did not send, or its half of a connection that goes on. */
static void ends_are_refuted(void **state)
{
	static const __u8 ends[] = {PACKET_RST, PACKET_FIN | PACKET_ACK};
	struct world w;

	(void)state;
	for (int i = 0; i < 2; i++) {
		open_world(&w, &tcp_plan);
		own_all(&w, A);
		move_all(&w, B);
		sent(&w, 1, PACKET_SYN);
		sent(&w, 1, PACKET_ACK);
		move_all(&w, C);
		assert_int_equal(sent(&w, 1, ends[i]), B);
		assert_int_equal(sent(&w, 1, PACKET_SYN), B);
		assert_int_equal(sent(&w, 1, PACKET_DATA), B);
		assert_int_equal(kind_of(&w, 1), WEIR_FLOW_CLOSING);
		balance_run_age(&w.run, 1);
		assert_int_equal(sent(&w, 1, PACKET_SYN), B);
		for (int tick = 0; tick < 2; tick++) {
			balance_run_age(&w.run, 1);
			assert_int_equal(sent(&w, 1, PACKET_ACK), B);
			assert_int_equal(sent(&w, 1, PACKET_ACK), B);
		}
		assert_int_equal(kind_of(&w, 1), WEIR_FLOW_OPEN);
		balance_run_age(&w.run, w.idle.idle);
		assert_int_equal(sent(&w, 1, PACKET_SYN), B);
		assert_int_equal(sent(&w, 1, PACKET_DATA), B);
		close_world(&w);
	}
}

/* The end of a flow as it is: its ACKs refute nothing. */
static void ends_stay_ends(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, &tcp_plan);
	own_all(&w, A);
	move_all(&w, B);
	sent(&w, 1, PACKET_SYN);
	balance_run_age(&w.run, 1);
	sent(&w, 1, PACKET_ACK);
	sent(&w, 1, PACKET_FIN | PACKET_ACK);
	sent(&w, 1, PACKET_ACK);
	balance_run_age(&w.run, 1);
	sent(&w, 1, PACKET_ACK);
	sent(&w, 1, PACKET_ACK);
	assert_int_equal(kind_of(&w, 1), WEIR_FLOW_DOUBTED);
	move_all(&w, C);
	balance_run_age(&w.run, 2);
	assert_int_equal(sent(&w, 1, PACKET_SYN), C);
	close_world(&w);
}

static void handshakes(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, &tcp_plan);
	own_all(&w, A);
	move_all(&w, B);
	assert_int_equal(sent(&w, 1, PACKET_SYN), B);
	assert_int_equal(WEIR_PLACE_KIND(entry(&w, 1)->place), WEIR_FLOW_SYN);
	move_all(&w, C);
	assert_int_equal(sent(&w, 1, PACKET_SYN), B);
	assert_int_equal(WEIR_PLACE_KIND(entry(&w, 1)->place), WEIR_FLOW_SYN);
	balance_run_age(&w.run, WEIR_SYN_TICKS);
	assert_int_equal(sent(&w, 1, PACKET_ACK), B);
	assert_int_equal(WEIR_PLACE_KIND(entry(&w, 1)->place), WEIR_FLOW_OPEN);
	assert_int_equal(WEIR_PLACE_TICK(entry(&w, 1)->place), balance_run_now());
	balance_run_age(&w.run, w.idle.idle);
	assert_int_equal(sent(&w, 1, PACKET_DATA), B);
	assert_int_equal(sent(&w, 1, PACKET_FIN | PACKET_ACK), B);
	assert_int_equal(WEIR_PLACE_KIND(entry(&w, 1)->place), WEIR_FLOW_CLOSING);
	balance_run_age(&w.run, w.idle.closing);
	assert_int_equal(sent(&w, 1, PACKET_ACK), B);
	balance_run_age(&w.run, w.idle.closing + 1);
	assert_int_equal(sent(&w, 1, PACKET_ACK), A);
	close_world(&w);
}

static void slots_come_to_rest(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, &tcp_plan);
	own_all(&w, A);
	sent(&w, 1, PACKET_SYN);
	move_all(&w, B);
	sent(&w, 2, PACKET_SYN);
	sent(&w, 2, PACKET_ACK);
	move_all(&w, C);
	for (int i = 0; i < 5; i++) {
		balance_run_age(&w.run, w.idle.idle);
		assert_int_equal(sent(&w, 1, PACKET_DATA), A);
		assert_int_equal(sent(&w, 2, PACKET_DATA), B);
		settle(&w);
		assert_true(moving(&w) > 0);
	}
	/* The one that belongs to the owner before falls silent, then the other. */
	for (int i = 0; i < 2; i++) {
		balance_run_age(&w.run, w.idle.idle);
		assert_int_equal(sent(&w, 2, PACKET_DATA), B);
	}
	settle(&w);
	assert_int_equal(moving(&w), 1);
	balance_run_age(&w.run, w.idle.idle + 2);
	assert_int_equal(settle(&w), 1);
	assert_int_equal(sent(&w, 2, PACKET_DATA), C);
	close_world(&w);
}

static void dead_backends(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, &tcp_plan);
	own_all(&w, A);
	move_all(&w, B);
	sent(&w, 1, PACKET_SYN);
	sent(&w, 1, PACKET_ACK);
	set_alive(&w, B, false);
	assert_int_equal(sent(&w, 1, PACKET_DATA), A);
	assert_int_equal(sent(&w, 2, PACKET_SYN), A);
	assert_int_equal(sent(&w, 2, PACKET_ACK), A);
	set_alive(&w, B, true);
	assert_int_equal(sent(&w, 2, PACKET_DATA), A);
	assert_int_equal(sent(&w, 3, PACKET_SYN), B);
	set_alive(&w, A, false);
	assert_int_equal(sent(&w, 3, PACKET_ACK), B);
	assert_int_equal(sent(&w, 2, PACKET_DATA), B);
	set_alive(&w, B, false);
	assert_int_equal(sent(&w, 3, PACKET_DATA), 0);
	assert_int_equal(sent(&w, 4, PACKET_SYN), 0);
	close_world(&w);
}

static void affinity_by_source(void **state)
{
	struct plan plan = {.proto = IPPROTO_TCP, .buckets = 64, .by_source = true};
	struct world w;
	__u32 seen = 0;

	(void)state;
	open_world(&w, &plan);
	for (__u32 client = 0; client < 50; client++) {
		__u32 backend = sent(&w, client << 16, PACKET_SYN);

		seen |= 1u << backend;
		for (__u32 port = 1; port < 20; port++)
			assert_int_equal(sent(&w, client << 16 | port, PACKET_SYN), backend);
	}
	assert_int_equal(seen, 0x3e);
	close_world(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_moves),      cmocka_unit_test(overlapping_changes),
		cmocka_unit_test(ports_are_reused),   cmocka_unit_test(ends_are_refuted),
		cmocka_unit_test(ends_stay_ends),     cmocka_unit_test(handshakes),
		cmocka_unit_test(slots_come_to_rest), cmocka_unit_test(dead_backends),
		cmocka_unit_test(affinity_by_source),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	xdp_run_prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
