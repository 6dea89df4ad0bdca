// SPDX-License-Identifier: GPL-2.0
/* Churn tracking of flows that do not say when they begin. */
#include "world.h"

static struct plan udp_plan = {.proto = IPPROTO_UDP, .buckets = 64};

static void udp_is_learnt(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, &udp_plan);
	own_all(&w, A);
	sent(&w, 1, 0);
	move_all(&w, B);
	assert_int_equal(sent(&w, 1, 0), A);
	balance_run_age(&w.run, w.idle.idle);
	assert_int_equal(sent(&w, 1, 0), A);
	assert_int_equal(sent(&w, 2, 0), A); /* may be an old one */
	balance_run_age(&w.run, 1);
	assert_int_equal(sent(&w, 1, 0), A);
	assert_int_equal(sent(&w, 2, 0), A);
	assert_int_equal(sent(&w, 3, 0), B);
	move_all(&w, C);
	assert_int_equal(sent(&w, 3, 0), B);
	assert_int_equal(sent(&w, 4, 0), C);
	balance_run_age(&w.run, w.idle.idle + 1);
	assert_int_equal(sent(&w, 1, 0), C);
	close_world(&w);
}

/* A slot that never comes to rest lives longer than its 16 bits of ticks. */
static void udp_learns_once(void **state)
{
	const __u32 step = 50;
	struct world w;

	(void)state;
	open_world(&w, &udp_plan);
	own_all(&w, A);
	move_all(&w, B);
	balance_run_age(&w.run, w.idle.idle + 1);
	for (__u32 age = 0; age < 1 << 16; age += step) {
		assert_int_equal(sent(&w, 1 + age, 0), B);
		balance_run_age(&w.run, step);
	}
	for (__u32 n = 0; n < w.idle.idle + step; n++) {
		assert_int_equal(sent(&w, 1 << 17 | n, 0), B);
		balance_run_age(&w.run, 1);
	}
	close_world(&w);
}

static void udp_without_room(void **state)
{
	struct plan plan = {.proto = IPPROTO_UDP, .buckets = 1};
	struct world w;

	(void)state;
	open_world(&w, &plan);
	own_all(&w, A);
	for (__u32 n = 0; n < 50; n++)
		sent(&w, n, 0);
	move_all(&w, B);
	for (__u32 tick = 0; tick < 3 * w.idle.idle; tick++) {
		for (__u32 n = 0; n < 50; n++)
			assert_int_equal(sent(&w, n, 0), A);
		balance_run_age(&w.run, 1);
	}
	close_world(&w);
}

static void udp_free(void **state)
{
	struct plan plan = {.proto = IPPROTO_UDP, .buckets = 64, .free = true};
	struct world w;

	(void)state;
	open_world(&w, &plan);
	own_all(&w, A);
	assert_int_equal(sent(&w, 1, 0), A);
	move_all(&w, B);
	assert_int_equal(sent(&w, 1, 0), B);
	move_all(&w, C);
	assert_int_equal(sent(&w, 1, 0), C);
	set_alive(&w, C, false);
	for (int i = 0; i < SLOTS; i++)
		*balance_run_slot(&w.run, SERVICE, i) = WEIR_SLOT(C, A, 0);
	assert_int_equal(sent(&w, 1, 0), A);
	assert_null(entry(&w, 1));
	close_world(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(udp_is_learnt),
		cmocka_unit_test(udp_learns_once),
		cmocka_unit_test(udp_without_room),
		cmocka_unit_test(udp_free),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	xdp_run_prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
