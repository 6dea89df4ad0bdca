// SPDX-License-Identifier: GPL-2.0
/* Rules and prefix lists as text. */
#include "loader/rules/rule.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loader/cmd/command.h"
#include "loader/base/error.h"
#include "tests/shared/random_rules.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

#define WORDS_MOST 32

/* The words of `text`, all of which must belong to the rule. */
static int parse(const char *text, struct rule *rule)
{
	char *copy = strdup(text), *word[WORDS_MOST], *rest = copy;
	struct args args = {.word = word};
	int err;

	while (args.count < WORDS_MOST && (word[args.count] = strtok_r(rest, " ", &rest)))
		args.count++;
	err = rule_parse(&args, rule);
	if (!err)
		err = no_more_words(&args);
	free(copy);
	return err;
}

/* One line on stderr, exit status 1, and the value in question is in it. */
static void assert_one_line(int err, const char *about)
{
	assert_int_equal(err, -EINVAL);
	assert_int_equal(failure_status(), 1);
	assert_non_null(failure());
	assert_null(strchr(failure(), '\n'));
	assert_true(strlen(failure()) > 15 && strlen(failure()) < 200);
	if (!strstr(failure(), about))
		fail_msg("'%s' is not about '%s'", failure(), about);
	forget_failure();
}

static void assert_round_trip(const struct rule *rule, const char *text)
{
	struct rule again;

	assert_int_equal(parse(text, &again), 0);
	assert_memory_equal(rule, &again, sizeof(again));
}

/* ---- rules ---- */

static void test_formats(void **state)
{
	static const char *const pairs[][2] = {
		{"drop", "drop"},
		{"pass src 0.0.0.0/0", "pass src 0.0.0.0/0"},
		{"drop dst ::/0", "drop dst ::/0"},
		{"drop src 192.0.2.1/32", "drop src 192.0.2.1"},
		{"drop src 2001:DB8:0:0::/64", "drop src 2001:db8::/64"},
		{"drop dport 80 proto tcp src 10.0.0.0/8",
		 "drop src 10.0.0.0/8 proto tcp dport 80"},
		{"drop sport 0-65535", "drop"},
		{"drop sport 0", "drop sport 0"},
		{"drop dport 0-1023", "drop dport 0-1023"},
		{"drop dport 7-7 proto 17", "drop proto udp dport 7"},
		{"drop proto 6", "drop proto tcp"},
		{"drop proto 0", "drop proto 0"},
		{"drop proto 255", "drop proto 255"},
		{"drop proto arp dev eth0", "drop proto arp dev eth0"},
		{"redirect veth0 dev eth0.100", "redirect veth0 dev eth0.100"},
		{"redirect drop", "redirect drop"},
		{"drop dev src", "drop dev src"},
		{"limit 500", "limit 500/s burst 50"},
		{"limit 500/s burst 1", "limit 500/s burst 1"},
		{"limit 10k", "limit 10k/s burst 1000"},
		{"limit 1.5k/s", "limit 1500/s burst 150"},
		{"limit 100M", "limit 100000k/s burst 1000000"},
		{"limit 60/m", "limit 1/s burst 10"},
		{"limit 100/m", "limit 100/m burst 10"},
		{"limit 7/m", "limit 7/m burst 10"},
		{"limit 0.5", "limit 30/m burst 10"},
		{"limit 3/h burst 2", "limit 3/h burst 2"},
		{"limit 1/h", "limit 1/h burst 10"},
		{"limit 1000.123/s", "limit 1000.123/s burst 100"},
		{"limit 1234567.5", "limit 1234567.5/s burst 123456"},
	};
	char text[RULE_TEXT];
	struct rule rule;

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		if (parse(pairs[i][0], &rule))
			fail_msg("%s: %s", pairs[i][0], failure());
		rule_format(&rule, text);
		assert_string_equal(text, pairs[i][1]);
		assert_round_trip(&rule, text);
	}
}

static void test_random_round_trip(void **state)
{
	static const struct random_style style = {40, 0, 1, 0, {0, 20, 30, 20}};
	struct dice dice = dice_from_environment();
	char text[RULE_TEXT];
	struct rule_set set;

	(void)state;
	random_rules(&dice, &style, 4000, &set);
	for (size_t i = 0; i < set.count; i++) {
		struct rule *r = &set.rules[i];

		r->id = r->slot = 0;
		if (r->action == WEIR_A_LIMIT)
			r->rate_micro = 278 + dice_word(&dice) % (dice_percent(&dice, 50)
									  ? 100000000000000ull
									  : 5000000);
		rule_format(r, text);
		assert_true(strlen(text) < RULE_TEXT);
		if (r->src.family && r->dst.family && r->src.family != r->dst.family)
			continue;
		assert_round_trip(r, text);
	}
	rule_set_free(&set);
}

