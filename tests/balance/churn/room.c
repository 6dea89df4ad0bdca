// SPDX-License-Identifier: GPL-2.0
/* Churn tracking where the table of flows is full: which flows give way, and where the others go. */
#include "world.h"

static struct plan narrow_plan = {.proto = IPPROTO_TCP, .buckets = 1};

static void full_table(void **state)
{
	struct weir_service_counters counters;
	struct world w;
	__u32 tracked;

	(void)state;
	open_world(&w, &narrow_plan);
	own_all(&w, A);
	move_all(&w, B);
	for (__u32 n = 0; n < 100; n++) {
		__u32 backend = sent(&w, n, PACKET_SYN);

		assert_true(backend == A || backend == B);
		for (int i = 0; i < 3; i++)
			assert_int_equal(sent(&w, n, PACKET_DATA), backend);
	}
	counters = balance_run_service(&w.run, SERVICE);
	tracked = counters.tracked;
	assert_int_equal(tracked + counters.untracked, 100);
	assert_true(tracked >= WEIR_SYN_WAYS && tracked <= WEIR_FLOW_WAYS);
	for (__u32 n = 0; n < tracked; n++)
		assert_int_equal(sent(&w, n, PACKET_DATA), B);
	for (__u32 n = tracked; n < 100; n++)
		assert_int_equal(sent(&w, n, PACKET_DATA), A);
	close_world(&w);
}

static void floods_take_no_open_flow(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, &narrow_plan);
	own_all(&w, A);
	move_all(&w, B);
	assert_int_equal(sent(&w, 1, PACKET_SYN), B);
	assert_int_equal(sent(&w, 1, PACKET_ACK), B);
	for (__u32 n = 0; n < 1000; n++) {
		sent(&w, 1000 + n, PACKET_SYN);
		if (n % 50 == 0)
			balance_run_age(&w.run, 1);
	}
	assert_int_equal(sent(&w, 1, PACKET_DATA), B);
	close_world(&w);
}

/* A flood of half-open flows passes, and those that are open since leave their ways to others. */
static void handshakes_find_room_again(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, &narrow_plan);
	own_all(&w, A);
	move_all(&w, B);
	for (__u32 n = 0; n < WEIR_FLOW_WAYS; n++) {
		assert_int_equal(sent(&w, n, PACKET_SYN), B);
		assert_int_equal(sent(&w, n, PACKET_ACK), B);
	}
	assert_int_equal(sent(&w, WEIR_FLOW_WAYS, PACKET_SYN), A);
	for (__u32 n = 0; n < WEIR_FLOW_WAYS; n++)
		assert_int_equal(sent(&w, n, PACKET_DATA), B);
	close_world(&w);
}

/* A SYN and an ACK in anybody's name give way soon; what came twice does not. */
static void new_flows_give_way(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, &narrow_plan);
	own_all(&w, A);
	move_all(&w, B);
	for (__u32 n = 0; n < WEIR_FLOW_WAYS; n++) {
		assert_int_equal(sent(&w, n, PACKET_SYN), B);
		assert_int_equal(sent(&w, n, PACKET_ACK), B);
		assert_int_equal(kind_of(&w, n), WEIR_FLOW_NEW);
	}
	balance_run_age(&w.run, 1);
	assert_int_equal(sent(&w, 0, PACKET_DATA), B);
	assert_int_equal(kind_of(&w, 0), WEIR_FLOW_OPEN);
	balance_run_age(&w.run, WEIR_NEW_TICKS - 1);
	assert_int_equal(sent(&w, 100, PACKET_SYN), A);
	balance_run_age(&w.run, 1);
	/* Where nobody wants the way, it is kept. */
	for (__u32 n = 0; n < WEIR_FLOW_WAYS; n++)
		assert_non_null(entry(&w, n));
	for (__u32 n = 101; n < 101 + WEIR_FLOW_WAYS - 1; n++) {
		assert_int_equal(sent(&w, n, PACKET_SYN), B);
		assert_int_equal(sent(&w, n, PACKET_ACK), B);
	}
	assert_int_equal(sent(&w, 200, PACKET_SYN), A);
	assert_int_equal(sent(&w, 0, PACKET_DATA), B);
	close_world(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_table),
		cmocka_unit_test(floods_take_no_open_flow),
		cmocka_unit_test(handshakes_find_room_again),
		cmocka_unit_test(new_flows_give_way),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	xdp_run_prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
