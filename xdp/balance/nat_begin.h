/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Begins NAT flows: a backend, a place for the record, a port. Off the way of packets whose flow is
 * known, so all of it is global functions.
 *
 * CPUs race for places without a lock: first the place is claimed, then the record is written, then
 * it is published, and only then is looked whether somebody else published the same flow or took the
 * same port. Of two that race at least one sees the other; who sees another gives way.
 */
#ifndef WEIR_NAT_BEGIN_H
#define WEIR_NAT_BEGIN_H

#include "nat_flow.h"

#define CLAIM_ROUNDS 3
#define PORT_TRIES   32

/* What a claim comes to, as one number: enum weir_reason, or WEIR_REASONS, or one of these; and the
 * record and the backend. */
#define CLAIM_KNOWN (WEIR_REASONS + 1u) /* another CPU has begun the flow meanwhile */
#define NAT_CLAIM(reason, backend, index) \
	((__u64)(backend) | (__u64)(reason) << 24 | (__u64)(index) << 32)
#define CLAIM_BACKEND(claim) ((__u32)(claim)&WEIR_MAX_INDEX)
#define CLAIM_REASON(claim)  ((__u32)(claim) >> 24)
#define CLAIM_INDEX(claim)   ((__u32)((claim) >> 32))

/*
 * The backend of a flow that has no record. All of this balancer's flows have one: only a TCP packet in
 * mid-stream belongs to a flow that another balancer began, and while its slot is moving that was
 * more likely at the owner before.
 */
static __always_inline __u32 place_nat(const struct weir_service *s, __u64 hash, __u32 flags,
				       __u32 now)
{
	__u32 index = s->slots + slot_of_hash(hash, s->slot_mask), owner, previous;
	__u64 *slot = bpf_map_lookup_elem(&slots, &index), seen;

	if (!slot)
		return 0;
	seen = *(volatile __u64 *)slot;
	owner = WEIR_SLOT_OWNER(seen);
	previous = WEIR_SLOT_PREVIOUS(seen);
	explain(slot, index - s->slots + 1);
	explain(owner, owner);
	explain(previous, previous);
	explain(hash, hash);
	if (!previous) {
		explain(placed, WEIR_PLACED_SLOT);
		return owner;
	}
	if (s->proto == IPPROTO_UDP || flags & TCP_SYN) {
		explain(placed, WEIR_PLACED_NEW);
		return is_alive(owner) ? owner : previous;
	}
	if (!is_alive(previous)) {
		explain(placed, WEIR_PLACED_OWNER);
		return owner;
	}
	explain(placed, WEIR_PLACED_PREVIOUS);
	needed_previous(slot, seen, now);
	return previous;
}

/* ---- ports ---- */

/* Whether an entry of nat_ports is right. A flow that is over is ended here, or else it could go on
 * after its port was given to another. */
static __always_inline bool holds_port(const struct weir_service_head *t, __u64 entry, __u32 now)
{
	struct weir_nat_flow *flow = nat_flow_at((entry >> 32) - 1);
	const struct weir_backend *b;
	__u32 backend;
	__u64 life;

	if (!flow)
		return false;
	life = life_of(flow);
	if (WEIR_LIFE_STATE(life) == WEIR_NAT_FREE)
		return false;
	if (nat_is_over(life, service_at(t, WEIR_WHO_SERVICE(flow->who)), now))
		return !config.explain &&
		       __sync_val_compare_and_swap(&flow->life, life, WEIR_NAT_FREE) != life;
	backend = flow->backend;
	b = bpf_map_lookup_elem(&backends, &backend);
	return b && flow->nat_port &&
	       hash_port(b, flow->who, flow->nat_port, flow->proto) == (__u32)entry;
}

enum port_step {
	PORT_LOOK, /* may it be taken? */
	PORT_TAKE,
	PORT_CHECK, /* it was taken: by nobody else? */
};

/* A step of taking a port, which has this hash, for the claimed flow with this index. A port is free
 * as soon as the flow no longer says that it is its own. */
__noinline int weir_port(__u32 hash, __u32 index, __u32 port, __u32 step)
{
	__u64 mine = (__u64)hash | ((__u64)index + 1) << 32, seen = 0;
	__u32 key, now, place = WEIR_NAT_PORT_WAYS;
	const struct weir_service_head *t;
	struct weir_nat_ports *ports;
	struct weir_nat_flow *flow;

	if (!MODES_NAT)
		return 0;
	t = service_table();
	flow = nat_flow_at(index);
	if (!t || !flow)
		return 0;
	key = hash & t->nat_port_mask;
	now = ticks();
	ports = bpf_map_lookup_elem(&nat_ports, &key);
	if (!ports)
		return 0;
	for (__u32 i = 0; i < WEIR_NAT_PORT_WAYS; i++) {
		__u64 entry = *(volatile __u64 *)&ports->way[i];

		/* Its own are left over from the record's life before. */
		if (entry >> 32 && entry >> 32 != mine >> 32 && holds_port(t, entry, now)) {
			if ((__u32)entry != hash)
				continue;
			if (step == PORT_CHECK)
				flow->nat_port = 0;
			return 0;
		} else if (place == WEIR_NAT_PORT_WAYS || entry == mine) {
			place = i;
			seen = entry;
		}
	}
	if (step == PORT_CHECK)
		return 1;
	if (place >= WEIR_NAT_PORT_WAYS)
		return 0;
	if (step == PORT_LOOK)
		return 1;
	flow->nat_port = port;
	if (__sync_val_compare_and_swap(&ports->way[place], seen, mine) == seen)
		return 1;
	flow->nat_port = 0;
	return 0;
}

