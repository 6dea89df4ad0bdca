// SPDX-License-Identifier: GPL-2.0
/* Words and numbers of the command line. */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "loader/cmd/command.h"
#include "loader/base/error.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

static void assert_misuse(int err, const char *expected)
{
	assert_int_equal(err, -EINVAL);
	assert_string_equal(failure(), expected);
	assert_int_equal(failure_status(), 1);
	forget_failure();
}

static void test_words(void **state)
{
	char *words[] = {"eth0", "dev", "eth1", "proto", NULL};
	struct args args = {4, words};

	(void)state;
	assert_string_equal(next_word(&args), "eth0");
	assert_false(accept_word(&args, "de"));
	assert_true(accept_word(&args, "dev"));
	assert_string_equal(value_of(&args, "dev"), "eth1");
	assert_misuse(no_more_words(&args),
		      "'proto' is not expected here; -h behind the command shows what is");
	assert_true(accept_word(&args, "proto"));
	assert_int_equal(no_more_words(&args), 0);
	assert_false(accept_word(&args, "proto"));
	assert_null(value_of(&args, "proto"));
	assert_string_equal(failure(), "'proto' needs a value behind it");
	forget_failure();
	assert_null(next_word(&args));
	assert_int_equal(args.count, 0);
}

static void test_number(void **state)
{
	static const char *const bad[] = {"",	  " 1",	 "+1",	"1 ", "12abc", "-",
					  "0x10", "1.5", "--1", "٣",  "\n1"};
	long number = -7;

	(void)state;
	assert_int_equal(parse_number("weight", "65535", 1, 65535, &number), 0);
	assert_int_equal(number, 65535);
	assert_int_equal(parse_number("offset", "-3", -3, 0, &number), 0);
	assert_int_equal(number, -3);
	assert_int_equal(parse_number("weight", "007", 1, 9, &number), 0);
	assert_int_equal(number, 7);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(parse_number("port", bad[i], LONG_MIN, LONG_MAX, &number),
				 -EINVAL);
		forget_failure();
	}
	assert_misuse(parse_number("port", "12abc", 1, 9, &number), "port '12abc' is not a number");
	assert_misuse(parse_number("port", "65536", 1, 65535, &number),
		      "port 65536 is not between 1 and 65535");
	assert_misuse(parse_number("port", "99999999999999999999", 1, LONG_MAX, &number),
		      "port 99999999999999999999 is not between 1 and 9223372036854775807");
	assert_int_equal(number, 7);
}

static void test_seconds(void **state)
{
	static const char *const bad[] = {"",	 ".",	"1s",	 "-1", "+1", "inf", "nan",
					  "1e3", "0x1", "1.2.3", " 1", "1 ", "1,5"};
	double seconds = -7;

	(void)state;
	assert_int_equal(parse_seconds("interval", "0.5", &seconds), 0);
	assert_true(seconds == 0.5);
	assert_int_equal(parse_seconds("interval", "2", &seconds), 0);
	assert_true(seconds == 2);
	assert_int_equal(parse_seconds("interval", ".25", &seconds), 0);
	assert_true(seconds == 0.25);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(parse_seconds("interval", bad[i], &seconds), -EINVAL);
		forget_failure();
	}
	assert_misuse(parse_seconds("interval", "0", &seconds),
		      "interval 0 is not between 0.01 and 86400 seconds");
	assert_misuse(parse_seconds("interval", "fast", &seconds),
		      "interval 'fast' is not a number of seconds");
	assert_true(seconds == 0.25);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_number),
		cmocka_unit_test(test_seconds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
