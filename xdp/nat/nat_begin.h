/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Begins NAT flows: a backend, a place for the record, and it is published once it has a port. Off
 * the way of packets whose flow is known, so all of it is global functions.
 *
 * CPUs race for places without a lock: first the place is claimed, then the record is written, then
 * it is published, and only then is looked whether somebody else published the same flow or took
 * the same port. Of two that race at least one sees the other; who sees another gives way.
 */
#ifndef WEIR_NAT_BEGIN_H
#define WEIR_NAT_BEGIN_H

#include "nat_port.h"
#include "nat_way.h"

#define CLAIM_ROUNDS 3

/* What a claim comes to, as one number: enum weir_reason, or WEIR_REASONS, or one of these; and the
 * record and the backend. */
#define CLAIM_KNOWN (WEIR_REASONS + 1u) /* another CPU has begun the flow meanwhile */
#define NAT_CLAIM(reason, backend, index) \
	((__u64)(backend) | (__u64)(reason) << 24 | (__u64)(index) << 32)
#define CLAIM_BACKEND(claim) ((__u32)(claim)&WEIR_MAX_INDEX)
#define CLAIM_REASON(claim)  ((__u32)(claim) >> 24)
#define CLAIM_INDEX(claim)   ((__u32)((claim) >> 32))

/* The backend of a flow that has no record: all that began here have one, so slots of NAT
 * services have no owner before. */
static __always_inline __u32 place_nat(const struct weir_service *s, __u64 hash)
{
	__u32 index = s->slots + slot_of_hash(hash, s->slot_mask), owner;
	const __u64 *slot = bpf_map_lookup_elem(&slots, &index);

	if (!slot)
		return 0;
	owner = WEIR_SLOT_OWNER(*(const volatile __u64 *)slot);
	explain(slot, index - s->slots + 1);
	explain(owner, owner);
	explain(hash, hash);
	explain(placed, WEIR_PLACED_SLOT);
	return owner;
}

/* ---- records ---- */

/* How readily a way is given to the flow; 0: not at all. */
enum {
	WAY_TAKEN,
	WAY_HALF_OPEN, /* a new flow which had its time for a handshake */
	WAY_CLOSED,    /* one that has ended, and whose last packets had theirs */
	WAY_OVER,
	WAY_ITS_OWN,
};

static __always_inline __u32 way_rank(const struct weir_service *s, const struct packet *p,
				      __u64 who, const struct weir_nat_flow *way, __u64 life,
				      __u32 now)
{
	if (is_known(life) && is_clients(way, p, who))
		return WAY_ITS_OWN;
	if (nat_is_over(life, s, now))
		return WAY_OVER;
	if (WEIR_LIFE_STATE(life) == WEIR_NAT_NEW &&
	    ticks_since(WEIR_LIFE_TICK(life), now) > WEIR_SYN_TICKS)
		return WAY_HALF_OPEN;
	if (WEIR_LIFE_STATE(life) == WEIR_NAT_CLOSING && ticks_since(WEIR_LIFE_TICK(life), now) > 1)
		return WAY_CLOSED;
	return WAY_TAKEN;
}

/* Whether the backend is alive, and its record still is what flows of this service knew. */
static __always_inline bool serves(__u32 backend, __u32 service)
{
	const struct weir_backend *b = bpf_map_lookup_elem(&backends, &backend);

	return backend && b && b->flags & WEIR_B_ALIVE && b->service == service;
}

/* A client that connects anew from the same port, or a backend that is gone: the flow begins
 * again. */
static __always_inline bool goes_on(const struct weir_nat_flow *flow, __u64 life, __u32 flags)
{
	return !begins_anew(life, flags) && serves(flow->backend, WEIR_WHO_SERVICE(flow->who));
}

/* Of one of a flow's buckets: the way that is given to it most readily, how readily, and how many
 * ways are. The greater, the better the bucket. */
#define BEST_WAY(rank, room, way) ((rank) << 8 | (room) << 4 | (way))
#define BEST_RANK(best)		  ((best) >> 8)
#define BEST_NUMBER(best)	  ((best) & (WEIR_NAT_WAYS - 1))

__noinline __u32 weir_best_way(const struct packet *p, __u32 service, __u32 index)
{
	const struct weir_service_head *t;
	const struct weir_service *s;
	struct weir_nat_bucket *bucket;
	__u32 best = WAY_TAKEN, at = 0, room = 0, now;
	__u64 who;

	if (!MODES_NAT || !p)
		return 0;
	t = service_table();
	bucket = bpf_map_lookup_elem(&nat_flows, &index);
	if (!t || !bucket)
		return 0;
	s = service_at(t, service);
	who = who_of(service, p);
	now = ticks();
	for (__u32 i = 0; i < WEIR_NAT_WAYS; i++) {
		const struct weir_nat_flow *way = &bucket->way[i];
		__u32 rank = way_rank(s, p, who, way, life_of(way), now);

		room += rank == WAY_OVER;
		if (rank > best) {
			best = rank;
			at = i;
		}
	}
	return BEST_WAY(best, room, at);
}

#define NO_WAY	  (1ull << 33)
#define KNOWN_WAY (1ull << 32)

