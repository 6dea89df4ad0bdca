// SPDX-License-Identifier: GPL-2.0
/* Slot tables: against a twin that takes each turn literally, and measured for what users feel. */
#include "loader/balance/maglev.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/shared/random_rules.h"
#include "xdp/balance/abi.h"

#include <cmocka.h>

#define BACKENDS 1000

static struct dice dice;

struct set {
	struct maglev_backend backend[BACKENDS + 1];
	size_t count;
};

static void add(struct set *set, __u32 number, __u32 weight)
{
	struct maglev_backend *b = &set->backend[set->count++];

	*b = (struct maglev_backend){.weight = weight, .owner = number + 1};
	b->name[0] = 4;
	b->name[2] = 10;
	b->name[4] = number >> 8;
	b->name[5] = number;
}

static void add_equal(struct set *set, size_t count)
{
	for (size_t i = 0; i < count; i++)
		add(set, i, 1);
}

static void add_random(struct set *set, size_t count, __u32 heaviest)
{
	for (size_t i = 0; i < count; i++)
		add(set, i * 7 + dice_below(&dice, 7), 1 + dice_below(&dice, heaviest));
}

static void remove_at(struct set *set, size_t at)
{
	set->backend[at] = set->backend[--set->count];
}

static __u32 *fill(const struct set *set, __u32 slots)
{
	__u32 *owner = malloc(slots * sizeof(*owner));

	memset(owner, 0xff, slots * sizeof(*owner));
	assert_int_equal(maglev_fill(set->backend, set->count, owner, slots), 0);
	return owner;
}

static __u32 count_owned(const __u32 *owner, __u32 slots, __u32 by)
{
	__u32 n = 0;

	for (__u32 i = 0; i < slots; i++)
		n += owner[i] == by;
	return n;
}

static __u32 count_different(const __u32 *a, const __u32 *b, __u32 slots)
{
	__u32 n = 0;

	for (__u32 i = 0; i < slots; i++)
		n += a[i] != b[i];
	return n;
}

static __u32 sum_of(const struct set *set)
{
	__u32 sum = 0;

	for (size_t i = 0; i < set->count; i++)
		sum += set->backend[i].weight;
	return sum;
}

/* ---- the twin ---- */

static __u64 twin_mix(__u64 h)
{
	h = (h ^ h >> 32) * 0xe9846af9b1a615dull;
	h = (h ^ h >> 29) * 0xd6e8feb86659fd93ull;
	return h ^ h >> 32;
}

static __u64 twin_hash(const __u8 *name, __u64 h)
{
	for (int at = 0; at < 20; at += 8) {
		__u64 word = 0;

		for (int i = 0; i < 8 && at + i < 20; i++)
			word |= (__u64)name[at + i] << i * 8;
		h = twin_mix(at ? h + 0x9e3779b97f4a7c15ull + word : h ^ word);
	}
	return h;
}

struct twin {
	const struct maglev_backend *backend;
	__u32 *wish; /* all slots, most wanted first */
	__u32 wished;
	__u32 quota;
	long credit;
};

static int by_name(const void *a, const void *b)
{
	const struct twin *x = a, *y = b;

	return memcmp(x->backend->name, y->backend->name, 20);
}

static void twin_wishes(struct twin *t, __u32 slots)
{
	__u64 offset = twin_hash(t->backend->name, 0) % slots;
	__u64 skip = twin_hash(t->backend->name, 1) % slots;

	skip += skip % 2 == 0;
	t->wish = malloc(slots * sizeof(*t->wish));
	for (__u32 i = 0; i < slots; i++)
		t->wish[i] = (offset + i * skip) % slots;
}

