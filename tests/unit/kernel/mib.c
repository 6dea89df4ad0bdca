// SPDX-License-Identifier: GPL-2.0
/* The kernel's counters, as /proc/net/netstat writes them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "loader/kernel/mib.h"

static int parse(const char *text, const char *group, const char *const *names, size_t count,
		 __u64 *values)
{
	FILE *file = fmemopen((void *)text, strlen(text), "r");
	int err;

	assert_non_null(file);
	err = mib_parse(file, group, names, count, values);
	fclose(file);
	return err;
}

static const char both[] = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\n"
			   "TcpExt: 3 18446744073709551615 7\n"
			   "MPTcpExt: ListenDrops\n"
			   "MPTcpExt: 99\n";

static void values_have_the_order_of_the_names(void **state)
{
	static const char *const names[] = {"ListenDrops", "SyncookiesSent", "ListenOverflows"};
	__u64 values[3] = {};

	(void)state;
	assert_int_equal(parse(both, "TcpExt", names, 3, values), 0);
	assert_int_equal(values[0], 7);
	assert_int_equal(values[1], 3);
	assert_true(values[2] == UINT64_MAX);
}

static void what_the_kernel_lacks_stays(void **state)
{
	static const char *const names[] = {"NotThere", "ListenDrops"};
	__u64 values[2] = {5, 6};

	(void)state;
	assert_int_equal(parse(both, "TcpExt", names, 2, values), 0);
	assert_int_equal(values[0], 5);
	assert_int_equal(values[1], 7);
}

static void other_groups_are_not_read(void **state)
{
	static const char *const names[] = {"ListenDrops"};
	__u64 value = 0;

	(void)state;
	assert_int_equal(parse(both, "Tcp", names, 1, &value), -EIO);
	assert_int_equal(value, 0);
	assert_int_equal(parse(both, "MPTcpExt", names, 1, &value), 0);
	assert_int_equal(value, 99);
}

static void a_file_that_ends_early_is_an_error(void **state)
{
	static const char *const names[] = {"ListenDrops"};
	__u64 value = 0;

	(void)state;
	assert_int_equal(parse("TcpExt: ListenDrops\n", "TcpExt", names, 1, &value), -EIO);
	assert_int_equal(parse("\n\n", "TcpExt", names, 1, &value), -EIO);
}

static void here_there_are_some(void **state)
{
	static const char *const names[] = {"RtoMin", "ListenDrops", "NotThere"};
	__u64 values[3] = {1, 1, 1};

	(void)state;
	assert_int_equal(mib_read(names, 3, values), 0);
	assert_true(values[0] > 0);
	assert_int_equal(values[2], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_have_the_order_of_the_names),
		cmocka_unit_test(what_the_kernel_lacks_stays),
		cmocka_unit_test(other_groups_are_not_read),
		cmocka_unit_test(a_file_that_ends_early_is_an_error),
		cmocka_unit_test(here_there_are_some),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
