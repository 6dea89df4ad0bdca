/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Churn tracking: which backend a flow of a DSR service belongs to.
 *
 * A slot that is not moving decides by itself. While it moves, a flow that began after the slot's
 * first change is remembered in `flows`, and every other one belongs to the one owner before: so
 * any number of overlapping changes is right. A new flow for which there is no room is sent to the
 * owner before as well, where it needs no memory: a full table slows a move down and breaks
 * nothing. What is remembered is only forgotten once it was idle for longer than the service says.
 */
#ifndef WEIR_CHURN_H
#define WEIR_CHURN_H

#include "hash.h"
#include "service.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_backend);
} backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_flow_bucket);
} flows SEC(".maps");

enum phase {
	PHASE_ANY,   /* in the middle of a flow; of UDP, maybe its beginning */
	PHASE_BEGIN, /* SYN */
	PHASE_END,   /* FIN, RST */
};

/* What is handed on about a packet's flow: no more, as it is made for every packet. */
struct flow {
	__u64 hash;
	__u32 service; /* index */
	__u16 mss;     /* clamp a SYN to this; 0: leave */
	__u8 phase;    /* enum phase */
	__u8 pad;
};

/* The same with what its service says, for slots that are moving. */
struct moving_flow {
	__u64 hash;
	__u32 service;
	__u32 phase;
	__u32 flows; /* as in struct weir_service */
	__u32 flow_mask;
	__u32 idle;
	__u32 idle_closing;
};

static __always_inline __u32 ticks(void)
{
	return bpf_jiffies64() >> config.tick_shift;
}

static __always_inline void flow_of(struct flow *flow, const struct weir_service *s, __u32 index,
				    const struct packet *p, __u32 phase)
{
	flow->hash = hash_flow(p->source, p->source_low, p->family, ports_of(p->sport, p->dport),
			       s->flags & WEIR_S_BY_SOURCE);
	flow->service = index;
	flow->mss = s->mss;
	flow->phase = phase;
}

static __always_inline bool is_alive(__u32 backend)
{
	const struct weir_backend *b = bpf_map_lookup_elem(&backends, &backend);

	return backend && b && b->flags & WEIR_B_ALIVE;
}

/* Another CPU may have written the next tick before this one saw it begin: that is no age at
 * all. */
static __always_inline __u32 ticks_since(__u32 tick, __u32 now)
{
	__s32 age = now - tick;

	return age < 0 ? 0 : age;
}

static __always_inline __u64 tag_of(const struct moving_flow *flow)
{
	return flow->hash | 2;
}

static __always_inline struct weir_flow_bucket *bucket_of(const struct moving_flow *flow)
{
	__u32 index = flow->flows + ((__u32)(flow->hash >> 2) & flow->flow_mask);

	return bpf_map_lookup_elem(&flows, &index);
}

/* Whether the flow has been silent for longer than it may. */
static __always_inline bool is_over(const struct moving_flow *flow, __u64 place, __u32 now)
{
	__u32 idle = ticks_since(WEIR_PLACE_TICK(place), now);

	switch (WEIR_PLACE_KIND(place)) {
	case WEIR_FLOW_SYN: return idle > WEIR_SYN_TICKS;
	case WEIR_FLOW_NEW:
	case WEIR_FLOW_OPEN: return idle > flow->idle;
	case WEIR_FLOW_DOUBTED:
	case WEIR_FLOW_CLOSING: return idle > flow->idle_closing;
	default: return true;
	}
}

/* Whether the way may be given to another flow. A SYN and an ACK are quickly sent in anybody's
 * name, so what showed no more than that waits for `idle` only where nobody else wants its way. */
static __always_inline bool may_give_way(const struct moving_flow *flow,
					 const struct weir_flow *way, __u32 now)
{
	__u64 place = way->place;

	return is_over(flow, place, now) ||
	       (WEIR_PLACE_KIND(place) == WEIR_FLOW_NEW &&
		ticks_since(WEIR_PLACE_TICK(place), now) > WEIR_NEW_TICKS);
}

