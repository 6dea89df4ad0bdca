// SPDX-License-Identifier: GPL-2.0
/* Reasons of drops by their names; their numbers are those of the kernel that runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "loader/tcp/drop/drop_reasons.h"
#include "loader/kernel/kernel_names.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

static void test_names(void **state)
{
	char text[DROP_REASON_TEXT];
	__u32 reason = drop_reason_value("TCP_CSUM");
	const char *subsystem =
		kernel_enum_name("skb_drop_reason_subsys", "SKB_DROP_REASON_SUBSYS_", 2);

	(void)state;
	if (reason == ~0u)
		skip();
	assert_string_equal(drop_reason_name(reason, text), "TCP_CSUM");
	assert_string_equal(drop_reason_name(60000, text), "reason 60000");
	assert_string_equal(drop_reason_name(0x7ff00001, text), "reason 2146435073");
	assert_int_equal(drop_reason_value("NO_SUCH_REASON"), ~0u);
	if (!subsystem)
		return;
	assert_true(strstr(drop_reason_name(0x20003, text), subsystem) == text);
	assert_string_equal(text + strlen(subsystem), ":3");
}

static void test_benign(void **state)
{
	__u32 lost = drop_reason_value("NO_SOCKET"), old = drop_reason_value("TCP_OLD_DATA");
	__u64 mask[4] = {};

	(void)state;
	if (old == ~0u)
		skip();
	drop_reasons_benign(mask);
	assert_true(mask[old / 64] >> old % 64 & 1);
	assert_false(mask[lost / 64] >> lost % 64 & 1);
	assert_false(mask[0] & 1);
}

static void test_advice(void **state)
{
	(void)state;
	assert_non_null(strstr(drop_reason_advice("TCP_LISTEN_OVERFLOW"), "accept queue"));
	assert_ptr_equal(drop_reason_advice("accept_queue_full"),
			 drop_reason_advice("TCP_LISTEN_OVERFLOW"));
	assert_null(drop_reason_advice("NOT_SPECIFIED"));
	assert_null(drop_reason_advice(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_benign),
		cmocka_unit_test(test_advice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
