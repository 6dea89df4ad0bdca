// SPDX-License-Identifier: GPL-2.0
/* Rule tables: what is in the head, and that the rules come back as they went in. What they mean
 * to packets is the business of tests/datapath/xdp_rules.c. */
#include "loader/rules/table.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "loader/base/error.h"
#include "tests/shared/random_rules.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

static __u32 ifindex(const char *name)
{
	return strcmp(name, "gone") ? name[3] - '0' + 1 : 0;
}

static const struct redirect_target targets[] = {
	{.name = "dev3", .ifindex = 4},
	{.name = "dev4", .ifindex = 5, .via_tc = true},
};

static const struct table_names names = {.ifindex = ifindex, .targets = targets, .count = 2};

static const struct rule any = {.proto = RULE_ANY_PROTO, .sport = {0, 65535}, .dport = {0, 65535}};

static const struct weir_table_head *compile(const struct rule_set *set, struct table *table)
{
	assert_int_equal(table_compile(set, &names, table), 0);
	return table->bytes;
}

static const struct weir_table_rule *compiled_rule(const struct table *table, size_t i)
{
	const struct weir_table_head *head = table->bytes;

	return (const struct weir_table_rule *)((const __u64 *)table->bytes + head->table_rules) +
	       i;
}

/* ---- the rules come back ---- */

static void test_round_trip(void **state)
{
	static const struct random_style style = {30, 30, 60, 0, {0, 20, 20, 20}};
	static const size_t counts[] = {0, 1, 2, 64, 65, 300, WEIR_MAX_RULES};
	struct dice dice = dice_from_environment();

	(void)state;
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		struct rule_set set, back;
		struct table table, again;

		random_rules(&dice, &style, counts[i], &set);
		set.next_id = 70000 + i;
		compile(&set, &table);
		assert_true(table.size >= TABLE_LEAST && !(table.size & (table.size - 1)));
		assert_int_equal(table_source(table.bytes, table.size, &back), 0);
		assert_int_equal(back.count, set.count);
		assert_int_equal(back.prefix_count, set.prefix_count);
		assert_int_equal(back.next_id, set.next_id);
		assert_int_equal(back.seed, set.seed);
		assert_memory_equal(back.rules, set.rules, set.count * sizeof(*set.rules));
		assert_memory_equal(back.prefixes, set.prefixes,
				    set.prefix_count * sizeof(*set.prefixes));
		compile(&back, &again);
		assert_int_equal(again.size, table.size);
		assert_memory_equal(again.bytes, table.bytes, table.size);
		rule_set_free(&set);
		rule_set_free(&back);
		free(table.bytes);
		free(again.bytes);
	}
}

static void assert_refused(const void *bytes, size_t size, const char *about)
{
	struct rule_set set;

	assert_int_equal(table_source(bytes, size, &set), -EPROTO);
	assert_int_equal(failure_status(), 2);
	assert_non_null(strstr(failure(), about));
	forget_failure();
	assert_null(set.rules);
	assert_null(set.prefixes);
	assert_int_equal(set.count, 0);
}

static void test_damaged_tables(void **state)
{
	struct rule rules[3] = {any, any, any};
	const struct rule_set set = {.rules = rules, .count = 3, .next_id = 4};
	struct weir_table_head *head, whole;
	struct table table;

	(void)state;
	head = (struct weir_table_head *)compile(&set, &table);
	whole = *head;
	assert_refused(head, sizeof(*head) - 1, "schema");
	head->schema++;
	assert_refused(head, table.size, "schema");
	*head = whole;
	head->rules = WEIR_MAX_RULES + 1;
	assert_refused(head, table.size, "damaged");
	*head = whole;
	head->rules = 4;
	assert_refused(head, table.size, "damaged");
	*head = whole;
	head->source = table.size / 8 - 1;
	assert_refused(head, table.size, "damaged");
	*head = whole;
	head->source = 0xffffffff;
	assert_refused(head, table.size, "damaged");
	*head = whole;
	head->source_bytes = 0xffffffff;
	assert_refused(head, table.size, "damaged");
	free(table.bytes);
}

/* ---- what the loader reads from the head ---- */

static __u32 fields_of(struct rule rule)
{
	const struct rule_set set = {.rules = &rule, .count = 1};
	struct table table;
	__u32 fields = compile(&set, &table)->fields;

	free(table.bytes);
	return fields;
}

static void test_fields(void **state)
{
	struct prefix zero4 = {.family = 4};
	struct rule r;

	(void)state;
	assert_int_equal(fields_of(any), 1u << WEIR_F_PROTO);
	r = any;
	r.src = zero4;
	assert_int_equal(fields_of(r), 1u << WEIR_F_SRC);
	r = any;
	r.dst = zero4;
	assert_int_equal(fields_of(r), 1u << WEIR_F_DST);
	r.proto = 6;
	assert_int_equal(fields_of(r), 1u << WEIR_F_DST | 1u << WEIR_F_PROTO);
	r = any;
	r.sport[0] = 1;
	assert_int_equal(fields_of(r), 1u << WEIR_F_SPORT);
	r = any;
	r.dport[1] = 65534;
	assert_int_equal(fields_of(r), 1u << WEIR_F_DPORT);
	r = any;
	strcpy(r.dev, "dev1");
	assert_int_equal(fields_of(r), 1u << WEIR_F_DEV);
	r = any;
	r.action = WEIR_A_REDIRECT;
	strcpy(r.target, "dev1");
	assert_int_equal(fields_of(r), 1u << WEIR_F_DEV);
}