/* Gives a way to this flow, if nobody else took it in the meantime. */
static __always_inline bool claim(struct weir_flow *way, __u64 seen, __u64 tag, __u64 place)
{
	if (config.explain)
		return true;
	if (__sync_val_compare_and_swap(&way->tag, seen, WEIR_FLOW_CLAIMED) != seen)
		return false;
	__sync_lock_test_and_set(&way->place, place);
	__sync_lock_test_and_set(&way->tag, tag);
	return true;
}

static __always_inline bool is_held(void)
{
	__u32 index = WEIR_HOLD_WORD;
	const __u64 *word = bpf_map_lookup_elem(&slots, &index);

	return word && *(volatile const __u64 *)word;
}

/* Takes the last way that can be had of those from `first` on, before `end`. A way that stays
 * claimed belongs to a program that was stopped: impossible in BPF. */
static __always_inline bool take_way(const struct moving_flow *flow,
				     struct weir_flow_bucket *bucket, int first, int end,
				     __u64 place, __u32 now)
{
	if (is_held())
		return false;
#pragma unroll
	for (int i = WEIR_FLOW_WAYS - 1; i >= 0; i--) {
		struct weir_flow *way = &bucket->way[i];
		__u64 seen = way->tag;

		if (i < first || i >= end || seen == WEIR_FLOW_CLAIMED)
			continue;
		if (seen != WEIR_FLOW_FREE && !may_give_way(flow, way, now))
			continue;
		if (claim(way, seen, tag_of(flow), place))
			return true;
	}
	return false;
}

/* SYNs may only take the first ways, so that a flood of them leaves room for flows that are
 * known to be open. */
static __always_inline bool remember(const struct moving_flow *flow,
				     struct weir_flow_bucket *bucket, __u32 backend, __u32 kind,
				     __u32 now)
{
	return take_way(flow, bucket, 0, kind == WEIR_FLOW_SYN ? WEIR_SYN_WAYS : WEIR_FLOW_WAYS,
			WEIR_FLOW_PLACE(backend, kind, now), now);
}

/* A handshake has ended: the flow leaves its way to others, if there is room behind. Two packets at
 * once may take two ways for the same backend, of which the idle one is given away in time. */
static __always_inline bool leave_syn_way(const struct moving_flow *flow,
					  struct weir_flow_bucket *bucket, struct weir_flow *way,
					  __u64 place, __u32 now)
{
	if (!take_way(flow, bucket, WEIR_SYN_WAYS, WEIR_FLOW_WAYS, place, now))
		return false;
	__sync_val_compare_and_swap(&way->tag, tag_of(flow), WEIR_FLOW_FREE);
	return true;
}

/* What a flow is after this packet. Whoever guesses the ports can send a FIN or RST, so packets
 * in two later ticks refute it: those that belong to the end of a flow are sooner. */
static __always_inline __u32 next_kind(const struct moving_flow *flow, __u64 place, __u32 now)
{
	__u32 kind = WEIR_PLACE_KIND(place);
	bool later = ticks_since(WEIR_PLACE_TICK(place), now);

	if (flow->phase == PHASE_END)
		return WEIR_FLOW_CLOSING;
	if (flow->phase == PHASE_BEGIN)
		return kind;
	switch (kind) {
	case WEIR_FLOW_SYN: return later ? WEIR_FLOW_OPEN : WEIR_FLOW_NEW;
	case WEIR_FLOW_CLOSING: return later ? WEIR_FLOW_DOUBTED : kind;
	default: return later ? WEIR_FLOW_OPEN : kind;
	}
}

/* Whether a SYN of the same ports begins another flow. Right after the end that was seen it may be
 * part of an attack, and the backend before can serve it as well. */
static __always_inline bool begins_again(const struct moving_flow *flow, __u64 place, __u32 now)
{
	__u32 kind = WEIR_PLACE_KIND(place);

	return flow->phase == PHASE_BEGIN &&
	       (kind == WEIR_FLOW_CLOSING || kind == WEIR_FLOW_DOUBTED) &&
	       ticks_since(WEIR_PLACE_TICK(place), now) > 1;
}

/* A known flow goes on: its last use, and what it is by now, are written once a tick. */
static __always_inline void touch(const struct moving_flow *flow, struct weir_flow_bucket *bucket,
				  struct weir_flow *way, __u64 place, __u32 now)
{
	__u32 kind = next_kind(flow, place, now);
	__u64 next;