/* The record that is the flow's now, by its index. */
static __always_inline __u64 claim_way(const struct weir_service *s, __u32 service,
				       const struct packet *p, __u64 hash, __u32 flags, __u32 now)
{
	__u64 who = who_of(service, p), life;

	for (int round = 0; round < CLAIM_ROUNDS; round++) {
		__u32 bucket = nat_bucket(s, hash), second = second_nat_bucket(s, hash);
		__u32 best = weir_best_way(p, service, bucket);
		__u32 other = weir_best_way(p, service, second), rank;
		struct weir_nat_flow *flow;

		if (other >> 4 > best >> 4) {
			best = other;
			bucket = second;
		}
		bucket = bucket * WEIR_NAT_WAYS + BEST_NUMBER(best);
		flow = nat_flow_at(bucket);
		if (BEST_RANK(best) == WAY_TAKEN || !flow)
			return NO_WAY;
		life = life_of(flow);
		rank = way_rank(s, p, who, flow, life, now);
		if (rank == WAY_ITS_OWN && !nat_is_over(life, s, now) && goes_on(flow, life, flags))
			return bucket | KNOWN_WAY;
		if (rank != WAY_TAKEN &&
		    (config.explain ||
		     __sync_val_compare_and_swap(&flow->life, life,
						 WEIR_NAT_LIFE(WEIR_NAT_CLAIMED, 0, now)) == life))
			return bucket;
	}
	return NO_WAY;
}

static __always_inline void write_record(struct xdp_md *ctx, struct weir_nat_flow *flow,
					 const struct packet *p, __u64 who, __u32 backend)
{
	flow->nat_port = 0;
	flow->who = who;
	flow->client[0] = p->source;
	flow->client[1] = p->source_low;
	flow->backend = backend;
	flow->proto = p->proto;
	learn_way(ctx, flow, p);
}

/* Whether another way of the bucket has the flow of this record. */
static __always_inline bool is_double(__u32 index, const struct weir_nat_flow *own,
				      const struct packet *p)
{
	const struct weir_nat_bucket *bucket = bpf_map_lookup_elem(&nat_flows, &index);
	__u64 who = own->who;

	for (__u32 i = 0; bucket && i < WEIR_NAT_WAYS; i++) {
		const struct weir_nat_flow *way = &bucket->way[i];

		if (way != own && is_known(life_of(way)) && is_clients(way, p, who))
			return true;
	}
	return false;
}

static __always_inline void set_life(struct weir_nat_flow *flow, __u64 life)
{
	__sync_lock_test_and_set(&flow->life, life);
}

static __always_inline __u64 claim_nat(struct xdp_md *ctx, const struct packet *p,
				       const struct weir_service *s, __u32 service)
{
	__u32 flags = tcp_flags(ctx, p), backend;
	__u64 hash = nat_hash(s, p), way;
	struct weir_nat_flow *flow;

	/* It ends what no longer is here: there is nothing to bring it to. */
	if (flags & TCP_RST)
		return NAT_CLAIM(WEIR_BY_NAT_UNKNOWN, 0, 0);
	backend = place_nat(s, hash);
	if (!serves(backend, service))
		return NAT_CLAIM(WEIR_BY_NO_BACKEND, backend, 0);
	way = claim_way(s, service, p, hash, flags, ticks());
	if (way == NO_WAY)
		return NAT_CLAIM(WEIR_BY_NAT_FULL, backend, 0);
	if (way & KNOWN_WAY)
		return NAT_CLAIM(CLAIM_KNOWN, backend, (__u32)way);
	flow = nat_flow_at(way);
	if (flow && !config.explain)
		write_record(ctx, flow, p, who_of(service, p), backend);
	return NAT_CLAIM(WEIR_REASONS, backend, (__u32)way);
}

/* For a packet without a record, or whose record is over. Anything but a RST begins a flow: also
 * a packet in mid-stream, even a FIN, as another balancer may have begun it, with the same
 * backend and port. Returns NAT_CLAIM(). */
__noinline __u64 weir_claim_nat(struct xdp_md *ctx, const struct packet *p, __u32 service)
{
	const struct weir_service_head *t;

	if (!MODES_NAT || !p)
		return NAT_CLAIM(WEIR_BY_NAT_UNKNOWN, 0, 0);
	t = service_table();
	return t ? claim_nat(ctx, p, service_at(t, service), service)
		 : NAT_CLAIM(WEIR_BY_NAT_UNKNOWN, 0, 0);
}

/* Publishes the claimed record, which has its port by now; 0: gives it back. Returns enum
 * weir_reason. */
__noinline __u32 weir_open_nat(struct xdp_md *ctx, const struct packet *p, __u32 index, __u32 port)
{
	const struct weir_service_head *t;
	const struct weir_service *s;
	struct weir_nat_flow *flow;
	__u64 life, hash;
	__u32 now;

	if (!MODES_NAT || !p)
		return WEIR_BY_NAT_UNKNOWN;
	t = service_table();
	flow = nat_flow_at(index);
	if (!t || !flow || config.explain)
		return port ? WEIR_REASONS : WEIR_BY_NAT_FULL;
	if (!port) {
		set_life(flow, WEIR_NAT_FREE);
		return WEIR_BY_NAT_FULL;
	}
	now = ticks();
	life = WEIR_NAT_LIFE(WEIR_NAT_NEW, 0, now);
	set_life(flow, next_life(life, p->proto, tcp_flags(ctx, p), false, now));
	s = service_at(t, WEIR_WHO_SERVICE(flow->who));
	hash = nat_hash(s, p);
	if (!is_double(nat_bucket(s, hash), flow, p) &&
	    !is_double(second_nat_bucket(s, hash), flow, p))
		return WEIR_REASONS;
	/* The client sends it again: by then the other CPU's record is found, or neither is
	 * left. */
	set_life(flow, WEIR_NAT_FREE);
	return WEIR_BY_NAT_UNKNOWN;
}

#endif
