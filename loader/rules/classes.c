// SPDX-License-Identifier: GPL-2.0
#include "classes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "xdp/abi.h"

#define NONE 0xffffffffu

int classes_init(struct classes *c, size_t rules)
{
	*c = (struct classes){.words = rules ? (rules + 63) / 64 : 1, .last_class = NONE};
	c->buckets = 64;
	c->bucket = calloc(c->buckets, sizeof(*c->bucket));
	return c->bucket ? 0 : -ENOMEM;
}

void classes_free(struct classes *c)
{
	free(c->bits);
	free(c->bucket);
	*c = (struct classes){};
}

const __u64 *classes_bits(const struct classes *c, __u32 class)
{
	return c->bits + class * c->words;
}

/* One word needs no summary. */
static size_t row_words(const struct classes *c)
{
	return c->words == 1 ? 1 : c->words + 1;
}

__u32 classes_row(const struct classes *c, __u32 class)
{
	return class * row_words(c);
}

size_t classes_rows(const struct classes *c)
{
	return c->count * row_words(c);
}

static __u64 hash(const __u64 *set, size_t words)
{
	__u64 h = words;

	for (size_t i = 0; i < words; i++) {
		h = (h ^ set[i]) * 0x9e3779b97f4a7c15ull;
		h ^= h >> 29;
	}
	return h;
}

static __u32 *find(const struct classes *c, const __u64 *set)
{
	size_t i = hash(set, c->words) & (c->buckets - 1);

	while (c->bucket[i] &&
	       memcmp(classes_bits(c, c->bucket[i] - 1), set, c->words * sizeof(*set)))
		i = (i + 1) & (c->buckets - 1);
	return &c->bucket[i];
}

static int grow(struct classes *c)
{
	__u32 *bucket = calloc(c->buckets * 2, sizeof(*bucket));
	__u64 *bits = realloc(c->bits, c->buckets * c->words * sizeof(*bits));

	if (bits)
		c->bits = bits;
	if (!bucket || !bits) {
		free(bucket);
		return -ENOMEM;
	}
	free(c->bucket);
	c->bucket = bucket;
	c->room = c->buckets;
	c->buckets *= 2;
	for (__u32 i = 0; i < c->count; i++)
		*find(c, classes_bits(c, i)) = i + 1;
	return 0;
}

long classes_of(struct classes *c, const __u64 *set)
{
	__u32 *at = find(c, set);

	if (*at)
		return *at - 1;
	if (c->count == c->room) {
		if (grow(c))
			return -ENOMEM;
		at = find(c, set);
	}
	memcpy(c->bits + c->count * c->words, set, c->words * sizeof(*set));
	*at = ++c->count;
	return *at - 1;
}

long classes_with(struct classes *c, __u32 class, __u32 rule)
{
	__u64 set[WEIR_BITMAP_WORDS];
	long result;

	if (class == c->last_class && rule == c->last_rule)
		return c->last_result;
	memcpy(set, classes_bits(c, class), c->words * sizeof(*set));
	set[rule / 64] |= 1ull << rule % 64;
	result = classes_of(c, set);
	if (result >= 0) {
		c->last_class = class;
		c->last_rule = rule;
		c->last_result = result;
	}
	return result;
}