	next = WEIR_FLOW_PLACE(WEIR_PLACE_BACKEND(place), kind, now);
	if (next == place || config.explain)
		return;
	if (WEIR_PLACE_KIND(place) == WEIR_FLOW_SYN && kind != WEIR_FLOW_SYN &&
	    leave_syn_way(flow, bucket, way, next, now))
		return;
	__sync_val_compare_and_swap(&way->place, place, next);
}

/* Backend of a remembered flow that is alive; 0: none. */
static __always_inline __u32 recall(const struct moving_flow *flow, struct weir_flow_bucket *bucket,
				    __u32 now)
{
	__u64 tag = tag_of(flow);

#pragma unroll
	for (int i = 0; i < WEIR_FLOW_WAYS; i++) {
		struct weir_flow *way = &bucket->way[i];
		__u64 place;

		if (way->tag != tag)
			continue;
		place = *(volatile __u64 *)&way->place;
		if (*(volatile __u64 *)&way->tag != tag)
			continue;
		/* The tuple of a flow that has ended may begin another. */
		if (is_over(flow, place, now) || begins_again(flow, place, now) ||
		    !is_alive(WEIR_PLACE_BACKEND(place))) {
			if (!config.explain)
				__sync_val_compare_and_swap(&way->tag, tag, WEIR_FLOW_FREE);
			continue;
		}
		touch(flow, bucket, way, place, now);
		return WEIR_PLACE_BACKEND(place);
	}
	return 0;
}

/* Remembers a flow that belongs to `backend`. */
static __always_inline bool track(const struct moving_flow *flow, struct weir_flow_bucket *bucket,
				  __u32 backend, __u32 kind, __u32 now)
{
	if (!remember(flow, bucket, backend, kind, now)) {
		count_for_service(flow->service, untracked);
		return false;
	}
	count_for_service(flow->service, tracked);
	return true;
}

/* Notes that the owner before was needed. The slot may have changed meanwhile: then its
 * tick is fresh anyway. */
static __always_inline void needed_previous(__u64 *slot, __u64 seen, __u32 now)
{
	if (WEIR_SLOT_TICK(seen) != (__u16)now && !config.explain)
		__sync_val_compare_and_swap(
			slot, seen,
			WEIR_SLOT(WEIR_SLOT_OWNER(seen), WEIR_SLOT_PREVIOUS(seen), now));
}

/* UDP: the time of learning ended long ago; its tick stays near, for it would come again when ticks
 * wrap. */
static __always_inline __u64 keep_tick_near(const struct moving_flow *flow, __u64 *slot, __u64 seen,
					    __u32 now)
{
	__u64 next =
		WEIR_SLOT(WEIR_SLOT_OWNER(seen), WEIR_SLOT_PREVIOUS(seen), now - flow->idle - 2);

	if (WEIR_SLOT_AGE(seen, now) <= flow->idle + 60 || config.explain)
		return seen;
	__sync_val_compare_and_swap(slot, seen, next);
	return next;
}

/* UDP has no SYN. For as long as a flow may be idle after the first change, every unknown flow is
 * taken for an old one and remembered at the owner before; afterwards all old ones are known. Where
 * there is no room to remember one, that time begins again. */
static __always_inline __u32 place_udp(const struct moving_flow *flow,
				       struct weir_flow_bucket *bucket, __u64 *slot, __u64 seen,
				       __u32 now)
{
	__u32 owner = WEIR_SLOT_OWNER(seen), previous = WEIR_SLOT_PREVIOUS(seen);
	bool before = is_alive(previous);
	bool learning = before && WEIR_SLOT_AGE(seen, now) <= flow->idle;
	__u32 backend = learning ? previous : owner;

	if (!backend)
		return 0;
	if (track(flow, bucket, backend, WEIR_FLOW_OPEN, now) || !before) {
		explain(placed, learning ? WEIR_PLACED_PREVIOUS : WEIR_PLACED_NEW);
		return backend;
	}
	explain(placed, WEIR_PLACED_NO_ROOM);
	needed_previous(slot, seen, now);
	return previous;
}

