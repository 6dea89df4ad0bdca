// SPDX-License-Identifier: GPL-2.0
/* Sets of rules, each kept once. */
#include "loader/rules/classes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/shared/random_rules.h"
#include "xdp/abi.h"

#include <cmocka.h>

static void test_words(void **state)
{
	static const size_t wanted[][2] = {{0, 1},   {1, 1},   {64, 1},	  {65, 2},
					   {128, 2}, {129, 3}, {4096, 64}};
	struct classes c;

	(void)state;
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		assert_int_equal(classes_init(&c, wanted[i][0]), 0);
		assert_int_equal(c.words, wanted[i][1]);
		classes_free(&c);
	}
}

static void test_each_set_once(void **state)
{
	const __u64 empty[2] = {}, one[2] = {1}, other[2] = {0, 1};
	struct classes c;

	(void)state;
	assert_int_equal(classes_init(&c, 100), 0);
	assert_int_equal(classes_of(&c, empty), 0);
	assert_int_equal(classes_of(&c, one), 1);
	assert_int_equal(classes_of(&c, other), 2);
	assert_int_equal(classes_of(&c, empty), 0);
	assert_int_equal(classes_of(&c, one), 1);
	assert_int_equal(classes_with(&c, 0, 0), 1);
	assert_int_equal(classes_with(&c, 0, 64), 2);
	assert_int_equal(classes_with(&c, 1, 0), 1);
	assert_int_equal(classes_with(&c, 1, 64), 3);
	assert_int_equal(classes_with(&c, 2, 0), 3);
	assert_int_equal(classes_with(&c, 2, 0), 3);
	assert_int_equal(c.count, 4);
	assert_memory_equal(classes_bits(&c, 3), ((__u64[]){1, 1}), 16);
	classes_free(&c);
}

/* A row has its words, and a summary in front where there are several. */
static void test_rows(void **state)
{
	const __u64 sets[3][2] = {{1, 0}, {2, 0}, {3, 0}};
	struct classes c;

	(void)state;
	for (size_t rules = 64; rules <= 65; rules++) {
		size_t row = rules == 64 ? 1 : 3;

		assert_int_equal(classes_init(&c, rules), 0);
		for (int i = 0; i < 3; i++) {
			assert_int_equal(classes_of(&c, sets[i]), i);
			assert_int_equal(classes_row(&c, i), i * row);
		}
		assert_int_equal(classes_rows(&c), 3 * row);
		classes_free(&c);
	}
}

/* Through many doublings, numbers stay and sets are found again. */
static void check_growth(struct dice *d, size_t rules, size_t sets)
{
	size_t words = (rules + 63) / 64;
	__u64 *kept = calloc(sets, words * sizeof(*kept));
	long *number = calloc(sets, sizeof(*number));
	struct classes c;

	assert_int_equal(classes_init(&c, rules), 0);
	for (size_t i = 0; i < sets; i++) {
		__u64 *set = kept + i * words;

		if (i && dice_percent(d, 80)) {
			size_t from = dice_below(d, i);
			__u32 rule = dice_below(d, rules);

			memcpy(set, kept + from * words, words * sizeof(*set));
			set[rule / 64] |= 1ull << rule % 64;
			number[i] = classes_with(&c, number[from], rule);
		} else {
			for (size_t w = 0; w < words; w++)
				set[w] = dice_percent(d, 50) ? dice_word(d) : 0;
			number[i] = classes_of(&c, set);
		}
		assert_in_range(number[i], 0, c.count - 1);
	}
	for (size_t i = 0; i < sets; i++) {
		assert_memory_equal(classes_bits(&c, number[i]), kept + i * words, words * 8);
		assert_int_equal(classes_of(&c, kept + i * words), number[i]);
	}
	for (__u32 a = 0; a < c.count && a < 200; a++)
		for (__u32 b = 0; b < a; b++)
			assert_memory_not_equal(classes_bits(&c, a), classes_bits(&c, b),
						words * 8);
	classes_free(&c);
	free(number);
	free(kept);
}

static void test_growth(void **state)
{
	struct dice dice = dice_from_environment();

	(void)state;
	check_growth(&dice, 5, 500);
	check_growth(&dice, 64, 20000);
	check_growth(&dice, 200, 20000);
	check_growth(&dice, WEIR_MAX_RULES, 3000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_each_set_once),
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_growth),
	};

	return cmocka_run_group_tests_name("classes", tests, NULL, NULL);
}
