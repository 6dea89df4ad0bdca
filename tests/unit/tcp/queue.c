// SPDX-License-Identifier: GPL-2.0
/* What a listener's counts make of the kernel's counters, and what advice they lead to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "loader/tcp/queue/queue_advice.h"
#include "loader/tcp/queue/queue_kernel.h"

static void each_class_has_its_counters(void **state)
{
	const __u64 count[WEIR_Q_COUNTS] = {
		[WEIR_Q_ADMITTED] = 1000, [WEIR_Q_COOKIE] = 200,    [WEIR_Q_SYN_ACCEPT] = 30,
		[WEIR_Q_SYN_SYN] = 4,	  [WEIR_Q_SYN_RESERVE] = 5, [WEIR_Q_SYN_OTHER] = 6,
		[WEIR_Q_ACK] = 70,	  [WEIR_Q_COOKIE_ACK] = 8,  [WEIR_Q_AGAIN] = 9000,
		[WEIR_Q_BOTH_FULL] = 10,  [WEIR_Q_RESET] = 11,	    [WEIR_Q_SYNACKS] = 12,
		[WEIR_Q_OWN_SYNS] = 13,
	};
	__u64 mib[WEIR_MIBS] = {1, 1, 1, 1, 1, 1};

	(void)state;
	queue_expect(count, mib);
	assert_int_equal(mib[WEIR_MIB_LISTEN_OVERFLOWS], 1 + 30 + 70 + 8);
	assert_int_equal(mib[WEIR_MIB_LISTEN_DROPS], 1 + 30 + 4 + 5 + 6 + 70 + 8);
	assert_int_equal(mib[WEIR_MIB_REQQ_DROP], 1 + 4);
	assert_int_equal(mib[WEIR_MIB_REQQ_COOKIES], 1 + 200 + 10);
	assert_int_equal(mib[WEIR_MIB_COOKIES_SENT], 1 + 200);
	assert_int_equal(mib[WEIR_MIB_SYN_RETRANS], 1 + 12 + 13);
}

static const char *advice(const __u64 *count, const struct queue_sockets *sockets,
			  const struct queue_space *space)
{
	static char text[512];

	return queue_advice(text, sizeof(text), count, sockets, space) ? text : NULL;
}

static void who_drops_nothing_gets_none(void **state)
{
	const __u64 count[WEIR_Q_COUNTS] = {[WEIR_Q_ADMITTED] = 1000, [WEIR_Q_SYNACKS] = 3};
	const struct queue_sockets sockets = {.count = 1, .limit = 5};

	(void)state;
	assert_null(advice(count, &sockets, NULL));
}

static void the_limit_that_bites_is_named(void **state)
{
	const __u64 count[WEIR_Q_COUNTS] = {[WEIR_Q_SYN_ACCEPT] = 1};
	const struct queue_space space = {.somaxconn = 128};
	struct queue_sockets sockets = {.count = 1, .limit = 5};

	(void)state;
	assert_non_null(strstr(advice(count, &sockets, &space), "5 is what listen() asked for"));
	sockets.limit = 128;
	assert_non_null(strstr(advice(count, &sockets, &space), "128 is net.core.somaxconn"));
	sockets.limit = 4096;
	assert_non_null(strstr(advice(count, &sockets, &space), "older than net.core.somaxconn"));
}

static void a_queue_that_stays_full_is_the_applications(void **state)
{
	const __u64 count[WEIR_Q_COUNTS] = {[WEIR_Q_SYN_ACCEPT] = 1};
	struct queue_sockets sockets = {.count = 1, .limit = 5, .accept_deepest = 6};

	(void)state;
	assert_non_null(strstr(advice(count, &sockets, NULL), "does not call accept()"));
	sockets.accept_deepest = 5;
	assert_non_null(strstr(advice(count, &sockets, NULL), "bursts"));
	assert_non_null(strstr(advice(count, NULL, NULL), "nobody listens"));
}

static void a_flood_is_told_from_a_short_queue(void **state)
{
	__u64 count[WEIR_Q_COUNTS] = {[WEIR_Q_ADMITTED] = 100, [WEIR_Q_SYN_SYN] = 10};
	const struct queue_sockets sockets = {.count = 1, .limit = 5};

	(void)state;
	assert_null(strstr(advice(count, &sockets, NULL), "flood"));
	assert_non_null(strstr(advice(count, &sockets, NULL), "tcp_syncookies was 0"));
	count[WEIR_Q_SYN_SYN] = 1000;
	assert_non_null(strstr(advice(count, &sockets, NULL), "flood"));
}

static void cookies_for_all_are_no_trouble(void **state)
{
	const __u64 count[WEIR_Q_COUNTS] = {[WEIR_Q_COOKIE] = 1000};
	const struct queue_sockets sockets = {.count = 1, .limit = 5};
	const struct queue_space space = {.syncookies = 2, .somaxconn = 128};

	(void)state;
	assert_null(advice(count, &sockets, &space));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_class_has_its_counters),
		cmocka_unit_test(who_drops_nothing_gets_none),
		cmocka_unit_test(the_limit_that_bites_is_named),
		cmocka_unit_test(a_queue_that_stays_full_is_the_applications),
		cmocka_unit_test(a_flood_is_told_from_a_short_queue),
		cmocka_unit_test(cookies_for_all_are_no_trouble),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