/* One by one, the lightest first: whose share is below one slot gets one. */
static void twin_quotas(struct twin *twins, size_t count, __u32 slots)
{
	__u64 sum = 0, run = 0, left = slots, last = 0;

	for (size_t i = 0; i < count; i++)
		sum += twins[i].backend->weight;
	while (true) {
		struct twin *lightest = NULL;

		for (size_t i = 0; i < count; i++)
			if (!twins[i].quota &&
			    (!lightest || twins[i].backend->weight < lightest->backend->weight))
				lightest = &twins[i];
		if (!lightest || lightest->backend->weight * left >= sum)
			break;
		lightest->quota = 1;
		left--;
		sum -= lightest->backend->weight;
	}
	for (size_t i = 0; i < count; i++) {
		if (twins[i].quota)
			continue;
		run += twins[i].backend->weight;
		twins[i].quota = run * left / sum - last;
		last = run * left / sum;
	}
}

static __u32 *twin_fill(const struct set *set, __u32 slots)
{
	struct twin twins[BACKENDS] = {};
	__u32 *owner = calloc(slots, sizeof(*owner)), taken = 0;
	bool *is_taken = calloc(slots, sizeof(*is_taken));
	long heaviest = 0;

	for (size_t i = 0; i < set->count; i++) {
		twins[i].backend = &set->backend[i];
		twin_wishes(&twins[i], slots);
		if (set->backend[i].weight > heaviest)
			heaviest = set->backend[i].weight;
	}
	qsort(twins, set->count, sizeof(twins[0]), by_name);
	twin_quotas(twins, set->count, slots);
	for (size_t i = 0; i < set->count; i++)
		twins[i].credit = -heaviest;
	while (taken < slots) {
		for (size_t i = 0; i < set->count; i++) {
			struct twin *t = &twins[i];

			t->credit += 2 * t->backend->weight;
			if (t->credit <= 0 || !t->quota)
				continue;
			t->credit -= 2 * heaviest;
			t->quota--;
			while (is_taken[t->wish[t->wished]])
				t->wished++;
			is_taken[t->wish[t->wished]] = true;
			owner[t->wish[t->wished]] = t->backend->owner;
			taken++;
		}
	}
	for (size_t i = 0; i < set->count; i++)
		free(twins[i].wish);
	free(is_taken);
	return owner;
}

static void check_twin(const struct set *set, __u32 slots)
{
	__u32 *owner = fill(set, slots), *expected = twin_fill(set, slots);

	assert_memory_equal(owner, expected, slots * sizeof(*owner));
	free(owner);
	free(expected);
}

static void test_turns_literally(void **state)
{
	(void)state;
	for (int i = 0; i < 60; i++) {
		static const __u32 heaviest[] = {1, 3, 10, 100, 1000};
		struct set set = {};

		add_random(&set, 1 + dice_below(&dice, i % 3 ? 20 : 300), heaviest[i % 5]);
		check_twin(&set, 1024u << dice_below(&dice, 4));
	}
}

static void test_turns_literally_of_many(void **state)
{
	struct set set = {};

	(void)state;
	add_random(&set, BACKENDS, 1000);
	check_twin(&set, 1024);
	check_twin(&set, 8192);
}

/* ---- properties ---- */

static void test_order_does_not_matter(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		struct set set = {};
		__u32 *first, *second;

		add_random(&set, 2 + dice_below(&dice, 100), 1000);
		first = fill(&set, 8192);
		for (size_t i = set.count - 1; i > 0; i--) {
			size_t other = dice_below(&dice, i + 1);
			struct maglev_backend kept = set.backend[i];

			set.backend[i] = set.backend[other];
			set.backend[other] = kept;
		}
		second = fill(&set, 8192);
		assert_memory_equal(first, second, 8192 * sizeof(*first));
		free(first);
		free(second);
	}
}

/* Whoever is due less than a slot gets one; the others give up as much in proportion. */
static void check_shares(const struct set *set, __u32 slots)
{
	__u32 *owner = fill(set, slots), small = 0, total = 0;
	double sum = sum_of(set);

	for (size_t i = 0; i < set->count; i++)
		small += set->backend[i].weight * slots < sum * 1.1;
	for (size_t i = 0; i < set->count; i++) {
		double due = set->backend[i].weight * (double)slots / sum;
		__u32 owned = count_owned(owner, slots, set->backend[i].owner);

		assert_true(owned >= 1);
		assert_true(fabs(owned - due) <= 1.0001 + due * small / slots);
		total += owned;
	}
	assert_int_equal(total, slots);
	free(owner);
}

