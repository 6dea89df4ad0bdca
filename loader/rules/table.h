/* SPDX-License-Identifier: GPL-2.0 */
/* Compiles a set of rules into the table that the XDP program reads, and reads the rules back. */
#ifndef WEIR_TABLE_H
#define WEIR_TABLE_H

#include "rule.h"

/* Where a redirect rule's frames go. */
struct redirect_target {
	char name[IFNAMSIZ];
	__u32 ifindex;
	bool via_tc;
};

/* What the names in rules stand for at this moment. */
struct table_names {
	/* The device's ifindex, or 0 when there is none now: the rule then matches nothing. */
	__u32 (*ifindex)(const char *name);
	const struct redirect_target *targets;
	size_t count;
};

struct table {
	void *bytes; /* starts with struct weir_table_head */
	size_t size; /* a power of two */
};

#define TABLE_LEAST 16384
#define TABLE_MOST  (512u << 20) /* the trie's 27 bits of words would allow twice that */

/* 0, -ENOMEM, or -E2BIG with a fail() line. The caller frees bytes. */
int table_compile(const struct rule_set *set, const struct table_names *names, struct table *table);

/* The rules that a table was made of. `size` is that of the map's value. 0 or < 0 with a line. */
int table_source(const void *bytes, size_t size, struct rule_set *set);

#endif
