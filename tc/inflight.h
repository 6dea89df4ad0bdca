/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The table of handshakes in flight: see struct weir_handshakes.
 *
 * Who wins a compare-and-swap of the tag word owns the way. The fields behind it are written
 * without further order: all packets of a handshake but misrouted copies pass in turn, so another
 * CPU looks at a way being filled only if tags collide, or if it sweeps that very set and takes
 * the old time for the new. Either costs one handshake its record, and the table stays whole.
 */
#ifndef WEIR_INFLIGHT_H
#define WEIR_INFLIGHT_H

#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "../xdp/packet.h"
#include "abi.h"

#define TAG_LANES     0x0001000100010001ull
#define TAG_HIGH_BITS 0x8000800080008000ull
#define TAG_MASK      0xffffull
#define CLAIM_TRIES   4

/* The only variable in .bss, whose map the loader pins as "handshakes": its address is a constant
 * in the program, which spares the ordinary packet a lookup and 2 of 5 ns. */
struct weir_handshakes handshakes;

struct place {
	__u32 set;
	__u32 lane; /* way of the set */
	__u16 tag;
	__u32 who;
};

static __always_inline __u32 fingerprint_set(__u64 fingerprint)
{
	return fingerprint >> (64 - WEIR_HANDSHAKE_SET_BITS);
}

static __always_inline __u16 fingerprint_tag(__u64 fingerprint)
{
	return (fingerprint >> (48 - WEIR_HANDSHAKE_SET_BITS) & TAG_MASK) | 1;
}

/* Whether some way may hold the handshake. Most sets are empty; if all ways are in use, this says
 * so falsely once in 8000. */
static __always_inline bool inflight_maybe(__u64 fingerprint)
{
	__u64 tags = handshakes.tags[fingerprint_set(fingerprint)];

	if (!tags)
		return false;
	tags ^= fingerprint_tag(fingerprint) * TAG_LANES;
	return (tags - TAG_LANES) & ~tags & TAG_HIGH_BITS;
}

static __always_inline struct weir_handshake *inflight_way(const struct place *at)
{
	return &handshakes.way[at->lane & (WEIR_HANDSHAKE_WAYS - 1)]
			      [at->set & (WEIR_HANDSHAKE_SETS - 1)];
}

static __always_inline __u64 *inflight_tags(const struct place *at)
{
	return &handshakes.tags[at->set & (WEIR_HANDSHAKE_SETS - 1)];
}

static __always_inline __u16 tag_in(__u64 tags, __u32 lane)
{
	return tags >> (16 * lane);
}

static __always_inline __u64 tags_with(__u64 tags, __u32 lane, __u64 tag)
{
	return (tags & ~(TAG_MASK << (16 * lane))) | tag << (16 * lane);
}

/* Fills `at` in any case; returns NULL when there is no such handshake. */
static __always_inline struct weir_handshake *inflight_find(__u64 fingerprint, struct place *at)
{
	__u64 tags;

	at->set = fingerprint_set(fingerprint);
	at->tag = fingerprint_tag(fingerprint);
	at->who = fingerprint;
	tags = *inflight_tags(at);
	for (at->lane = 0; at->lane < WEIR_HANDSHAKE_WAYS; at->lane++) {
		if (tag_in(tags, at->lane) != at->tag || inflight_way(at)->who != at->who)
			continue;
		at->lane = forget(at->lane, fingerprint);
		return inflight_way(at);
	}
	return NULL;
}

/* Frees the way. False: another CPU did so before. */
static __always_inline bool inflight_retire(const struct place *at)
{
	__u64 *word = inflight_tags(at);

	for (int i = 0; i < CLAIM_TRIES; i++) {
		__u64 tags = *(volatile __u64 *)word;

		if (tag_in(tags, at->lane) != at->tag)
			return false;
		if (__sync_val_compare_and_swap(word, tags, tags_with(tags, at->lane, 0)) == tags)
			return true;
	}
	return false;
}

/* The way to take for a new handshake: a free one, or the oldest. */
static __always_inline __u32 inflight_choose(__u32 set, __u64 tags)
{
	struct place at = {.set = set};
	__u64 oldest = ~0ull;
	__u32 chosen = 0;

	for (at.lane = 0; at.lane < WEIR_HANDSHAKE_WAYS; at.lane++) {
		__u64 begun = tag_in(tags, at.lane) ? inflight_way(&at)->syn_ns : 0;

		if (begun < oldest) {
			oldest = begun;
			chosen = at.lane;
		}
	}
	return forget(chosen, tags) & (WEIR_HANDSHAKE_WAYS - 1);
}

/*
 * Takes a way for the handshake of `at` and sets its lane. *evicted is what was there, copied
 * before it is overwritten; its state is 0 if the way was free. Returns NULL when other CPUs keep
 * changing the set.
 */
static __always_inline struct weir_handshake *inflight_claim(struct place *at,
							     struct weir_handshake *evicted)
{
	__u64 *word = inflight_tags(at);

	for (int i = 0; i < CLAIM_TRIES; i++) {
		__u64 tags = *(volatile __u64 *)word;
		struct weir_handshake *way;

		at->lane = inflight_choose(at->set, tags);
		way = inflight_way(at);
		*evicted = *way;
		if (!tag_in(tags, at->lane))
			evicted->state = 0;
		if (__sync_val_compare_and_swap(word, tags, tags_with(tags, at->lane, at->tag)) ==
		    tags)
			return way;
	}
	return NULL;
}

/* CPUs' clocks may differ a little: a handshake begun "in the future" is not old. */
static __always_inline bool inflight_expired(const struct weir_handshake *way, __u64 now)
{
	return (__s64)(now - way->syn_ns) > (__s64)WEIR_HANDSHAKE_TIMEOUT;
}

/* Two CPUs may draw at once: the first to store wins for both. */
static __always_inline void inflight_draw_seed(void)
{
	__u64 seed = (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32() | 1;

	__sync_val_compare_and_swap(&handshakes.seed, 0, seed);
}

#endif
