/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which rule of the table matches first: abi.h describes the table.
 *
 * Every access is masked to the table's size, a constant to the verifier, so a walk needs neither
 * helper calls nor bound checks. A damaged table gives wrong answers, never wrong accesses.
 */
#ifndef WEIR_CLASSIFY_H
#define WEIR_CLASSIFY_H

#include "frame.h"

struct rule_set {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct weir_table_head));
};

/* The loader gives the inner map the table's real size before load. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct rule_set);
} rules SEC(".maps");

static __always_inline const void *current_table(void)
{
	__u32 key = 0;
	void *set = bpf_map_lookup_elem(&rules, &key);

	return set ? bpf_map_lookup_elem(set, &key) : NULL;
}

static __always_inline __u64 word(const void *table, __u64 at)
{
	return *(const __u64 *)(table + (at * 8 & (config.table_bytes - 8)));
}

static __always_inline __u32 entry(const void *table, __u64 at)
{
	return *(const __u32 *)(table + (at * 4 & (config.table_bytes - 4)));
}

static __always_inline __u64 search_bucket(const void *table, __u64 place, __u64 key)
{
	__u64 head = word(table, place);

	key >>= 64 - WEIR_BUCKET_BITS;
	for (__u64 i = 0; i < WEIR_BUCKET_ITEMS && i < WEIR_SKIP_BITS(head); i++) {
		__u32 item = entry(table, place * 2 + 2 + i);

		if (!((key ^ item >> WEIR_BUCKET_ITEM_BITS) >>
		      (item & ((1u << WEIR_BUCKET_ITEM_BITS) - 1))))
			return WEIR_SKIP_HIT(head);
	}
	return WEIR_SKIP_MISS(head);
}

/* The class of a key of one or two words: its row's offset in the rows. What the verifier knows
 * of the key, the entry and the class is dropped, so that it sees each step, and what follows,
 * once. */
static __always_inline __u64 walk(const void *table, __u64 e, __u64 key, __u64 low)
{
	__u64 unknown = key ^ low, class = 0, bucket = 0;

	for (int i = 0; i < WEIR_TRIE_STEPS; i++) {
		__u32 kind = (__u32)e >> WEIR_E_KIND_SHIFT;
		__u64 place = e & WEIR_E_PLACE_MASK;

		if (kind == WEIR_E_LEAF) {
			class = place;
			break;
		}
		if (kind == WEIR_E_BUCKET) {
			bucket = place;
			break;
		}
		if (kind <= WEIR_E_WIDEST) {
			e = entry(table, place * 2 + (key >> (64 - kind)));
			key <<= kind;
		} else if (kind == WEIR_E_SKIP) {
			__u64 next = word(table, place + 1);
			__u64 bits = WEIR_SKIP_BITS(next);

			if ((key ^ word(table, place)) >> (64 - bits)) {
				class = WEIR_SKIP_MISS(next);
				break;
			}
			e = WEIR_SKIP_HIT(next);
			key <<= bits;
		} else {
			key = low;
			e = word(table, place);
		}
		key = forget(key, unknown);
		e = forget(e, unknown);
	}
	bucket = forget(bucket, unknown) & WEIR_E_PLACE_MASK;
	if (bucket)
		class = search_bucket(table, bucket, key);
	return forget(class, unknown) & WEIR_E_PLACE_MASK;
}

/* What limit and redirect rules need besides. */
struct weir_match {
	__u64 interval;
	__u64 burst;
	__u64 seed;
	__u64 target; /* ifindex */
};

static __always_inline __u64 address_class(const struct weir_table_head *t, const struct packet *p,
					   bool source)
{
	enum weir_trie four = source ? WEIR_T_SRC4 : WEIR_T_DST4;
	enum weir_trie six = source ? WEIR_T_SRC6 : WEIR_T_DST6;
	__u32 root;

	if (!p->family)
		return t->absent[source ? WEIR_F_SRC : WEIR_F_DST];
	root = p->family == 4 ? t->root[four] : t->root[six];
	return walk(t, root, source ? p->source : p->dest, source ? p->source_low : p->dest_low);
}

static __always_inline __u64 port_class(const struct weir_table_head *t, const struct packet *p,
					bool source)
{
	__u16 port = source ? p->sport : p->dport;

	if (!(p->flags & WEIR_P_PORTS))
		return t->absent[source ? WEIR_F_SPORT : WEIR_F_DPORT];
	return walk(t, t->root[source ? WEIR_T_SPORT : WEIR_T_DPORT], (__u64)port << 48, 0);
}

