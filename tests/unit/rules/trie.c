// SPDX-License-Identifier: GPL-2.0
/* Tries against a look at every item. */
#include "loader/rules/trie.h"

#include <errno.h>
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

#define ITEMS_MOST 4000

struct built {
	struct words words;
	struct classes classes;
	struct trie_item *items; /* as they were given */
	size_t count;
	unsigned int bits, rules;
	__u32 base, entry;
};

static void build(struct built *b, const struct trie_item *items, size_t count, unsigned int bits,
		  unsigned int rules, const __u64 *base)
{
	struct trie_item *used = calloc(count + 1, sizeof(*used));

	*b = (struct built){.count = count, .bits = bits, .rules = rules};
	b->items = calloc(count + 1, sizeof(*used));
	memcpy(b->items, items, count * sizeof(*items));
	memcpy(used, items, count * sizeof(*items));
	assert_int_equal(classes_init(&b->classes, rules), 0);
	/* Word 0 of a table is its head: no trie is there. */
	assert_int_equal(words_add(&b->words, 13), 0);
	b->base = classes_of(&b->classes, base);
	assert_int_equal(trie_build(&b->words, &b->classes, used, count, bits, b->base, &b->entry),
			 0);
	free(used);
}

static void release(struct built *b)
{
	classes_free(&b->classes);
	free(b->words.word);
	free(b->items);
}

/* ---- a walk as xdp/abi.h describes it, with every access checked ---- */

static __u64 word(const struct built *b, size_t at)
{
	assert_true(at < b->words.count);
	return b->words.word[at];
}

static __u32 entry(const struct built *b, size_t at)
{
	return word(b, at / 2) >> at % 2 * 32;
}

static __u64 bucket(const struct built *b, size_t place, __u64 key)
{
	__u64 head = word(b, place);

	assert_true(WEIR_SKIP_BITS(head) <= WEIR_BUCKET_ITEMS);
	for (unsigned int i = 0; i < WEIR_SKIP_BITS(head); i++) {
		__u32 item = entry(b, place * 2 + 2 + i);
		unsigned int drop = item & 31;

		if ((key >> 37 ^ item >> 5) >> drop == 0)
			return WEIR_SKIP_HIT(head);
	}
	return WEIR_SKIP_MISS(head);
}

/* The row of the class, and how many steps it took. */
static __u64 walk(const struct built *b, const __u64 *keys, int *steps)
{
	__u64 key = keys[0];
	__u32 e = b->entry;

	for (*steps = 1;; ++*steps) {
		__u32 kind = e >> WEIR_E_KIND_SHIFT, place = e & WEIR_E_PLACE_MASK;
		__u64 skip;

		assert_true(*steps <= WEIR_TRIE_STEPS);
		switch (kind) {
		case WEIR_E_LEAF: return place;
		case WEIR_E_BUCKET: return bucket(b, place, key);
		case WEIR_E_LOW:
			key = keys[1];
			e = word(b, place);
			break;
		case WEIR_E_SKIP:
			skip = word(b, place + 1);
			if ((key ^ word(b, place)) >> (64 - WEIR_SKIP_BITS(skip)))
				return WEIR_SKIP_MISS(skip);
			key = WEIR_SKIP_BITS(skip) == 64 ? 0 : key << WEIR_SKIP_BITS(skip);
			e = WEIR_SKIP_HIT(skip);
			break;
		default:
			assert_true(kind <= WEIR_E_WIDEST);
			e = entry(b, place * 2ul + (key >> (64 - kind)));
			key <<= kind;
		}
	}
}

/* ---- the model ---- */

static bool covers(const struct trie_item *item, const __u64 *key)
{
	for (unsigned int bit = 0; bit < item->length; bit++)
		if ((item->key[bit / 64] ^ key[bit / 64]) >> (63 - bit % 64) & 1)
			return false;
	return true;
}

