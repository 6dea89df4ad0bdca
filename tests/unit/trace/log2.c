// SPDX-License-Identifier: GPL-2.0
/* Quantiles of histograms by powers of two. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "loader/trace/log2.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

static void test_nothing(void **state)
{
	const __u64 slot[WEIR_LOG2_SLOTS] = {0};

	(void)state;
	assert_true(isnan(log2_quantile(slot, 0.5)));
}

/* Whatever the values are, the quantile lies in the slot of the value that has this rank. */
static void test_within_slot(void **state)
{
	static const double quantiles[] = {0.01, 0.25, 0.5, 0.9, 0.99, 1};

	(void)state;
	for (int at = 0; at < WEIR_LOG2_SLOTS - 1; at++) {
		__u64 slot[WEIR_LOG2_SLOTS] = {0};

		slot[at] = 1000;
		for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++) {
			double value = log2_quantile(slot, quantiles[i]);

			assert_true(value >= (at ? ldexp(1, at) : 0));
			assert_true(value <= ldexp(1, at + 1));
		}
	}
}

static void test_order(void **state)
{
	__u64 slot[WEIR_LOG2_SLOTS] = {[3] = 98, [10] = 1, [31] = 1};

	(void)state;
	assert_true(log2_quantile(slot, 0.5) >= 8 && log2_quantile(slot, 0.5) < 16);
	assert_true(log2_quantile(slot, 0.985) >= 1024 && log2_quantile(slot, 0.985) < 2048);
	assert_true(isnan(log2_quantile(slot, 0.995)));
	assert_true(isnan(log2_quantile(slot, 1)));
	assert_true(log2_quantile(slot, 0.2) < log2_quantile(slot, 0.3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_within_slot),
		cmocka_unit_test(test_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