static void test_shares(void **state)
{
	static const size_t counts[] = {1, 2, 3, 7, 50, 333, 1000};
	static const __u32 heaviest[] = {1, 2, 10, 1000};

	(void)state;
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		for (int w = 0; w < 4; w++) {
			struct set set = {};

			add_random(&set, counts[i], heaviest[w]);
			check_shares(&set, 1024);
			check_shares(&set, 65536);
		}
	}
}

static void test_light_beside_heavy(void **state)
{
	struct set pair = {}, crowd = {};
	__u32 *owner;

	(void)state;
	add(&pair, 0, 1);
	add(&pair, 1, 1000);
	assert_int_equal(maglev_slots(pair.backend, 2), 65536);
	owner = fill(&pair, 65536);
	assert_in_range(count_owned(owner, 65536, 1), 65, 66);
	free(owner);

	for (int i = 0; i < BACKENDS; i++)
		add(&crowd, i, i ? 1000 : 1);
	owner = fill(&crowd, 1024);
	assert_int_equal(count_owned(owner, 1024, 1), 1);
	free(owner);
}

static void test_one_and_none(void **state)
{
	struct set set = {};
	__u32 *owner = fill(&set, 1024);

	(void)state;
	assert_int_equal(count_owned(owner, 1024, 0), 1024);
	free(owner);
	add(&set, 5, 1000);
	owner = fill(&set, 1024);
	assert_int_equal(count_owned(owner, 1024, 6), 1024);
	free(owner);
}

/* No promise, but no harm either. */
static void test_more_backends_than_slots(void **state)
{
	struct set set = {};
	__u32 *owner;

	(void)state;
	add_random(&set, BACKENDS, 1000);
	owner = fill(&set, 64);
	assert_int_equal(count_owned(owner, 64, 0), 0);
	assert_int_equal(count_owned(owner, 64, 0xffffffff), 0);
	free(owner);
}

static void test_number_of_slots(void **state)
{
	static const struct {
		size_t count;
		__u32 weight, last, slots;
	} wanted[] = {
		{0, 1, 0, 1024},     {1, 1, 1, 1024},	    {8, 1, 1, 1024},
		{9, 1, 1, 8192},     {64, 1, 1, 8192},	    {65, 1, 1, 65536},
		{512, 1, 1, 65536},  {1000, 1, 1, 65536},   {8, 7, 7, 1024},
		{2, 100, 700, 1024}, {2, 100, 800, 8192},   {3, 500, 500, 1024},
		{2, 1000, 1, 65536}, {2, 1000, 999, 65536},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		struct set set = {};

		for (size_t n = 0; n < wanted[i].count; n++)
			add(&set, n, n ? wanted[i].weight : wanted[i].last);
		assert_int_equal(maglev_slots(set.backend, set.count), wanted[i].slots);
	}
}

/* ---- what a change moves ---- */

/* Slots that need not have moved, in percent: of backends that are there before and after. */
static double needless(const struct set *before, const struct set *after, __u32 slots,
		       __u32 changed)
{
	__u32 *a = fill(before, slots), *b = fill(after, slots), needed = 0, moved;

	for (__u32 i = 0; i < slots; i++)
		needed += a[i] != b[i] && (a[i] == changed || b[i] == changed);
	moved = count_different(a, b, slots);
	free(a);
	free(b);
	return (moved - needed) * 100.0 / slots;
}