static int check(const struct built *b, const __u64 *key)
{
	__u64 wanted[WEIR_BITMAP_WORDS];
	size_t words = b->classes.words, row = words == 1 ? 1 : words + 1;
	__u64 found;
	int steps;

	memcpy(wanted, classes_bits(&b->classes, b->base), words * sizeof(*wanted));
	for (size_t i = 0; i < b->count; i++)
		if (covers(&b->items[i], key))
			wanted[b->items[i].rule / 64] |= 1ull << b->items[i].rule % 64;
	found = walk(b, key, &steps);
	assert_int_equal(found % row, 0);
	assert_true(found / row < b->classes.count);
	if (memcmp(wanted, classes_bits(&b->classes, found / row), words * sizeof(*wanted)))
		fail_msg("%zu items of %u bits, %u rules: key %016llx %016llx has the wrong class",
			 b->count, b->bits, b->rules, key[0], key[1]);
	return steps;
}

/* ---- random tries ---- */

static void keep_bits(__u64 *key, unsigned int length)
{
	for (unsigned int bit = length; bit < 128; bit++)
		key[bit / 64] &= ~(1ull << (63 - bit % 64));
}

static void key_near(struct dice *d, const struct trie_item *items, size_t count, unsigned int bits,
		     __u64 *key)
{
	const struct trie_item *near = count ? &items[dice_below(d, count)] : NULL;
	unsigned int from = near ? near->length : 0, bit;
	__u64 fill[2] = {dice_word(d), dice_word(d)};

	if (near && dice_percent(d, 30))
		fill[0] = fill[1] = dice_percent(d, 50) ? 0 : ~0ull;
	for (int w = 0; w < 2; w++)
		key[w] = near ? near->key[w] : 0;
	for (bit = from; bit < bits; bit++)
		key[bit / 64] |= fill[bit / 64] & 1ull << (63 - bit % 64);
	if (from && dice_percent(d, 30)) {
		bit = dice_percent(d, 60) ? from - 1 : dice_below(d, from);
		key[bit / 64] ^= 1ull << (63 - bit % 64);
	}
}

struct shape {
	unsigned int bits, rules, least_length, spread; /* percent of keys made from nothing */
	size_t items;
};

static size_t random_items(struct dice *d, const struct shape *s, struct trie_item *items)
{
	size_t count = s->items < 8 ? s->items : dice_below(d, s->items + 1);

	for (size_t i = 0; i < count; i++) {
		struct trie_item *item = &items[i];
		size_t known = dice_percent(d, s->spread) ? 0 : i;

		*item = (struct trie_item){.rule = dice_below(d, s->rules)};
		key_near(d, items, known, s->bits, item->key);
		item->length =
			dice_percent(d, 40)
				? s->bits
				: s->least_length + dice_below(d, s->bits - s->least_length + 1);
		keep_bits(item->key, item->length);
	}
	return count;
}

static void check_shape(struct dice *d, const struct shape *s)
{
	static struct trie_item items[ITEMS_MOST];
	__u64 base[WEIR_BITMAP_WORDS] = {}, key[2];
	size_t count = random_items(d, s, items);
	struct built b;

	for (unsigned int rule = 0; rule < s->rules; rule++)
		if (dice_percent(d, 10))
			base[rule / 64] |= 1ull << rule % 64;
	build(&b, items, count, s->bits, s->rules, base);
	for (int i = 0; i < 600; i++) {
		key_near(d, items, dice_percent(d, 95) ? count : 0, s->bits, key);
		check(&b, key);
	}
	for (size_t i = 0; i < count && i < 300; i++)
		check(&b, items[i].key);
	release(&b);
}

static void test_random(void **state)
{
	static const struct shape shapes[] = {
		{16, 3, 0, 20, 40},	 {16, 200, 6, 60, 2000},  {16, 64, 16, 90, 3000},
		{32, 1, 8, 30, 3000},	 {32, 2, 0, 10, 100},	  {32, 130, 0, 40, 2000},
		{32, 1, 20, 90, 4000},	 {32, 5, 1, 2, 400},	  {128, 1, 0, 30, 2000},
		{128, 3, 0, 5, 300},	 {128, 65, 20, 30, 3000}, {128, 1, 60, 2, 3000},
		{128, 4096, 0, 20, 300}, {128, 2, 100, 1, 200},	  {32, 3, 0, 50, 5},
		{128, 3, 0, 50, 5},	 {16, 1, 0, 50, 1},	  {64, 9, 0, 20, 500},
	};
	struct dice dice = dice_from_environment();

	(void)state;
	for (int round = 0; round < 12; round++)
		for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
			check_shape(&dice, &shapes[i]);
}

