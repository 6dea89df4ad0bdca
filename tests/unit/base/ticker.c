// SPDX-License-Identifier: GPL-2.0
/* The pace of commands that go on until they are interrupted. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include "loader/base/ticker.h"

#include <cmocka.h>

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Work between two ticks does not slow the pace: however late we are, the ticks are those of the clock. */
static void test_pace(void **state)
{
	double begun = now(), worked = 0, took, one;
	struct ticker ticker;

	(void)state;
	ticker_start(&ticker, 0.1);
	for (int i = 0; i < 5; i++) {
		one = now();
		usleep(80000);
		worked += now() - one;
		assert_true(ticker_wait(&ticker));
	}
	took = now() - begun;
	assert_true(took >= 0.5);
	assert_true(took < 0.5 + worked);
}

/* After a delay longer than the interval the ticks do not come in a burst. */
static void test_late(void **state)
{
	struct ticker ticker;
	double before;

	(void)state;
	ticker_start(&ticker, 0.2);
	usleep(500000);
	assert_true(ticker_wait(&ticker));
	before = now();
	assert_true(ticker_wait(&ticker));
	assert_true(now() - before >= 0.1);
}

/* A signal that comes while the command works is not lost and not fatal. */
static void test_interrupt(void **state)
{
	static const int signals[] = {SIGINT, SIGTERM};

	(void)state;
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		struct ticker ticker;
		double begun = now();

		ticker_start(&ticker, 30);
		raise(signals[i]);
		assert_false(ticker_wait(&ticker));
		assert_true(now() - begun < 10);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pace),
		cmocka_unit_test(test_late),
		cmocka_unit_test(test_interrupt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