static void test_disruption(void **state)
{
	static const struct {
		size_t count;
		__u32 slots;
		double most; /* percent */
	} wanted[] = {
		{2, 1024, 0.1}, {5, 1024, 3},	   {8, 1024, 5},      {20, 8192, 3},
		{64, 8192, 4},	{100, 65536, 1.5}, {500, 65536, 1.5}, {1000, 65536, 1.5},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		double removed = 0, added = 0, lighter = 0;

		for (int n = 0; n < 10; n++) {
			struct set all = {}, less = {}, light = {};
			size_t at = dice_below(&dice, wanted[i].count);
			__u32 owner;

			add_equal(&all, wanted[i].count);
			for (size_t b = 0; b < all.count; b++)
				all.backend[b].weight = 10;
			owner = all.backend[at].owner;
			less = light = all;
			light.backend[at].weight = 5;
			remove_at(&less, at);
			removed = fmax(removed, needless(&all, &less, wanted[i].slots, owner));
			added = fmax(added, needless(&less, &all, wanted[i].slots, owner));
			lighter = fmax(lighter, needless(&all, &light, wanted[i].slots, owner));
		}
		printf("# %zu backends, %u slots: moved without need, worst of 10: "
		       "removed %.2f %%, added %.2f %%, half the weight %.2f %%\n",
		       wanted[i].count, wanted[i].slots, removed, added, lighter);
		assert_true(removed <= wanted[i].most);
		assert_true(added <= wanted[i].most);
		assert_true(lighter <= wanted[i].most);
	}
}

static void test_one_of_a_hundred_leaves(void **state)
{
	struct set all = {}, less;
	__u32 *a, *b;

	(void)state;
	add_equal(&all, 100);
	less = all;
	remove_at(&less, 50);
	a = fill(&all, 65536);
	b = fill(&less, 65536);
	assert_in_range(count_different(a, b, 65536), 655, 65536 * 25 / 1000);
	free(a);
	free(b);
}

/* ---- the ABI ---- */

static __u64 checksum(const struct set *set, __u32 slots)
{
	__u32 *owner = fill(set, slots);
	__u64 h = 0xcbf29ce484222325ull;

	for (__u32 i = 0; i < slots; i++)
		for (int byte = 0; byte < 4; byte++)
			h = (h ^ (owner[i] >> byte * 8 & 0xff)) * 0x100000001b3ull;
	free(owner);
	return h;
}

/* Balancers of different versions stand side by side: a table that comes out differently breaks
 * connections when one is upgraded. If this fails, it is the code that is wrong. */
static void test_table_is_what_it_always_was(void **state)
{
	struct set set = {};

	(void)state;
	for (int i = 0; i < 10; i++)
		add(&set, i * 37, 1 + i * i);
	assert_int_equal(checksum(&set, 1024), 0x16d9d772b9067ef5ull);
	assert_int_equal(checksum(&set, 65536), 0xb78abef35faa7702ull);
}

static void test_time(void **state)
{
	static const __u32 heaviest[] = {1, 1000};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct set set = {};
		struct timespec start, end;

		add_random(&set, BACKENDS, heaviest[i]);
		clock_gettime(CLOCK_MONOTONIC, &start);
		free(fill(&set, 65536));
		clock_gettime(CLOCK_MONOTONIC, &end);
		printf("# 1000 backends of weight up to %u, 65536 slots: %.1f ms\n", heaviest[i],
		       (end.tv_sec - start.tv_sec) * 1e3 + (end.tv_nsec - start.tv_nsec) / 1e6);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_turns_literally),
		cmocka_unit_test(test_turns_literally_of_many),
		cmocka_unit_test(test_order_does_not_matter),
		cmocka_unit_test(test_shares),
		cmocka_unit_test(test_light_beside_heavy),
		cmocka_unit_test(test_one_and_none),
		cmocka_unit_test(test_more_backends_than_slots),
		cmocka_unit_test(test_number_of_slots),
		cmocka_unit_test(test_disruption),
		cmocka_unit_test(test_one_of_a_hundred_leaves),
		cmocka_unit_test(test_table_is_what_it_always_was),
		cmocka_unit_test(test_time),
	};

	dice = dice_from_environment();
	return cmocka_run_group_tests_name("maglev", tests, NULL, NULL);
}
