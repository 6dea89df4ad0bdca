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

/* How long five ticks took beyond the time between them; less than the work, if that was done meanwhile. */
static double five_ticks(double *worked)
{
	double begun = now(), one;
	struct ticker ticker;

	*worked = 0;
	ticker_start(&ticker, 0.1);
	for (int i = 0; i < 5; i++) {
		one = now();
		usleep(80000);
		*worked += now() - one;
		assert_true(ticker_wait(&ticker));
	}
	return now() - begun - 0.5;
}

/* Work between two ticks does not slow the pace. A machine that does not let us run does, but seldom
 * twenty times. */
static void test_pace(void **state)
{
	double worked, late;
	int tries = 0;

	(void)state;
	do {
		late = five_ticks(&worked);
		assert_true(late > -0.001);
	} while (late >= worked && ++tries < 20);
	assert_true(late < worked);
}

/* After a delay longer than the interval the ticks do not come in a burst: each is a whole one. */
static void test_late(void **state)
{
	struct ticker ticker;
	double before;

	(void)state;
	ticker_start(&ticker, 0.2);
	usleep(500000);
	before = now();
	assert_true(ticker_wait(&ticker));
	assert_true(now() - before > 0.199);
	assert_true(ticker_wait(&ticker));
	assert_true(now() - before > 0.399);
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