/* Whether a socket of this host speaks with the backend from that port: its packets would be taken
 * for the flow's. A listener is none: the backend does not call. */
__noinline int weir_is_sockets(struct xdp_md *ctx, __u32 backend, __u64 who, __u32 port)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = sizeof(tuple.ipv4), from;
	const struct weir_service_head *t;
	const struct weir_backend *b;
	struct bpf_sock *sk;
	int found;
	bool udp;

	if (!MODES_NAT)
		return 0;
	b = bpf_map_lookup_elem(&backends, &backend);
	t = service_table();
	if (!b || !t)
		return 0;
	udp = service_at(t, WEIR_WHO_SERVICE(who))->proto == IPPROTO_UDP;
	from = backend_port(b, who);
	if (b->flags & WEIR_B_V6) {
		size = sizeof(tuple.ipv6);
		__builtin_memcpy(tuple.ipv6.saddr, b->address, sizeof(tuple.ipv6.saddr));
		__builtin_memcpy(tuple.ipv6.daddr, b->source, sizeof(tuple.ipv6.daddr));
		tuple.ipv6.sport = bpf_htons(from);
		tuple.ipv6.dport = bpf_htons(port);
	} else {
		tuple.ipv4.saddr = b->address[0];
		tuple.ipv4.daddr = b->source[0];
		tuple.ipv4.sport = bpf_htons(from);
		tuple.ipv4.dport = bpf_htons(port);
	}
	if (udp)
		sk = bpf_sk_lookup_udp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	else
		sk = bpf_skc_lookup_tcp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	found = udp || sk->state != BPF_TCP_LISTEN;
	bpf_sk_release(sk);
	return found;
}

/* What hash_port() says of a flow that is yet to be written. */
__noinline __u32 weir_hash_port(__u32 backend, __u64 who, __u32 port)
{
	const struct weir_service_head *t;
	const struct weir_backend *b;

	if (!MODES_NAT)
		return 0;
	b = bpf_map_lookup_elem(&backends, &backend);
	t = service_table();
	if (!b || !t)
		return 0;
	return hash_port(b, who, port, service_at(t, WEIR_WHO_SERVICE(who))->proto);
}

/* Makes the port the claimed flow's, unless it is in use with the same backend. */
static __always_inline bool take_port(struct xdp_md *ctx, __u32 index, __u32 backend, __u64 who,
				      __u32 port)
{
	__u32 hash = weir_hash_port(backend, who, port);

	if (!weir_port(hash, index, port, PORT_LOOK) || weir_is_sockets(ctx, backend, who, port))
		return false;
	return config.explain || (weir_port(hash, index, port, PORT_TAKE) &&
				  weir_port(hash, index, port, PORT_CHECK));
}

/* The client's own port if it is free, else some of those that no local socket is given by itself;
 * `random` differs from try to try, so that a client that tries again does not meet the same ones. 0:
 * no port was found. */
