/* SPDX-License-Identifier: GPL-2.0 */
/* Random rules, and packets that lie on their edges. The same seed gives the same. */
#ifndef WEIR_TESTS_RANDOM_RULES_H
#define WEIR_TESTS_RANDOM_RULES_H

#include <linux/types.h>
#include <stdbool.h>

#include "loader/rules/rule.h"

struct dice {
	__u64 state;
};

/* The seed from the environment's WEIR_TEST_SEED, else from the clock; printed as a TAP comment. */
struct dice dice_from_environment(void);
__u64 dice_word(struct dice *d);
__u32 dice_below(struct dice *d, __u32 limit); /* 0..limit-1 */
bool dice_percent(struct dice *d, unsigned int percent);

struct random_style {
	unsigned int free_percent; /* chance that a rule leaves a field free */
	unsigned int list_percent;
	unsigned int list_most;		/* prefixes of one list */
	unsigned int least_length;	/* of prefixes, in 128ths of an address */
	unsigned int action_percent[4]; /* by enum weir_action; drop gets the rest */
};

/* Devices are named "dev0" to "dev7". */
#define RANDOM_DEVICES 8

void random_rules(struct dice *d, const struct random_style *style, size_t count,
		  struct rule_set *set);

/* A prefix near one of `others`: equal, longer, shorter, beside it, or anywhere. */
struct prefix random_prefix(struct dice *d, unsigned int family, unsigned int least_length,
			    const struct prefix *others, size_t count);
/* An address in the prefix, on its edges, or just outside. */
void random_address(struct dice *d, const struct prefix *near, __u8 *address);
/* A port in the range, at its ends, or just outside. */
__u16 random_port(struct dice *d, const __u16 *near);

#endif
