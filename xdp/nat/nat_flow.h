/* SPDX-License-Identifier: GPL-2.0 */
/*
 * NAT flows: one record serves both directions. The client's packets find it by the service's range
 * of buckets, the backend's replies by `nat_ports`, where an entry is right only as long as the
 * flow says so too: forgetting a flow is one store.
 *
 * Nothing is swept. Whoever needs a place takes one whose flow is over, by compare and swap of
 * `life`. A packet of that flow writes its tick there before it uses the record, once a tick, so of
 * the two just one succeeds.
 */
#ifndef WEIR_NAT_FLOW_H
#define WEIR_NAT_FLOW_H

#include "../balance/tcp.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_nat_bucket);
} nat_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_nat_ports);
} nat_ports SEC(".maps");

#define MODES_NAT (config.modes & 1u << WEIR_NAT)

static __always_inline __u64 life_of(const struct weir_nat_flow *flow)
{
	return *(const volatile __u64 *)&flow->life;
}

static __always_inline struct weir_nat_flow *nat_flow_at(__u32 index)
{
	__u32 bucket = index / WEIR_NAT_WAYS;
	struct weir_nat_bucket *b = bpf_map_lookup_elem(&nat_flows, &bucket);

	return b ? &b->way[index % WEIR_NAT_WAYS] : NULL;
}

/* ---- life ---- */

static __always_inline bool is_known(__u64 life)
{
	return WEIR_LIFE_STATE(life) >= WEIR_NAT_NEW;
}

/* Whether its place may be given away: it was idle for too long. */
static __always_inline bool nat_is_over(__u64 life, const struct weir_service *s, __u32 now)
{
	__u32 since = ticks_since(WEIR_LIFE_TICK(life), now);

	switch (WEIR_LIFE_STATE(life)) {
	case WEIR_NAT_CLAIMED: return since > WEIR_SYN_TICKS;
	case WEIR_NAT_NEW: return since > WEIR_NAT_NEW_TICKS;
	case WEIR_NAT_OPEN: return since > s->idle;
	case WEIR_NAT_CLOSING: return since > s->idle_closing;
	default: return true;
	}
}

static __always_inline __u64 next_life_udp(__u64 life, bool reply, __u32 now)
{
	__u32 state = WEIR_LIFE_STATE(life), seen = WEIR_LIFE_SEEN(life);

	if (state == WEIR_NAT_NEW) {
		seen += WEIR_LIFE_TICK(life) != now;
		if (reply || seen >= WEIR_NAT_ONE_WAY_TICKS)
			state = WEIR_NAT_OPEN;
	}
	return WEIR_NAT_LIFE(state, seen, now);
}

/*
 * What a packet makes of a flow. A RST or two FINs end only what was open: a new flow stays new and
 * so has the shortest life, and what a flood of SYNs, or of ACKs that are answered with RSTs,
 * leaves behind can be taken by others soon. Anybody can send a RST in another's name: a segment
 * behind it shows that its sequence number was wrong.
 */
static __always_inline __u64 next_life(__u64 life, __u32 proto, __u32 flags, bool reply, __u32 now)
{
	__u32 state = WEIR_LIFE_STATE(life), seen = WEIR_LIFE_SEEN(life);
	bool ended;

	if (proto == IPPROTO_UDP)
		return next_life_udp(life, reply, now);
	if (flags & TCP_RST) {
		seen |= WEIR_NAT_RESET;
	} else {
		if (!(flags & TCP_SYN))
			seen &= ~WEIR_NAT_RESET;
		if (flags & TCP_FIN)
			seen |= reply ? WEIR_NAT_FIN_BACKEND : WEIR_NAT_FIN_CLIENT;
		if (state == WEIR_NAT_NEW && reply)
			seen |= WEIR_NAT_REPLIED;
		else if (state == WEIR_NAT_NEW && seen & WEIR_NAT_REPLIED && !(flags & TCP_SYN))
			state = WEIR_NAT_OPEN;
	}
	ended = seen & WEIR_NAT_RESET ||
		(seen & WEIR_NAT_FIN_CLIENT && seen & WEIR_NAT_FIN_BACKEND);
	if (state >= WEIR_NAT_OPEN)
		state = ended ? WEIR_NAT_CLOSING : WEIR_NAT_OPEN;
	return WEIR_NAT_LIFE(state, seen, now);
}

/* A client that connects anew from the same port: what was before has ended. */
static __always_inline bool begins_anew(__u64 life, __u32 flags)
{
	if ((flags & (TCP_SYN | TCP_ACK | TCP_RST)) != TCP_SYN)
		return false;
	return WEIR_LIFE_STATE(life) == WEIR_NAT_CLOSING || WEIR_LIFE_SEEN(life) & WEIR_NAT_RESET;
}

/* Before the record is used. False: somebody else has changed it, and maybe taken it. */
static __always_inline bool touch_nat(struct weir_nat_flow *flow, __u64 life, __u64 next)
{
	if (next == life || config.explain)
		return true;
	return __sync_val_compare_and_swap(&flow->life, life, next) == life;
}

/* ---- from the client ---- */