static void test_longest_text(void **state)
{
	struct rule rule = {
		.action = WEIR_A_REDIRECT,
		.proto = 136,
		.sport = {10000, 65534},
		.dport = {10001, 65534},
		.src = {.family = 6, .length = 127},
		.dst = {.family = 6, .length = 127},
		.prefixes = 4294967295u,
	};
	char text[RULE_TEXT];

	(void)state;
	memset(rule.src.address, 0xfe, 16);
	memset(rule.dst.address, 0xfe, 16);
	memset(rule.dev, 'd', sizeof(rule.dev) - 1);
	memset(rule.target, 't', sizeof(rule.target) - 1);
	memset(rule.list, 'l', sizeof(rule.list) - 1);
	rule_format(&rule, text);
	assert_true(strlen(text) < RULE_TEXT);
	rule.action = WEIR_A_LIMIT;
	rule.rate_micro = 99999999999999;
	rule.burst = 4294967295u;
	rule_format(&rule, text);
	assert_true(strlen(text) < RULE_TEXT);
}

static void test_bad_rules(void **state)
{
	static const char *const bad[][2] = {
		{"", "action is missing"},
		{"accept", "'accept'"},
		{"DROP", "'DROP'"},
		{"drop src", "'src' needs a value"},
		{"drop dport", "'dport' needs a value"},
		{"limit", "'limit' needs a value"},
		{"redirect", "'redirect' needs a value"},
		{"drop 10.0.0.0/8", "'10.0.0.0/8' is not expected"},
		{"drop src 10.0.0.0/8 10.0.0.0/8", "is not expected"},
		{"drop source 10.0.0.0/8", "'source' is not expected"},
		{"drop src 10.0.0.0/8 src 11.0.0.0/8", "'src' is given twice"},
		{"drop burst 5", "burst belongs to"},
		{"pass dev eth0 dev eth1", "'dev' is given twice"},
		/* addresses */
		{"drop src 10.0.0", "'10.0.0'"},
		{"drop src 10.0.0.256", "'10.0.0.256'"},
		{"drop src 010.0.0.1", "'010.0.0.1'"},
		{"drop src 10.0.0.0/33", "prefix length 33"},
		{"drop src 10.0.0.0/-1", "prefix length -1"},
		{"drop src 10.0.0.0/", "prefix length ''"},
		{"drop src 10.0.0.0/8/8", "'8/8'"},
		{"drop src 10.0.0.0/+8", "'+8'"},
		{"drop src /8", "'/8'"},
		{"drop src 10.0.0.1/8", "'10.0.0.0/8' is the network"},
		{"drop src 2001:db8::1/64", "'2001:db8::/64' is the network"},
		{"drop src 0.0.0.1/0", "'0.0.0.0/0' is the network"},
		{"drop src 2001:db8::/129", "prefix length 129"},
		{"drop src 2001:db8:::1", "'2001:db8:::1'"},
		{"drop src fe80::1%eth0", "'fe80::1%eth0'"},
		{"drop src localhost", "'localhost'"},
		{"drop src 1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd:eeee",
		 "is no address"},
		{"drop src 10.0.0.0/8 dst 2001:db8::/32", "different families"},
		/* ports */
		{"drop dport 65536", "dport 65536"},
		{"drop dport -1", "dport"},
		{"drop dport 80-79", "80-79"},
		{"drop dport 80-", "''"},
		{"drop dport -80", "dport"},
		{"drop dport 80-90-100", "'90-100'"},
		{"drop dport http", "'http'"},
		{"drop sport 1,2", "'1,2'"},
		{"drop proto icmp dport 80", "a port needs proto"},
		{"drop proto arp sport 80", "a port needs proto"},
		{"drop proto gre sport 0-65534", "a port needs proto"},
		/* protocols */
		{"drop proto TCP", "'TCP'"},
		{"drop proto 256", "protocol 256"},
		{"drop proto -1", "'-1'"},
		{"drop proto 6x", "'6x'"},
		{"drop proto arp src 10.0.0.0/8", "arp cannot be combined"},
		{"drop proto arp dst ::1", "arp cannot be combined"},
		/* rates */
		{"limit 0", "rate '0'"},
		{"limit -5", "rate '-5'"},
		{"limit 0.0001", "rate '0.0001'"},
		{"limit 1/d", "rate '1/d'"},
		{"limit 1/", "rate '1/'"},
		{"limit 1k/x", "rate '1k/x'"},
		{"limit 1K", "rate '1K'"},
		{"limit 0x10", "rate '0x10'"},
		{"limit 1e3", "rate '1e3'"},
		{"limit 1.2.3", "rate '1.2.3'"},
		{"limit inf", "rate 'inf'"},
		{"limit nan", "rate 'nan'"},
		{"limit 101M", "rate '101M'"},
		{"limit 99999999999999999999", "rate '99999999999999999999'"},
		{"limit 10/s/s", "rate '10/s/s'"},
		{"limit 10 burst 0", "burst 0"},
		{"limit 10 burst 1000001", "burst 1000001"},
		{"limit 10 burst x", "'x'"},
		/* devices */
		{"drop dev abcdefghijklmnop", "'abcdefghijklmnop'"},
		{"redirect a/b", "'a/b'"},
	};
	struct rule before = {.id = 77}, rule = before;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int err = parse(bad[i][0], &rule);

		if (!err)
			fail_msg("'%s' is taken for a rule", bad[i][0]);
		assert_one_line(err, bad[i][1]);
		if (!strstr(bad[i][1], "not expected"))
			assert_memory_equal(&rule, &before, sizeof(rule));
		rule = before;
	}
}

