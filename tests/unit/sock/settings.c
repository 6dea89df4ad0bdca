// SPDX-License-Identifier: GPL-2.0
/* Settings of attached cgroups as text. */
#include "loader/sock/settings.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loader/base/error.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

typedef int (*parser)(const char *text, struct sock_settings *s);

/* One line, exit status 1, the value is in it, and nothing has changed. */
static void assert_refused(parser parse, const char *text, const char *about)
{
	struct sock_settings s = {.port = {{7, 9}}, .port_ranges = 1, .limit = 77, .pairs = 5};
	const struct sock_settings before = s;
	int err = parse(text, &s);

	if (!err)
		fail_msg("'%s' is taken", text);
	assert_int_equal(err, -EINVAL);
	assert_non_null(failure());
	assert_int_equal(failure_status(), 1);
	assert_null(strchr(failure(), '\n'));
	assert_true(strlen(failure()) > 15 && strlen(failure()) < 200);
	if (!strstr(failure(), about))
		fail_msg("'%s': '%s' is not about '%s'", text, failure(), about);
	forget_failure();
	assert_memory_equal(&s, &before, sizeof(s));
}

static void assert_all_refused(parser parse, const char *const (*bad)[2], size_t count)
{
	for (size_t i = 0; i < count; i++)
		assert_refused(parse, bad[i][0], bad[i][1]);
}

/* ---- ports ---- */

static void test_ports(void **state)
{
	static const char *const pairs[][2] = {
		{"80", "80"},
		{"443,80", "80,443"},
		{"8000-8100,80,443", "80,443,8000-8100"},
		{"80,81,82", "80-82"},
		{"80-90,85-95,96", "80-96"},
		{"80-80", "80"},
		{"80,80,80", "80"},
		{"1-65535", "1-65535"},
		{"65535,1", "1,65535"},
		{"any", "any"},
		{"1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31",
		 "1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31"},
		/* As many ranges as there may be, once the rest is joined. */
		{"31-40,29,27,25,23,21,19,17,15,13,11,9,7,5,3,1,41,32,33",
		 "1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31-41"},
		{"60001-60010,60021-60030,60041-60050,60061-60070,60081-60090,60101-60110,"
		 "60121-60130,60141-60150,60161-60170,60181-60190,60201-60210,60221-60230,"
		 "60241-60250,60261-60270,60281-60290,60301-60310",
		 "60001-60010,60021-60030,60041-60050,60061-60070,60081-60090,60101-60110,"
		 "60121-60130,60141-60150,60161-60170,60181-60190,60201-60210,60221-60230,"
		 "60241-60250,60261-60270,60281-60290,60301-60310"},
	};
	char text[SOCK_PORTS_TEXT];

	(void)state;
	for (size_t i = 0; i < COUNT(pairs); i++) {
		struct sock_settings s = {};

		if (sock_ports_parse(pairs[i][0], &s))
			fail_msg("%s: %s", pairs[i][0], failure());
		sock_ports_format(s.port, s.port_ranges, text);
		assert_string_equal(text, pairs[i][1]);
	}
}

/* Any list of ranges means the ports that are in one of them. */
static void test_any_ports(void **state)
{
	(void)state;
	srand(4);
	for (int round = 0; round < 300; round++) {
		struct sock_settings s = {};
		bool wanted[300] = {false};
		char text[512];
		int used = 0;

		for (int i = 0, n = 1 + rand() % WEIR_PORT_RANGES; i < n; i++) {
			int from = 1 + rand() % 250, to = from + rand() % 20;

			used += sprintf(text + used, "%s%d-%d", i ? "," : "", from, to);
			memset(wanted + from, true, to - from + 1);
		}
		assert_int_equal(sock_ports_parse(text, &s), 0);
		for (int port = 1; port < 300; port++)
			assert_int_equal(sock_ports_have(s.port, s.port_ranges, port),
					 wanted[port]);
		for (unsigned int i = 1; i < s.port_ranges; i++)
			assert_true(s.port[i].from > s.port[i - 1].to + 1);
	}
}