__noinline __u32 weir_choose_port(struct xdp_md *ctx, __u32 index, __u32 backend, __u64 who,
				  __u32 random)
{
	const __u32 range = WEIR_NAT_LAST_PORT - WEIR_NAT_FIRST_PORT + 1;
	__u32 port = WEIR_WHO_PORT(who);

	if (!MODES_NAT)
		return 0;
	for (int i = 0; i <= PORT_TRIES; i++) {
		if (port && take_port(ctx, index, backend, who, port))
			return port;
		random = random * 1664525u + 1013904223u;
		port = WEIR_NAT_FIRST_PORT + (__u32)((__u64)random * range >> 32);
	}
	return 0;
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

/* A client that connects anew from the same port, or a backend that is gone: the flow begins again. */
static __always_inline bool goes_on(const struct weir_nat_flow *flow, __u64 life, __u32 flags)
{
	return !begins_anew(life, flags) && serves(flow->backend, WEIR_WHO_SERVICE(flow->who));
}

#define NO_WAY	  0xffffffffu
#define KNOWN_WAY 0x80000000u

/* The way that is the flow's now, as its number. */
static __always_inline __u32 claim_way(struct weir_nat_bucket *bucket, const struct weir_service *s,
				       const struct packet *p, __u64 who, __u32 flags, __u32 now)
{
	for (int round = 0; round < CLAIM_ROUNDS; round++) {
		__u32 best = WAY_TAKEN, at = 0;
		__u64 seen = 0;

		for (__u32 i = 0; i < WEIR_NAT_WAYS; i++) {
			__u64 life = life_of(&bucket->way[i]);
			__u32 rank = way_rank(s, p, who, &bucket->way[i], life, now);

			if (rank > best) {
				best = rank;
				at = i;
				seen = life;
			}
		}
		at &= WEIR_NAT_WAYS - 1;
		if (best == WAY_TAKEN)
			return NO_WAY;
		if (best == WAY_ITS_OWN && !nat_is_over(seen, s, now) &&
		    goes_on(&bucket->way[at], seen, flags))
			return at | KNOWN_WAY;
		if (config.explain ||
		    __sync_val_compare_and_swap(&bucket->way[at].life, seen,
						WEIR_NAT_LIFE(WEIR_NAT_CLAIMED, 0, now)) == seen)
			return at;
	}
	return NO_WAY;
}

/* Replies go back to where this packet comes from. Who reads while another writes may mix two ways
 * of which both lead to the client. */
static __always_inline void learn_way(struct xdp_md *ctx, struct weir_nat_flow *flow)
{
	const struct link_header *link = header_at(ctx, 0, sizeof(*link));

	if (!link || config.explain)
		return;
	__builtin_memcpy(flow->own_mac, link->dest, 6);
	__builtin_memcpy(flow->client_mac, link->source, 6);
	flow->ifindex = config.ifindex;
	flow->via_tc = config.via_tc;
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
	learn_way(ctx, flow);
}

/* Whether another way has the same flow. */
static __always_inline bool is_double(const struct weir_nat_bucket *bucket, __u32 own,
				      const struct packet *p, __u64 who)
{
	for (__u32 i = 0; i < WEIR_NAT_WAYS; i++) {
		const struct weir_nat_flow *way = &bucket->way[i];

		if (i != own && is_known(life_of(way)) && is_clients(way, p, who))
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
	__u32 now = ticks(), flags = tcp_flags(ctx, p), index, backend, way;
	__u64 hash = nat_hash(s, p), who = who_of(service, p);
	struct weir_nat_bucket *bucket;

	/* It ends what no longer is here: there is nothing to bring it to. */
	if (flags & TCP_RST)
		return NAT_CLAIM(WEIR_BY_NAT_UNKNOWN, 0, 0);
	index = nat_bucket(s, hash);
	bucket = bpf_map_lookup_elem(&nat_flows, &index);
	backend = place_nat(s, hash, flags, now);
	if (!bucket || !serves(backend, service))
		return NAT_CLAIM(WEIR_BY_NO_BACKEND, backend, 0);
	way = claim_way(bucket, s, p, who, flags, now);
	if (way == NO_WAY)
		return NAT_CLAIM(WEIR_BY_NAT_FULL, backend, 0);
	index = index * WEIR_NAT_WAYS + (way & (WEIR_NAT_WAYS - 1));
	if (way & KNOWN_WAY)
		return NAT_CLAIM(CLAIM_KNOWN, backend, index);
	if (!config.explain)
		write_record(ctx, &bucket->way[way & (WEIR_NAT_WAYS - 1)], p, who, backend);
	return NAT_CLAIM(WEIR_REASONS, backend, index);
}

/* For a packet without a record, or whose record is over. Anything but a RST begins a flow: also a
 * packet in mid-stream, even a FIN, as another balancer may have begun it, with the same backend and
 * port. Returns NAT_CLAIM(). */
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
	__u32 bucket_index = index / WEIR_NAT_WAYS, way = index % WEIR_NAT_WAYS, now;
	struct weir_nat_bucket *bucket;
	struct weir_nat_flow *flow;
	__u64 life;

	if (!MODES_NAT || !p)
		return WEIR_BY_NAT_UNKNOWN;
	bucket = bpf_map_lookup_elem(&nat_flows, &bucket_index);
	if (!bucket || config.explain)
		return port ? WEIR_REASONS : WEIR_BY_NAT_FULL;
	flow = &bucket->way[way];
	if (!port) {
		set_life(flow, WEIR_NAT_FREE);
		return WEIR_BY_NAT_FULL;
	}
	now = ticks();
	life = WEIR_NAT_LIFE(WEIR_NAT_NEW, 0, now);
	set_life(flow, next_life(life, p->proto, tcp_flags(ctx, p), false, now));
	if (!is_double(bucket, way, p, flow->who))
		return WEIR_REASONS;
	/* The client sends it again: by then the other CPU's record is found, or neither is left. */
	set_life(flow, WEIR_NAT_FREE);
	return WEIR_BY_NAT_UNKNOWN;
}

#endif