static __always_inline bool looks_at(enum weir_field field)
{
	return config.fields & 1u << field;
}

/* Word offsets of the rows whose AND is the set of matching rules. */
struct rows {
	__u64 of[WEIR_FIELDS];
};

static __always_inline void find_rows(const struct weir_table_head *t, const struct packet *p,
				      struct rows *rows)
{
	if (looks_at(WEIR_F_SRC))
		rows->of[WEIR_F_SRC] = t->rows + address_class(t, p, true);
	if (looks_at(WEIR_F_DST))
		rows->of[WEIR_F_DST] = t->rows + address_class(t, p, false);
	if (looks_at(WEIR_F_PROTO))
		rows->of[WEIR_F_PROTO] =
			t->rows + walk(t, t->root[WEIR_T_PROTO], (__u64)p->proto << 48, 0);
	if (looks_at(WEIR_F_SPORT))
		rows->of[WEIR_F_SPORT] = t->rows + port_class(t, p, true);
	if (looks_at(WEIR_F_DPORT))
		rows->of[WEIR_F_DPORT] = t->rows + port_class(t, p, false);
	if (looks_at(WEIR_F_DEV))
		rows->of[WEIR_F_DEV] =
			t->rows + walk(t, t->root[WEIR_T_DEV], (__u64)config.ifindex << 32, 0);
}

static __always_inline __u64 intersection(const void *table, const struct rows *rows, __u64 at)
{
	__u64 all = ~0ull;

#pragma unroll
	for (int f = 0; f < WEIR_FIELDS; f++)
		if (looks_at(f))
			all &= word(table, rows->of[f] + at);
	return all;
}

/* BPF has no such instruction: the product with a de Bruijn sequence numbers the isolated bit. */
static __always_inline __u32 lowest_bit(__u64 bits)
{
	static const __u8 number[64] = {
		0,  1,	48, 2,	57, 49, 28, 3,	61, 58, 50, 42, 38, 29, 17, 4,
		62, 55, 59, 36, 53, 51, 43, 22, 45, 39, 33, 30, 24, 18, 12, 5,
		63, 47, 56, 27, 60, 41, 37, 16, 54, 35, 52, 21, 44, 32, 23, 11,
		46, 26, 40, 15, 34, 20, 31, 10, 25, 14, 19, 9,	13, 8,	7,  6,
	};

	return number[(bits & -bits) * 0x03f79d71b4cb0a89ull >> 58];
}

/* The number of the first rule that matches, or -1. */
static __always_inline long first_match(const struct weir_table_head *t, const struct rows *rows)
{
	__u64 groups = intersection(t, rows, 0);

	if (t->bitmap_words == 1)
		return groups ? (long)lowest_bit(groups) : -1;
	for (int i = 0; i < WEIR_BITMAP_WORDS && groups; i++) {
		__u32 group = lowest_bit(groups);
		__u64 bits = intersection(t, rows, 1 + group);

		if (bits)
			return group * 64 + lowest_bit(bits);
		groups &= groups - 1;
	}
	return -1;
}

/* What the first word of struct weir_table_rule holds. */
#define RULE_SLOT(word)	  ((__u32)(word))
#define RULE_ACTION(word) ((word) >> 32 & 0xff)
#define RULE_FLAGS(word)  ((word) >> 40 & 0xff)

/* The rule that matches, as the first word of its struct weir_table_rule; 0: none. `match` is
 * filled for actions that need more to be known. A global function: verified once, apart from the
 * parser's many paths, and with one look at the current table, so that no answer mixes two. */
__noinline __u64 weir_match(const struct packet *packet, struct weir_match *match)
{
	const struct weir_table_head *t;
	struct rows rows = {};
	__u64 at, rule;
	long number;

	/* Without rules there is no table, and before 6.8 this is verified even if never called. */
	if (!config.fields)
		return 0;
	t = current_table();
	if (!packet || !match || !t)
		return 0;
	find_rows(t, packet, &rows);
	number = first_match(t, &rows);
	if (number < 0)
		return 0;
	at = t->table_rules + (__u64)number * (sizeof(struct weir_table_rule) / 8);
	rule = word(t, at);
	if (RULE_ACTION(rule) == WEIR_A_LIMIT) {
		match->interval = word(t, at + 2);
		match->burst = word(t, at + 3);
		match->seed = t->seed;
	} else if (RULE_ACTION(rule) == WEIR_A_REDIRECT) {
		match->target = word(t, at + 1);
	}
	return rule;
}

#endif
