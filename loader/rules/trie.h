/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Builds the tries of the rule table (xdp/abi.h): multi-bit, with the width of each branch chosen
 * by how densely its range is filled, and skips over key bits in which nothing differs.
 */
#ifndef WEIR_TRIE_H
#define WEIR_TRIE_H

#include <linux/types.h>
#include <stddef.h>

#include "classes.h"

/* A growing table; word 0 is its first. */
struct words {
	__u64 *word;
	size_t count;
	size_t room;
};

/* Appends zeroed words and returns the offset of the first, or -ENOMEM / -E2BIG. */
long words_add(struct words *w, size_t count);

struct trie_item {
	__u64 key[2]; /* left-aligned; bits behind length are 0 */
	__u16 length; /* 0..bits */
	__u16 pad;
	__u32 rule;
};

/*
 * Appends the trie for keys of `bits` bits (at most 64, or 128) and writes its entry. A key's
 * class is `base` with the rules of all items that are prefixes of it. Sorts and then uses up
 * `items`. 0, -ENOMEM or -E2BIG.
 */
int trie_build(struct words *w, struct classes *c, struct trie_item *items, size_t count,
	       unsigned int bits, __u32 base, __u32 *entry);

#endif
