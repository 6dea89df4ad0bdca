/* SPDX-License-Identifier: GPL-2.0 */
/* Classes: sets of rules, each kept once. Class numbers count from 0 in order of their making. */
#ifndef WEIR_CLASSES_H
#define WEIR_CLASSES_H

#include <linux/types.h>
#include <stddef.h>

struct classes {
	size_t words; /* 64 rules each */
	size_t count;
	size_t room;
	__u64 *bits;				  /* count * words */
	__u32 *bucket;				  /* hash table of class number + 1 */
	size_t buckets;				  /* a power of two, at least twice count */
	__u32 last_class, last_rule, last_result; /* one answer of classes_with() remembered */
};

/* For `rules` rules. 0 or -ENOMEM. */
int classes_init(struct classes *c, size_t rules);
void classes_free(struct classes *c);
/* The class of a set, given as c->words words; < 0: -ENOMEM. */
long classes_of(struct classes *c, const __u64 *set);
/* The class of that set with one rule more; < 0: -ENOMEM. */
long classes_with(struct classes *c, __u32 class, __u32 rule);
const __u64 *classes_bits(const struct classes *c, __u32 class);
/* Where the row of the class begins in the table's rows, in words. */
__u32 classes_row(const struct classes *c, __u32 class);
/* Words of all rows. */
size_t classes_rows(const struct classes *c);

#endif