/* As flow_of() makes it. */
static __always_inline __u64 nat_hash(const struct weir_service *s, const struct packet *p)
{
	return hash_flow(p->source, p->source_low, p->family, ports_of(p->sport, p->dport),
			 s->flags & WEIR_S_BY_SOURCE);
}

/* A flow is in one of two buckets, which nobody who does not know the seed can tell: else some
 * chosen ports would fill those of another's. Most are in the first. */
static __always_inline __u32 nat_bucket(const struct weir_service *s, __u64 hash)
{
	return s->flows + ((hash * s->flow_seed >> 32) * (s->flow_mask + 1ull) >> 32);
}

static __always_inline __u32 second_nat_bucket(const struct weir_service *s, __u64 hash)
{
	return s->flows + ((__u32)mix_flow(hash ^ s->flow_seed) & s->flow_mask);
}

static __always_inline __u64 who_of(__u32 service, const struct packet *p)
{
	return WEIR_NAT_WHO(service, p->sport, p->dport);
}

static __always_inline bool is_clients(const struct weir_nat_flow *flow, const struct packet *p,
				       __u64 who)
{
	return flow->who == who && flow->client[0] == p->source && flow->client[1] == p->source_low;
}

static __always_inline struct weir_nat_flow *find_in_bucket(__u32 index, const struct packet *p,
							    __u64 who, __u32 *number)
{
	struct weir_nat_bucket *bucket = bpf_map_lookup_elem(&nat_flows, &index);

	if (!bucket)
		return NULL;
#pragma unroll
	for (int i = 0; i < WEIR_NAT_WAYS; i++) {
		struct weir_nat_flow *way = &bucket->way[i];

		if (is_clients(way, p, who) && is_known(life_of(way))) {
			*number = index * WEIR_NAT_WAYS + i;
			return way;
		}
	}
	return NULL;
}

/* The record of a packet to this service, whether or not it is over, and its index; NULL: none. */
static __always_inline struct weir_nat_flow *find_nat_by_client(const struct weir_service *s,
								__u32 service,
								const struct packet *p,
								__u32 *number)
{
	__u64 who = who_of(service, p), hash = nat_hash(s, p);
	struct weir_nat_flow *flow = find_in_bucket(nat_bucket(s, hash), p, who, number);

	return flow ? flow : find_in_bucket(second_nat_bucket(s, hash), p, who, number);
}

/* ---- from the backend ---- */

static __always_inline __u32 backend_port(const struct weir_backend *b, __u64 who)
{
	return b->port ? bpf_ntohs(b->port) : WEIR_WHO_ASKED(who);
}

/* Of what a reply shows: from the backend's address and port to ours. */
static __always_inline __u32 hash_reply(__u64 backend, __u64 backend_low, __u64 source,
					__u64 source_low, __u32 family, __u64 ports, __u32 proto)
{
	__u64 to = (WEIR_KEY6(source, source_low) + (proto == IPPROTO_UDP)) * 0x9e3779b97f4a7c15ull;

	return hash_flow(backend, backend_low, family, ports ^ to, false) >> 32;
}

static __always_inline __u32 hash_port(const struct weir_backend *b, __u64 who, __u32 port,
				       __u32 proto)
{
	return hash_reply(be64_at(&b->address[0]), be64_at(&b->address[2]), be64_at(&b->source[0]),
			  be64_at(&b->source[2]), b->flags & WEIR_B_V6 ? 6 : 4,
			  ports_of(backend_port(b, who), port), proto);
}

/* Whether the packet is a reply of this flow. */
static __always_inline bool is_reply_of(const struct weir_nat_flow *flow, const struct packet *p)
{
	const struct weir_backend *b;
	__u32 backend = flow->backend;

	if (flow->nat_port != p->dport || flow->proto != p->proto || !is_known(life_of(flow)))
		return false;
	b = bpf_map_lookup_elem(&backends, &backend);
	return b && backend_port(b, flow->who) == p->sport &&
	       !(b->flags & WEIR_B_V6) == (p->family == 4) &&
	       be64_at(&b->address[0]) == p->source && be64_at(&b->address[2]) == p->source_low &&
	       be64_at(&b->source[0]) == p->dest && be64_at(&b->source[2]) == p->dest_low;
}

/* The record of a packet to the address and port that a backend takes for the client's, whether or
 * not it is over; NULL: none. */
static __always_inline struct weir_nat_flow *
find_nat_by_reply(const struct weir_service_head *t, const struct packet *p, __u32 *number)
{
	__u32 hash = hash_reply(p->source, p->source_low, p->dest, p->dest_low, p->family,
				ports_of(p->sport, p->dport), p->proto);
	__u32 index = hash & t->nat_port_mask;
	const struct weir_nat_ports *ports = bpf_map_lookup_elem(&nat_ports, &index);

	if (!ports)
		return NULL;
	for (int i = 0; i < WEIR_NAT_PORT_WAYS; i++) {
		__u64 entry = ports->way[i];
		struct weir_nat_flow *flow;

		if ((__u32)entry != hash || !(entry >> 32))
			continue;
		*number = (entry >> 32) - 1;
		flow = nat_flow_at(*number);
		if (flow && is_reply_of(flow, p))
			return flow;
	}
	return NULL;
}

#endif