static __always_inline __u32 place_tcp(const struct moving_flow *flow,
				       struct weir_flow_bucket *bucket, __u64 *slot, __u64 seen,
				       __u32 now)
{
	__u32 owner = WEIR_SLOT_OWNER(seen), previous = WEIR_SLOT_PREVIOUS(seen);
	bool before = is_alive(previous);

	if (flow->phase == PHASE_BEGIN && !owner)
		return 0;
	if (flow->phase == PHASE_BEGIN && is_alive(owner) &&
	    track(flow, bucket, owner, WEIR_FLOW_SYN, now)) {
		explain(placed, WEIR_PLACED_NEW);
		return owner;
	}
	if (!before) {
		explain(placed, WEIR_PLACED_OWNER);
		return owner;
	}
	explain(placed, flow->phase == PHASE_BEGIN ? WEIR_PLACED_NO_ROOM : WEIR_PLACED_PREVIOUS);
	needed_previous(slot, seen, now);
	return previous;
}

static __always_inline struct moving_flow moving_of(const struct flow *flow,
						    const struct weir_service *s)
{
	return (struct moving_flow){
		.hash = flow->hash,
		.service = flow->service,
		.phase = flow->phase,
		.flows = s->flows,
		.flow_mask = s->flow_mask,
		.idle = s->idle,
		.idle_closing = s->idle_closing,
	};
}

/* The backend of a flow whose slot, of this index in the map, is moving. A global function:
 * verified once, and off the way of all other flows. */
__noinline __u32 weir_moving(const struct flow *flow, __u32 index)
{
	const struct weir_service_head *t;
	struct weir_flow_bucket *bucket;
	const struct weir_service *s;
	struct moving_flow moving;
	__u32 backend, now;
	__u64 *slot, seen;

	if (!config.modes || !flow)
		return 0;
	slot = bpf_map_lookup_elem(&slots, &index);
	t = service_table();
	if (!slot || !t)
		return 0;
	s = service_at(t, flow->service);
	seen = *(volatile __u64 *)slot;
	if (s->flags & WEIR_S_FREE) {
		explain(placed, WEIR_PLACED_SLOT);
		return is_alive(WEIR_SLOT_OWNER(seen)) ? WEIR_SLOT_OWNER(seen)
						       : WEIR_SLOT_PREVIOUS(seen);
	}
	moving = moving_of(flow, s);
	bucket = bucket_of(&moving);
	if (!bucket)
		return 0;
	now = ticks();
	if (s->proto == IPPROTO_UDP)
		seen = keep_tick_near(&moving, slot, seen, now);
	backend = recall(&moving, bucket, now);
	if (backend) {
		explain(placed, WEIR_PLACED_FLOW);
		return backend;
	}
	return s->proto == IPPROTO_UDP ? place_udp(&moving, bucket, slot, seen, now)
				       : place_tcp(&moving, bucket, slot, seen, now);
}

#ifdef WEIR_TRACK_ALL
#include "../../tests/churn/track_all.h"
#endif

static __always_inline void explain_slot(const struct flow *flow, __u32 slot, __u64 word)
{
	struct weir_explanation *e = config.explain ? current_explanation() : NULL;

	if (!e)
		return;
	e->service = flow->service;
	e->slot = slot + 1;
	e->owner = WEIR_SLOT_OWNER(word);
	e->previous = WEIR_SLOT_PREVIOUS(word);
	e->placed = WEIR_PLACED_SLOT;
	e->hash = flow->hash;
}

/* Whether a slot's word alone tells the backend of every flow. */
static __always_inline bool is_settled(__u64 word)
{
#ifdef WEIR_TRACK_ALL
	return false;
#endif
	return !WEIR_SLOT_PREVIOUS(word);
}

/* The backend that a flow of this service belongs to; 0: none. */
static __always_inline __u32 place_in(const struct weir_service *s, const struct flow *flow)
{
	__u32 number = slot_of_hash(flow->hash, s->slot_mask), index = s->slots + number;
	const __u64 *slot = bpf_map_lookup_elem(&slots, &index);
	__u64 seen;

	if (!slot)
		return 0;
	seen = *(volatile __u64 *)slot;
	explain_slot(flow, number, seen);
#ifdef WEIR_TRACK_ALL
	return track_all(s, flow, WEIR_SLOT_OWNER(seen));
#endif
	return is_settled(seen) ? WEIR_SLOT_OWNER(seen) : weir_moving(flow, index);
}

#endif
