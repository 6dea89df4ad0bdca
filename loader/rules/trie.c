// SPDX-License-Identifier: GPL-2.0
#include "trie.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "xdp/abi.h"

#define LINE_WORDS    8
#define NARROWEST     4 /* a branch of 16 entries is one cache line */
#define SKIP_AT_LEAST NARROWEST
#define CROWD	      6 /* items that a branch's entry leads to, on average: they fit a bucket */
#define FILL	      4 /* of a branch's entries at least one in so many leads on */

struct builder {
	struct words *words;
	struct classes *classes;
	unsigned int bits;
};

long words_add(struct words *w, size_t count)
{
	size_t at = w->count;

	if (at + count > WEIR_E_PLACE_MASK)
		return -E2BIG;
	if (at + count > w->room) {
		size_t room = w->room ? w->room : 1024;
		__u64 *more;

		while (room < at + count)
			room *= 2;
		more = realloc(w->word, room * sizeof(*more));
		if (!more)
			return -ENOMEM;
		w->word = more;
		w->room = room;
	}
	memset(w->word + at, 0, count * sizeof(*w->word));
	w->count += count;
	return at;
}

/* Nodes never lie on two cache lines: they are no longer than one. */
static long add_node(struct words *w, size_t count)
{
	size_t left = LINE_WORDS - w->count % LINE_WORDS, gap = count > left ? left : 0;
	long at = words_add(w, gap + count);

	return at < 0 ? at : at + (long)gap;
}

static __u32 leaf(const struct builder *b, __u32 class)
{
	return WEIR_E_ENTRY(WEIR_E_LEAF, classes_row(b->classes, class));
}

static int compare(const void *a, const void *b)
{
	const struct trie_item *x = a, *y = b;

	if (x->key[0] != y->key[0])
		return x->key[0] < y->key[0] ? -1 : 1;
	if (x->key[1] != y->key[1])
		return x->key[1] < y->key[1] ? -1 : 1;
	return (int)x->length - (int)y->length;
}

/* `count` bits of the key from bit `from` on, which lie in one word; count is 1..64. */
static __u64 bits_of(const struct trie_item *i, unsigned int from, unsigned int count)
{
	return i->key[from / 64] << from % 64 >> (64 - count);
}

/* Where the word that holds bit `depth` ends, or the key. */
static unsigned int word_end(const struct builder *b, unsigned int depth)
{
	return depth < 64 && b->bits > 64 ? 64 : b->bits;
}

/* Up to where all keys are equal and none has ended; they are equal up to `depth`. */
static unsigned int common(const struct builder *b, const struct trie_item *items, size_t count,
			   unsigned int depth)
{
	unsigned int end = word_end(b, depth), shared = end;
	__u64 differ = items[0].key[depth / 64] ^ items[count - 1].key[depth / 64];

	if (differ)
		shared = depth / 64 * 64 + __builtin_clzll(differ);
	if (shared > end)
		shared = end;
	for (size_t i = 0; i < count && shared > depth; i++)
		if (items[i].length < shared)
			shared = items[i].length;
	return shared;
}

/* How many of the 2^width entries lead on to something longer. */
static size_t filled(const struct trie_item *items, size_t count, unsigned int depth,
		     unsigned int width)
{
	__u64 last = ~0ull;
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		__u64 slot = bits_of(&items[i], depth, width);

		if (items[i].length > depth && slot != last) {
			last = slot;
			n++;
		}
	}
	return n;
}

static unsigned int choose_width(const struct builder *b, const struct trie_item *items,
				 size_t count, unsigned int depth)
{
	unsigned int left = word_end(b, depth) - depth, width = NARROWEST;

	while (width < WEIR_E_WIDEST && (size_t)CROWD << width < count)
		width++;
	if (width > left)
		width = left;
	while (width > NARROWEST && filled(items, count, depth, width) * FILL < 1ull << width)
		width--;
	return width;
}

static int emit(struct builder *b, struct trie_item *items, size_t count, unsigned int depth,
		__u32 class, __u32 *entry);

static int emit_skip(struct builder *b, struct trie_item *items, size_t count, unsigned int depth,
		     unsigned int to, __u32 class, __u32 *entry)
{
	__u64 bits = items[0].key[depth / 64] << depth % 64;
	long at = add_node(b->words, 2);
	__u32 hit;
	int err;

	if (at < 0)
		return at;
	err = emit(b, items, count, to, class, &hit);
	b->words->word[at] = bits;
	b->words->word[at + 1] = WEIR_SKIP(to - depth, classes_row(b->classes, class), hit);
	*entry = WEIR_E_ENTRY(WEIR_E_SKIP, at);
	return err;
}

static bool fits_bucket(const struct builder *b, const struct trie_item *items, size_t count,
			unsigned int depth)
{
	if (count > WEIR_BUCKET_ITEMS)
		return false;
	for (size_t i = 0; i < count; i++)
		if (items[i].rule != items[0].rule || items[i].length > word_end(b, depth) ||
		    items[i].length > depth + WEIR_BUCKET_BITS)
			return false;
	return true;
}