static void test_bad_ports(void **state)
{
	static const char *const bad[][2] = {
		{"", "empty"},
		{",", "empty"},
		{"80,,443", "empty"},
		{"80,", "empty"},
		{"0", "0"},
		{"65536", "65536"},
		{"-80", "number"},
		{"80-", "number"},
		{"http", "http"},
		{"80 443", "80 443"},
		{"+80", "+80"},
		{"0x50", "0x50"},
		{"90-80", "80-90"},
		{"80-90-100", "90-100"},
		{"80:90", "80:90"},
		{"1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,33", "17 ranges"},
		{"11111111111111111111111111111111111111111111111111111111111111111111111111111111"
		 "1",
		 "too long"},
	};

	(void)state;
	assert_all_refused(sock_ports_parse, bad, COUNT(bad));
}

/* ---- prefixes ---- */

static void format_all(const struct sock_settings *s, char *text)
{
	strcpy(text, s->local_count ? "" : "any");
	for (size_t i = 0; i < s->local_count; i++) {
		if (i)
			strcat(text, ",");
		sock_prefix_format(&s->local[i], text + strlen(text));
	}
}

static void test_local(void **state)
{
	static const char *const pairs[][2] = {
		{"10.0.0.0/8", "10.0.0.0/8"},
		{"127.0.0.1", "127.0.0.1"},
		{"0.0.0.0/0", "0.0.0.0/0"},
		{"2001:DB8:0::/48,::1", "::1,2001:db8::/48"},
		{"2000::/3,10.0.0.0/8", "10.0.0.0/8,2000::/3"},
		{"10.1.0.0/16,10.0.0.0/8,10.2.3.4", "10.0.0.0/8"},
		{"10.0.0.0/8,10.0.0.0/8", "10.0.0.0/8"},
		{"10.0.0.0/9,10.128.0.0/9", "10.0.0.0/9,10.128.0.0/9"},
		{"::/81", "::/81"}, /* the longest beside all of IPv4 */
		{"::fffe:0:0/96", "::fffe:0:0/96"},
		{"any", "any"},
	};
	char text[256];

	(void)state;
	for (size_t i = 0; i < COUNT(pairs); i++) {
		struct sock_settings s = {};

		if (sock_local_parse(pairs[i][0], &s))
			fail_msg("%s: %s", pairs[i][0], failure());
		format_all(&s, text);
		assert_string_equal(text, pairs[i][1]);
		sock_settings_free(&s);
	}
}