/* ---- lists ---- */

static char path[] = "/tmp/weir-rule-XXXXXX";

static int make_file(void **state)
{
	(void)state;
	return mkstemp(path) < 0;
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

static int read_text(const char *text, size_t length, struct prefix **list, size_t *count)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, length, f), length);
	assert_int_equal(fclose(f), 0);
	return prefix_list_read(path, list, count);
}

static void test_lists(void **state)
{
	static const char *const wanted[] = {"10.0.0.0/8", "2001:db8::/32", "192.0.2.1", "::1"};
	static const char *const texts[] = {
		"10.0.0.0/8\n2001:db8::/32\n192.0.2.1\n::1\n",
		"10.0.0.0/8\n2001:db8::/32\n192.0.2.1\n::1",
		"10.0.0.0/8\r\n2001:db8::/32\r\n\r\n192.0.2.1\r\n::1\r\n",
		"# list\n\n  10.0.0.0/8 # net\n\t2001:db8::/32\t\n #\n192.0.2.1/32#host\n   \n::1/128",
	};
	struct prefix *list;
	char text[PREFIX_TEXT];
	size_t count;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(read_text(texts[i], strlen(texts[i]), &list, &count), 0);
		assert_int_equal(count, 4);
		for (size_t n = 0; n < 4; n++) {
			prefix_format(&list[n], text);
			assert_string_equal(text, wanted[n]);
		}
		free(list);
	}
}

static void assert_bad_list(const char *text, const char *about)
{
	struct prefix *list = (struct prefix *)1;
	size_t count = 7;
	char named[128];

	assert_one_line(read_text(text, strlen(text), &list, &count), about);
	assert_null(list);
	assert_int_equal(count, 0);
	assert_int_equal(read_text(text, strlen(text), &list, &count), -EINVAL);
	snprintf(named, sizeof(named), "%s", path);
	assert_non_null(strstr(failure(), named));
	forget_failure();
}

static void test_bad_lists(void **state)
{
	(void)state;
	assert_bad_list("10.0.0.0/8\n10.0.0.0/33\n10.0.0.0/8\n", "line 2: prefix length 33");
	assert_bad_list("# a\n\n\r\n10.0.0.0/8\nnonsense", "line 5: 'nonsense' is no address");
	assert_bad_list("10.0.0.0/8 11.0.0.0/8\n", "line 1: prefix length '8 11.0.0.0/8'");
	assert_bad_list("10.0.0.1/24\n", "line 1: '10.0.0.1/24' has bits behind");
	assert_bad_list("::ffff:192.0.2.1\n", "line 1: '::ffff:192.0.2.1' is an IPv4 address");
	assert_bad_list("10.0.0.0/8\n,\n", "line 2: ','");
	assert_bad_list("", "holds no prefix");
	assert_bad_list("\n", "holds no prefix");
	assert_bad_list("# nothing\n  \n", "holds no prefix");
}

static void test_unreadable_lists(void **state)
{
	struct prefix *list;
	size_t count;

	(void)state;
	assert_int_equal(prefix_list_read("/nonexistent/list", &list, &count), -ENOENT);
	assert_string_equal(failure(),
			    "cannot open '/nonexistent/list': No such file or directory");
	assert_int_equal(failure_status(), 2);
	forget_failure();
	assert_null(list);
	assert_int_equal(prefix_list_read("/", &list, &count), -EIO);
	assert_int_equal(failure_status(), 2);
	forget_failure();
	assert_null(list);
}

static void test_bad_line_far_down(void **state)
{
	size_t size = 0, count;
	struct prefix *list;
	char *text = NULL;
	FILE *f = open_memstream(&text, &size);

	(void)state;
	for (int i = 0; i < 10000; i++)
		fprintf(f, "10.%d.%d.0/24\n", i / 256, i == 6665 ? 256 : i % 256);
	fclose(f);
	assert_one_line(read_text(text, size, &list, &count), "line 6666: '10.26.256.0/24'");
	assert_null(list);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_random_round_trip),
		cmocka_unit_test(test_longest_text),
		cmocka_unit_test(test_bad_rules),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_bad_lists),
		cmocka_unit_test(test_unreadable_lists),
		cmocka_unit_test(test_bad_line_far_down),
	};

	return cmocka_run_group_tests_name("rules", tests, make_file, remove_file);
}