static int emit_bucket(struct builder *b, const struct trie_item *items, size_t count,
		       unsigned int depth, __u32 class, __u32 *entry)
{
	long at = add_node(b->words, 1 + (count + 1) / 2);
	long with = classes_with(b->classes, class, items->rule);
	__u32 *item;

	if (at < 0 || with < 0)
		return at < 0 ? at : with;
	b->words->word[at] =
		WEIR_SKIP(count, classes_row(b->classes, class), classes_row(b->classes, with));
	item = (__u32 *)(b->words->word + at + 1);
	for (size_t i = 0; i < count; i++) {
		__u64 key = items[i].key[depth / 64] << depth % 64 >> (64 - WEIR_BUCKET_BITS);

		item[i] = key << WEIR_BUCKET_ITEM_BITS |
			  (WEIR_BUCKET_BITS - (items[i].length - depth));
	}
	*entry = WEIR_E_ENTRY(WEIR_E_BUCKET, at);
	return 0;
}

/* The classes of a branch's entries, from the items that end in it. */
static int paint(struct builder *b, const struct trie_item *items, size_t count, unsigned int depth,
		 unsigned int width, __u32 *class)
{
	for (size_t i = 0; i < count; i++) {
		unsigned int free_bits = depth + width - items[i].length;
		__u64 first;

		if (items[i].length > depth + width)
			continue;
		first = bits_of(&items[i], depth, width);
		for (__u64 s = first; s < first + (1ull << free_bits); s++) {
			long with = classes_with(b->classes, class[s], items[i].rule);

			if (with < 0)
				return with;
			class[s] = with;
		}
	}
	return 0;
}

static size_t keep_longer(struct trie_item *items, size_t count, unsigned int length)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++)
		if (items[i].length > length)
			items[kept++] = items[i];
	return kept;
}

static int emit_branch(struct builder *b, struct trie_item *items, size_t count, unsigned int depth,
		       __u32 class, __u32 *entry)
{
	unsigned int width = choose_width(b, items, count, depth);
	size_t size = 1ull << width, from, to;
	long at = words_add(b->words, (size + 1) / 2);
	__u32 *classes = malloc(size * sizeof(*classes)), child;
	int err = at < 0 ? at : classes ? 0 : -ENOMEM;

	for (size_t s = 0; !err && s < size; s++)
		classes[s] = class;
	if (!err)
		err = paint(b, items, count, depth, width, classes);
	for (size_t s = 0; !err && s < size; s++)
		((__u32 *)(b->words->word + at))[s] = leaf(b, classes[s]);
	count = keep_longer(items, count, depth + width);
	for (from = 0; !err && from < count; from = to) {
		__u64 slot = bits_of(&items[from], depth, width);

		for (to = from; to < count && bits_of(&items[to], depth, width) == slot;)
			to++;
		err = emit(b, items + from, to - from, depth + width, classes[slot], &child);
		((__u32 *)(b->words->word + at))[slot] = child;
	}
	free(classes);
	*entry = WEIR_E_ENTRY(width, at);
	return err;
}

/* The second word of a 128-bit key begins. */
static int emit_low(struct builder *b, struct trie_item *items, size_t count, __u32 class,
		    __u32 *entry)
{
	long at = words_add(b->words, 1);
	unsigned int shared;
	__u32 child;
	int err;

	if (at < 0)
		return at;
	shared = common(b, items, count, 64);
	err = shared >= 64 + SKIP_AT_LEAST ? emit_skip(b, items, count, 64, shared, class, &child)
					   : emit_branch(b, items, count, 64, class, &child);
	b->words->word[at] = child;
	*entry = WEIR_E_ENTRY(WEIR_E_LOW, at);
	return err;
}

/* Items share the first `depth` bits of their keys and are in order. */
static int emit(struct builder *b, struct trie_item *items, size_t count, unsigned int depth,
		__u32 class, __u32 *entry)
{
	unsigned int shared;

	for (; count && items->length <= depth; items++, count--) {
		long with = classes_with(b->classes, class, items->rule);

		if (with < 0)
			return with;
		class = with;
	}
	if (!count) {
		*entry = leaf(b, class);
		return 0;
	}
	if (depth == 64)
		return emit_low(b, items, count, class, entry);
	if (fits_bucket(b, items, count, depth))
		return emit_bucket(b, items, count, depth, class, entry);
	shared = common(b, items, count, depth);
	if (shared >= depth + SKIP_AT_LEAST)
		return emit_skip(b, items, count, depth, shared, class, entry);
	return emit_branch(b, items, count, depth, class, entry);
}

int trie_build(struct words *w, struct classes *c, struct trie_item *items, size_t count,
	       unsigned int bits, __u32 base, __u32 *entry)
{
	struct builder b = {.words = w, .classes = c, .bits = bits};

	if (count)
		qsort(items, count, sizeof(*items), compare);
	return emit(&b, items, count, 0, base, entry);
}
