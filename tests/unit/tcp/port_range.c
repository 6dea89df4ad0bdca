// SPDX-License-Identifier: GPL-2.0
/* How many ports a range has without those that are reserved. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "loader/tcp/port/port_range.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

static void test_range(void **state)
{
	(void)state;
	assert_int_equal(port_range_count("32768\t60999\n", "\n"), 28232);
	assert_int_equal(port_range_count("1024\t1024\n", "\n"), 1);
	assert_int_equal(port_range_count("1\t65535\n", ""), 65535);
}

static void test_reserved(void **state)
{
	(void)state;
	assert_int_equal(port_range_count("100\t199\n", "100\n"), 99);
	assert_int_equal(port_range_count("100\t199\n", "10-20,110-119,199\n"), 89);
	assert_int_equal(port_range_count("100\t199\n", "90-104,195-300,400\n"), 90);
	assert_int_equal(port_range_count("100\t199\n", "1-65535\n"), 0);
	assert_int_equal(port_range_count("100\t199\n", "200,300-400\n"), 100);
}

static void test_unknown(void **state)
{
	(void)state;
	assert_int_equal(port_range_count("", ""), 0);
	assert_int_equal(port_range_count("200\t100\n", ""), 0);
	assert_int_equal(port_range_count("x\n", "1\n"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_range),
		cmocka_unit_test(test_reserved),
		cmocka_unit_test(test_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