/* What programs compare with: IPv4 inside IPv6. */
static void test_layout(void **state)
{
	struct sock_settings s = {};

	(void)state;
	assert_int_equal(sock_local_parse("192.0.2.0/24", &s), 0);
	assert_int_equal(s.local_count, 1);
	assert_int_equal(s.local[0].bits, 96 + 24);
	assert_memory_equal(s.local[0].address, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\0", 16);
	assert_int_equal(sock_local_parse("2001:db8::/32", &s), 0);
	assert_int_equal(s.local_count, 1);
	assert_int_equal(s.local[0].bits, 32);
	assert_memory_equal(s.local[0].address, "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	assert_int_equal(sock_local_parse("any", &s), 0);
	assert_int_equal(s.local_count, 0);
	assert_null(s.local);
}

static void test_membership(void **state)
{
	static const struct {
		const char *local, *address;
		bool is_in;
	} cases[] = {
		{"any", "::ffff:192.0.2.1", true},
		{"192.0.2.0/25", "::ffff:192.0.2.127", true},
		{"192.0.2.0/25", "::ffff:192.0.2.128", false},
		{"0.0.0.0/0", "::ffff:203.0.113.9", true},
		{"0.0.0.0/0", "2001:db8::1", false},
		{"2001:db8::/33", "2001:db8:7fff::1", true},
		{"2001:db8::/33", "2001:db8:8000::1", false},
		{"10.0.0.0/8,::1", "::1", true},
		{"10.0.0.0/8,::1", "::2", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct sock_settings s = {};
		__be32 address[4];

		assert_int_equal(sock_local_parse(cases[i].local, &s), 0);
		assert_int_equal(inet_pton(AF_INET6, cases[i].address, address), 1);
		if (sock_prefixes_have(s.local, s.local_count, address) != cases[i].is_in)
			fail_msg("%s in %s", cases[i].address, cases[i].local);
		sock_settings_free(&s);
	}
}

static void test_bad_local(void **state)
{
	static const char *const bad[][2] = {
		{"", "empty"},
		{"10.0.0.0/8,", "empty"},
		{"10.0.0.0/33", "33"},
		{"10.0.0.1/8", "10.0.0.0/8"},
		{"localhost", "localhost"},
		{"::ffff:10.0.0.1", "10.0.0.1"},
		{"::/0", "all of IPv4"},
		{"::/80", "all of IPv4"},
		{"10.0.0.0/8,none", "none"},
	};

	(void)state;
	assert_all_refused(sock_local_parse, bad, COUNT(bad));
}

/* ---- numbers ---- */

static void test_limit(void **state)
{
	static const struct {
		const char *text;
		__u32 bytes;
	} good[] = {
		{"65536", 65536}, {"64K", 65536},	{"64k", 65536},		 {"1M", 1048576},
		{"3m", 3145728},  {"1000000", 1000000}, {"64M", WEIR_LIMIT_MAX},
	};
	static const char *const bad[][2] = {
		{"", "number of bytes"},
		{"M", "number of bytes"},
		{"1G", "1G"},
		{"1MB", "1MB"},
		{"1.5M", "1.5M"},
		{"-1M", "-1M"},
		{"0", "64K and 64M"},
		{"65535", "64K and 64M"},
		{"63K", "64K and 64M"},
		{"65M", "64K and 64M"},
		{"99999999999999999999", "64K and 64M"},
		{"9999999999999999M", "64K and 64M"},
	};
	char text[SOCK_LIMIT_TEXT];

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		struct sock_settings s = {};

		if (sock_limit_parse(good[i].text, &s))
			fail_msg("%s: %s", good[i].text, failure());
		assert_int_equal(s.limit, good[i].bytes);
		sock_limit_format(s.limit, text);
		assert_int_equal(sock_limit_parse(text, &s), 0);
		assert_int_equal(s.limit, good[i].bytes);
	}
	sock_limit_format(WEIR_LIMIT_DEFAULT, text);
	assert_string_equal(text, "1M");
	sock_limit_format(WEIR_LIMIT_MIN, text);
	assert_string_equal(text, "64K");
	assert_all_refused(sock_limit_parse, bad, COUNT(bad));
}

static void test_pairs(void **state)
{
	static const char *const bad[][2] = {
		{"0", "0"}, {"65537", "65537"}, {"many", "many"}, {"", "number"}};
	struct sock_settings s = {};

	(void)state;
	assert_int_equal(sock_pairs_parse("65536", &s), 0);
	assert_int_equal(s.pairs, 65536);
	assert_int_equal(sock_pairs_parse("1", &s), 0);
	assert_int_equal(s.pairs, 1);
	assert_all_refused(sock_pairs_parse, bad, COUNT(bad));
}

/* ---- what is attached ---- */

static void test_change_in_part(void **state)
{
	struct sock_prefix local = {.bits = 128, .address = {[3] = 0x01000000}};
	struct sock_scope scope = {
		.config = {.limit = 70000, .port_ranges = 1, .port = {{80, 90}}},
		.local = &local,
		.local_count = 1,
	};
	struct sock_settings s;
	char text[SOCK_PORTS_TEXT];

	(void)state;
	assert_int_equal(sock_settings_of(&scope, &s), 0);
	assert_int_equal(sock_limit_parse("2M", &s), 0);
	sock_ports_format(s.port, s.port_ranges, text);
	assert_string_equal(text, "80-90");
	assert_int_equal(s.local_count, 1);
	assert_int_equal(s.limit, 2 << 20);
	assert_int_equal(s.pairs, 0);
	sock_settings_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ports),	  cmocka_unit_test(test_any_ports),
		cmocka_unit_test(test_bad_ports), cmocka_unit_test(test_local),
		cmocka_unit_test(test_layout),	  cmocka_unit_test(test_membership),
		cmocka_unit_test(test_bad_local), cmocka_unit_test(test_limit),
		cmocka_unit_test(test_pairs),	  cmocka_unit_test(test_change_in_part),
	};

	return cmocka_run_group_tests_name("settings of sockets", tests, NULL, NULL);
}
