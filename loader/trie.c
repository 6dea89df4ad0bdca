// SPDX-License-Identifier: GPL-2.0
#include "trie.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "xdp/abi.h"

#define NARROWEST    4 /* a branch of 16 entries is one cache line */
#define SKIP_AT_LEAST NARROWEST
#define FILL	     8 /* of a branch's entries at least one in so many leads on */

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

static __u32 make_entry(__u32 kind, __u32 place)
{
	return kind << WEIR_E_KIND_SHIFT | place;
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

	while (width < WEIR_E_WIDEST && 1ull << width < count * FILL)
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
	struct weir_trie_skip skip = {
		.bits = items[0].key[depth / 64] << depth % 64,
		.count = to - depth,
		.miss = make_entry(WEIR_E_LEAF, class),
	};
	long at = words_add(b->words, sizeof(skip) / 8);
	int err;

	if (at < 0)
		return at;
	err = emit(b, items, count, to, class, &skip.hit);
	memcpy(b->words->word + at, &skip, sizeof(skip));
	*entry = make_entry(WEIR_E_SKIP, at);
	return err;
}

/* The classes of a branch's entries, from the items that end in it. */
static int paint(struct builder *b, const struct trie_item *items, size_t count,
		 unsigned int depth, unsigned int width, __u32 *class)
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

static int emit_branch(struct builder *b, struct trie_item *items, size_t count,
		       unsigned int depth, __u32 class, __u32 *entry)
{
	unsigned int width = choose_width(b, items, count, depth);
	size_t size = 1ull << width, from, to;
	long at = words_add(b->words, (size + 1) / 2);
	__u32 *slots = malloc(size * sizeof(*slots));
	int err = at < 0 ? at : slots ? 0 : -ENOMEM;

	for (size_t s = 0; !err && s < size; s++)
		slots[s] = class;
	if (!err)
		err = paint(b, items, count, depth, width, slots);
	count = keep_longer(items, count, depth + width);
	for (from = 0; !err && from < count; from = to) {
		__u64 slot = bits_of(&items[from], depth, width);
		__u32 child;

		for (to = from; to < count && bits_of(&items[to], depth, width) == slot;)
			to++;
		err = emit(b, items + from, to - from, depth + width, slots[slot], &child);
		slots[slot] = child;
	}
	if (!err)
		memcpy(b->words->word + at, slots, size * sizeof(*slots));
	free(slots);
	*entry = make_entry(width, at);
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
	*entry = make_entry(WEIR_E_LOW, at);
	return err;
}

/* Items share the first `depth` bits of their keys and are in order. A leaf's class is the place
 * of its entry; so is a slot's in emit_branch() until it becomes the entry of a child. */
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
		*entry = make_entry(WEIR_E_LEAF, class);
		return 0;
	}
	if (depth == 64)
		return emit_low(b, items, count, class, entry);
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
