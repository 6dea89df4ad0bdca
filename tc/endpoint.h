/* SPDX-License-Identifier: GPL-2.0 */
/* The service side of handshakes, and its counters. */
#ifndef WEIR_ENDPOINT_H
#define WEIR_ENDPOINT_H

#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"

#define LATENCY_RAISE_TRIES 4

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_endpoints);
} endpoints SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_ENDPOINTS);
	__type(key, __u32);
	__type(value, struct weir_endpoint_stats);
} endpoint_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_tc_counters);
} tc_counters SEC(".maps");

static __always_inline struct weir_tc_counters *program_counters(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&tc_counters, &zero);
}

static __always_inline struct weir_endpoint_stats *stats_of(__u32 slot)
{
	return bpf_map_lookup_elem(&endpoint_stats, &slot);
}

/* The counters of an endpoint are shared by all CPUs: only handshake packets write them, which can
 * pay for atomic additions, and a copy per CPU would take 428 KB of each. */
static __always_inline void count(__u64 *counter)
{
	__sync_fetch_and_add(counter, 1);
}

static __always_inline struct weir_endpoint *endpoint_at(__u32 slot)
{
	__u32 zero = 0;
	struct weir_endpoints *all = bpf_map_lookup_elem(&endpoints, &zero);

	return all ? &all->slot[slot & (WEIR_ENDPOINTS - 1)] : NULL;
}

static __always_inline __u32 endpoint_key(enum weir_role role, __be16 port)
{
	return WEIR_ENDPOINT_USED | (__u32)role << WEIR_ENDPOINT_ROLE_SHIFT | bpf_ntohs(port);
}

/*
 * Looks the key up in a region (a power of two of slots from `first` on) and claims a free slot
 * if `claim`. Slots are never freed, so the first free one ends the search. Returns 0 when there
 * is none: slot 0 is nobody's, and in the first region the probes leave it out.
 */
static __always_inline __u32 endpoint_search(struct weir_endpoints *all, __u32 key, __u32 first,
					     bool claim)
{
	__u32 home = key * 0x9e3779b1u >> 16;

	for (int i = 0; i < WEIR_ENDPOINT_PROBES; i++) {
		__u32 slot = first + ((home + i) & (WEIR_ENDPOINTS_ANSWERED - 1));
		__u32 found;

		if (!slot)
			continue;
		found = all->slot[slot].key;
		if (!found) {
			if (!claim)
				return 0;
			found = __sync_val_compare_and_swap(&all->slot[slot].key, 0, key);
			if (!found)
				return slot;
		}
		if (found == key)
			return slot;
	}
	return 0;
}

/* The slot for a new handshake. */
static __always_inline __u32 endpoint_for(enum weir_role role, __be16 port)
{
	__u32 zero = 0, key = endpoint_key(role, port), slot;
	struct weir_endpoints *all = bpf_map_lookup_elem(&endpoints, &zero);

	if (!all)
		return 0;
	slot = endpoint_search(all, key, WEIR_ENDPOINTS_ANSWERED, false);
	return slot ? slot : endpoint_search(all, key, 0, true);
}

/* The slot for one that was gathered in slot 0 and now turns out to be answered. */
static __always_inline __u32 endpoint_answered(enum weir_role role, __be16 port)
{
	__u32 zero = 0;
	struct weir_endpoints *all = bpf_map_lookup_elem(&endpoints, &zero);

	return all ? endpoint_search(all, endpoint_key(role, port), WEIR_ENDPOINTS_ANSWERED, true)
		   : 0;
}

/* Two CPUs may raise the peak at once and the lower may win: off by one at most per CPU. */
static __always_inline void endpoint_begin(__u32 slot)
{
	struct weir_endpoint *e = endpoint_at(slot);
	__s32 now;

	if (!e)
		return;
	now = __sync_fetch_and_add(&e->half_open, 1) + 1;
	if (now > e->half_open_peak)
		e->half_open_peak = now;
}

static __always_inline void endpoint_end(__u32 slot)
{
	struct weir_endpoint *e = endpoint_at(slot);

	if (e)
		__sync_fetch_and_add(&e->half_open, -1);
}

static __always_inline __u32 log2_of(__u32 value)
{
	__u32 log = 0;

	for (int shift = 16; shift; shift >>= 1) {
		if (value >> shift) {
			value >>= shift;
			log += shift;
		}
	}
	return log;
}

static __always_inline __u32 latency_bucket(__u32 us)
{
	__u32 log, bucket;

	if (us < 4)
		return us;
	log = log2_of(us);
	bucket = (log - 1) * 4 + (us >> (log - 2) & 3);
	return bucket < WEIR_LATENCY_BUCKETS ? bucket : WEIR_LATENCY_BUCKETS - 1;
}

/* A CPU that loses all tries lost them to higher values than it had read: the maximum grew. */
static __always_inline void latency_raise(__u64 *us_max, __u64 us)
{
	for (int i = 0; i < LATENCY_RAISE_TRIES; i++) {
		__u64 before = *(volatile __u64 *)us_max;

		if (us <= before || __sync_val_compare_and_swap(us_max, before, us) == before)
			return;
	}
}

static __always_inline void latency_add(struct weir_latency *latency, __u32 us)
{
	__u64 bucket = latency_bucket(us);

	/* The verifier of 6.1 keeps a bound only if it is checked in the register that is used. */
	asm volatile("" : "+r"(bucket));
	if (bucket < WEIR_LATENCY_BUCKETS)
		count(&latency->bucket[bucket]);
	__sync_fetch_and_add(&latency->us_sum, us);
	latency_raise(&latency->us_max, us);
}

#endif
