/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Rate limits per source address: a set-associative table of token buckets, each one a single
 * theoretical arrival time. A bucket that has filled up again holds no information, so its place
 * is free for another source; under a flood of sources the one next to filling up goes, counted.
 */
#ifndef WEIR_LIMIT_H
#define WEIR_LIMIT_H

#include "classify.h"
#include "count.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_BUCKET_SETS);
	__type(key, __u32);
	__type(value, struct weir_bucket_set);
} buckets SEC(".maps");

static __always_inline __u64 mix(__u64 h)
{
	h ^= h >> 32;
	h *= 0xe9846af9b1a615dull;
	h ^= h >> 32;
	h *= 0xe9846af9b1a615dull;
	return h ^ h >> 28;
}

/* The rule's part has the family, as an IPv4 address is also the beginning of IPv6 ones, and the
 * greatest debt a source can have: a slot or list whose rate changes begins with full buckets, not
 * with debts that only the old rate could make. Multiplied so that its differences are not those
 * of neighbouring addresses. */
static __always_inline __u64 hash_source(const struct packet *p, __u32 slot,
					 const struct weir_match *m)
{
	__u64 rule = (slot << 4 | p->family) + (m->interval + m->burst);

	return mix(mix(m->seed ^ rule * 0x9e3779b97f4a7c15ull ^ p->source) + p->source_low) | 1;
}

/* Two CPUs that take the same way at once leave one source with a full bucket: it may send one
 * burst more. That is cheaper than a lock on every limited packet. */
static __always_inline void begin_bucket(struct weir_bucket_set *set, __u64 who, __u64 now,
					 __u64 due)
{
	struct weir_bucket *first = &set->way[0];

#pragma unroll
	for (int i = 1; i < WEIR_BUCKET_WAYS; i++)
		if (set->way[i].due < first->due)
			first = &set->way[i];
	if (first->due > now) {
		struct weir_device_counters *c = device_counters();

		if (c)
			c->limit_evictions++;
	}
	first->who = who;
	first->due = due;
}

#define LIMIT_TRIES 4

/* False also when other CPUs take tokens of the same source faster than this one can try. */
static __always_inline bool take_token(struct weir_bucket *b, __u64 now, __u64 interval,
				       __u64 burst)
{
	for (int i = 0; i < LIMIT_TRIES; i++) {
		__u64 due = b->due;
		__u64 from = due > now ? due : now;

		if (from - now > burst)
			return false;
		if (config.explain ||
		    __sync_val_compare_and_swap(&b->due, due, from + interval) == due)
			return true;
	}
	return false;
}

static __always_inline bool within_limit(const struct packet *p, __u32 slot,
					 const struct weir_match *m)
{
	__u64 now = bpf_ktime_get_ns(), who = hash_source(p, slot, m);
	__u32 key = who >> 32 & (WEIR_BUCKET_SETS - 1);
	struct weir_bucket_set *set = bpf_map_lookup_elem(&buckets, &key);

	if (!set)
		return false;
	for (int i = 0; i < WEIR_BUCKET_WAYS; i++)
		if (set->way[i].who == who)
			return take_token(&set->way[i], now, m->interval, m->burst);
	if (!config.explain)
		begin_bucket(set, who, now, now + m->interval);
	return true;
}

#endif