static void test_head_and_rules(void **state)
{
	struct rule rules[5] = {any, any, any, any, any};
	const struct rule_set set = {.rules = rules, .count = 5, .next_id = 99, .seed = 0xabcdef};
	const struct weir_table_head *head;
	struct table table;

	(void)state;
	for (int i = 0; i < 5; i++)
		rules[i].slot = 100 + i;
	rules[1].action = WEIR_A_LIMIT;
	rules[1].rate_micro = 500 * 1000000ull;
	rules[1].burst = 50;
	for (int i = 2; i < 5; i++)
		rules[i].action = WEIR_A_REDIRECT;
	strcpy(rules[2].target, "dev3");
	strcpy(rules[3].target, "dev4");
	strcpy(rules[4].target, "gone");
	head = compile(&set, &table);
	assert_int_equal(head->schema, WEIR_XDP_SCHEMA);
	assert_int_equal(head->rules, 5);
	assert_int_equal(head->next_id, 99);
	assert_int_equal(head->seed, 0xabcdef);
	assert_int_equal(head->actions,
			 1u << WEIR_A_DROP | 1u << WEIR_A_LIMIT | 1u << WEIR_A_REDIRECT);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(compiled_rule(&table, i)->slot, 100 + i);
		assert_int_equal(compiled_rule(&table, i)->action, rules[i].action);
	}
	assert_int_equal(compiled_rule(&table, 1)->interval, 2000000);
	assert_int_equal(compiled_rule(&table, 1)->burst, 49 * 2000000ull);
	assert_int_equal(compiled_rule(&table, 2)->target, 4);
	assert_int_equal(compiled_rule(&table, 2)->flags, 0);
	assert_int_equal(compiled_rule(&table, 3)->target, 5);
	assert_int_equal(compiled_rule(&table, 3)->flags, WEIR_R_VIA_TC);
	assert_int_equal(compiled_rule(&table, 4)->target, 0);
	free(table.bytes);
}

/* The slowest rate with the greatest burst still fits the clock's 64 bits. */
static void test_extreme_limits(void **state)
{
	struct rule rules[2] = {any, any};
	const struct rule_set set = {.rules = rules, .count = 2};
	struct table table;

	(void)state;
	rules[0].action = rules[1].action = WEIR_A_LIMIT;
	rules[0].rate_micro = 277;
	rules[0].burst = 1000000;
	rules[1].rate_micro = 100000000000000;
	rules[1].burst = 1;
	compile(&set, &table);
	assert_true(compiled_rule(&table, 0)->burst / 999999 == compiled_rule(&table, 0)->interval);
	assert_true(compiled_rule(&table, 0)->burst < 1ull << 62);
	assert_int_equal(compiled_rule(&table, 1)->interval, 10);
	assert_int_equal(compiled_rule(&table, 1)->burst, 0);
	free(table.bytes);
}

/* ---- size and speed ---- */

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* A list as published ones are: hosts, and networks of all sizes. */
static struct prefix *make_list(struct dice *d, size_t count, unsigned int six_percent)
{
	struct prefix *list = calloc(count, sizeof(*list));

	for (size_t i = 0; i < count; i++) {
		bool six = dice_percent(d, six_percent);

		list[i] = random_prefix(d, six ? 6 : 4, six ? 30 : 48, list, i);
	}
	return list;
}

static void check_list(struct dice *d, const char *name, size_t rules, size_t prefixes,
		       unsigned int six_percent)
{
	struct rule *all = calloc(rules, sizeof(*all));
	struct rule_set set = {.rules = all, .count = rules, .prefix_count = prefixes};
	const struct weir_table_head *head;
	struct table table;
	double begun;

	set.prefixes = make_list(d, prefixes, six_percent);
	for (size_t i = 0; i < rules; i++) {
		all[i] = any;
		strcpy(all[i].list, "list");
		all[i].prefixes = prefixes / rules;
	}
	set.prefix_count = prefixes / rules * rules;
	begun = seconds();
	head = compile(&set, &table);
	printf("# %s: %zu rules, %zu prefixes: %.0f ms, %zu KiB, of which %u KiB the rules as given\n",
	       name, rules, set.prefix_count, (seconds() - begun) * 1e3, table.size / 1024,
	       head->source_bytes / 1024);
	free(table.bytes);
	rule_set_free(&set);
}

static void test_lists_of_100000(void **state)
{
	struct dice dice = {7};

	(void)state;
	check_list(&dice, "IPv4", 1, 100000, 0);
	check_list(&dice, "IPv6", 1, 100000, 100);
	check_list(&dice, "mixed", 1, 100000, 40);
	check_list(&dice, "mixed", 20, 100000, 40);
	check_list(&dice, "mixed", 200, 100000, 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_damaged_tables),
		cmocka_unit_test(test_fields),	       cmocka_unit_test(test_head_and_rules),
		cmocka_unit_test(test_extreme_limits), cmocka_unit_test(test_lists_of_100000),
	};

	return cmocka_run_group_tests_name("rule tables", tests, NULL, NULL);
}