/* Every key of 16 bits. */
static void test_all_keys(void **state)
{
	static const struct shape shape = {16, 7, 2, 50, 300};
	struct trie_item items[300] = {};
	const __u64 base[1] = {1};
	struct dice dice = {20};
	struct built b;
	size_t count;

	(void)state;
	count = random_items(&dice, &shape, items);
	build(&b, items, count, 16, 7, base);
	for (__u64 k = 0; k < 65536; k++) {
		const __u64 key[2] = {k << 48, 0};

		check(&b, key);
	}
	release(&b);
}

/* ---- the corners ---- */

static void test_nothing_and_everything(void **state)
{
	static const unsigned int sizes[] = {16, 32, 128};
	static const __u64 base[1] = {4}, keys[][2] = {{0, 0}, {~0ull, ~0ull}, {1ull << 63, 1}};
	const struct trie_item all = {.rule = 1};

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct built b;

		build(&b, &all, 0, sizes[i], 3, base);
		for (int k = 0; k < 3; k++)
			assert_int_equal(check(&b, keys[k]), 1);
		release(&b);
		build(&b, &all, 1, sizes[i], 3, base);
		for (int k = 0; k < 3; k++)
			assert_int_equal(check(&b, keys[k]), 1);
		release(&b);
	}
}

/* At every bit of a path another rule begins and something else branches off: as many steps as
 * can be. Gaps between them bring in skips. */
static void check_ladder(unsigned int bits, unsigned int step, unsigned int branches, __u64 fill)
{
	struct trie_item items[512] = {};
	const __u64 base[3] = {};
	size_t count = 0;
	int steps, most = 0;
	struct built b;

	for (unsigned int length = step; length <= bits; length += step) {
		items[count] = (struct trie_item){
			.key = {fill, fill}, .length = length, .rule = count % 130};
		keep_bits(items[count].key, length);
		for (unsigned int n = 0; n < branches; n++) {
			unsigned int bit = length - 1 - n % step;

			items[count + 1] = items[count];
			items[count + 1].rule = (count + 1) % 130;
			items[count + 1].key[bit / 64] ^= 1ull << (63 - bit % 64);
			count++;
		}
		count++;
	}
	build(&b, items, count, bits, 130, base);
	for (size_t i = 0; i < count; i++)
		for (__u64 last = 0; last < 2; last++) {
			__u64 key[2] = {items[i].key[0], items[i].key[1]};

			for (unsigned int bit = items[i].length; bit < bits; bit++)
				key[bit / 64] |= (last ? fill : ~fill) & 1ull << (63 - bit % 64);
			steps = check(&b, key);
			most = steps > most ? steps : most;
		}
	assert_true(most <= WEIR_TRIE_STEPS);
	release(&b);
}

static void test_ladders(void **state)
{
	static const __u64 fills[] = {0, ~0ull, 0xaaaaaaaaaaaaaaaaull, 0x123456789abcdef0ull};

	(void)state;
	for (unsigned int step = 1; step <= 33; step++)
		for (unsigned int branches = 0; branches < 3; branches++)
			for (int f = 0; f < 4; f++) {
				check_ladder(128, step, branches, fills[f]);
				check_ladder(32, step, branches, fills[f]);
				if (step <= 16)
					check_ladder(16, step, branches, fills[f]);
			}
}

static void test_too_large(void **state)
{
	struct words w = {.count = WEIR_E_PLACE_MASK - 4};

	(void)state;
	assert_int_equal(words_add(&w, 5), -E2BIG);
	assert_int_equal(w.count, WEIR_E_PLACE_MASK - 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_all_keys),
		cmocka_unit_test(test_nothing_and_everything),
		cmocka_unit_test(test_ladders),
		cmocka_unit_test(test_too_large),
	};

	return cmocka_run_group_tests_name("tries", tests, NULL, NULL);
}
