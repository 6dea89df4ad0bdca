/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fragments: all of a datagram go to one backend, in whatever order they come.
 *
 * The first fragment shows the ports, is placed as any packet of its flow, and its datagram is
 * remembered for the others. When another comes before it, UDP at an address with just one service
 * of it needs no ports: the addresses decide, and the first follows. Anything else is dropped then:
 * TCP sends it again, and at a wrong backend it would reset the connection.
 */
#ifndef WEIR_FRAGMENT_H
#define WEIR_FRAGMENT_H

#include "churn.h"
#include "outcome.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_FRAGMENT_BUCKETS);
	__type(key, __u32);
	__type(value, struct weir_fragment_bucket);
} fragments SEC(".maps");

/* A target of its own: the datagram is for no service and goes to the stack. */
#define FRAGMENT_STACK	 0u
#define FRAGMENT_UNKNOWN 0xffffffffu

/* So often another CPU can have changed the bucket before this one gives up remembering. */
#define FRAGMENT_ROUNDS 16

/* What identifies the datagram of a fragment (RFC 791, RFC 8200 4.5), hashed; 0: its headers
 * cannot be read. */
static __always_inline __u64 datagram_of(struct xdp_md *ctx, const struct packet *p)
{
	__u64 hash, id;

	if (p->family == 4) {
		const struct iphdr *ip = header_at(ctx, p->l3, sizeof(*ip));

		if (!ip)
			return 0;
		hash = mix_flow(p->source | p->dest >> 32);
		id = (__u64)p->proto << 16 | ip->id;
	} else {
		const struct extension *ext = header_at(ctx, p->fragment, sizeof(*ext));

		if (!ext)
			return 0;
		hash = mix_flow(p->source) + p->source_low;
		hash = mix_flow(hash) + p->dest;
		hash = mix_flow(hash) + p->dest_low;
		id = 6ull << 32 | ext->rest;
	}
	return mix_flow(mix_flow(hash) ^ id) | 1;
}

static __always_inline struct weir_fragment_bucket *bucket_of_datagram(__u64 datagram)
{
	__u32 index = (__u32)(datagram >> 1) & (WEIR_FRAGMENT_BUCKETS - 1);

	return bpf_map_lookup_elem(&fragments, &index);
}

static __always_inline __u32 fragment_age(__u64 way, __u32 now)
{
	__u32 age = (now - WEIR_FRAGMENT_TICK(way)) & 0x7f;

	/* A little ahead of this CPU's time. */
	return age > 0x78 ? 0 : age;
}

static __always_inline bool is_of(__u64 way, __u64 datagram, __u32 now)
{
	return way && !((way ^ datagram) >> 32) && fragment_age(way, now) <= WEIR_FRAGMENT_TICKS;
}

/* The target of a datagram that is known, with WEIR_FRAGMENT_GUESSED; or FRAGMENT_UNKNOWN. Global
 * functions, this one and the next: verified once, for DSR and NAT. */
__noinline __u32 weir_recall_fragment(__u64 datagram)
{
	const struct weir_fragment_bucket *bucket;
	__u32 now;

	if (!config.modes)
		return FRAGMENT_UNKNOWN;
	bucket = bucket_of_datagram(datagram);
	if (!bucket)
		return FRAGMENT_UNKNOWN;
	now = ticks();
	for (int i = 0; i < WEIR_FRAGMENT_WAYS; i++) {
		__u64 way = *(const volatile __u64 *)&bucket->way[i];

		if (is_of(way, datagram, now))
			return WEIR_FRAGMENT_TARGET(way);
	}
	return FRAGMENT_UNKNOWN;
}

/* The way that holds the datagram (`known`), or the one that it may take: free or the oldest.
 * `seen` is what was there. */
static __always_inline __u32 choose_way(const struct weir_fragment_bucket *bucket, __u64 datagram,
					__u32 now, __u64 *seen, bool *known)
{
	__u32 oldest = 0, choice = 0;

	*known = false;
	for (int i = 0; i < WEIR_FRAGMENT_WAYS; i++) {
		/* Among ways of one age, each datagram has a choice of its own. */
		__u32 at = (i + (datagram >> 32)) & (WEIR_FRAGMENT_WAYS - 1);
		__u64 way = *(const volatile __u64 *)&bucket->way[at];
		__u32 age = way ? fragment_age(way, now) : ~0u;

		if (is_of(way, datagram, now)) {
			*known = true;
			*seen = way;
			return at;
		}
		if (!i || age > oldest) {
			oldest = age;
			choice = at;
			*seen = way;
		}
	}
	return choice;
}

/*
 * Remembers the target of a datagram, of 24 bits and maybe WEIR_FRAGMENT_GUESSED, and returns the
 * one that holds: what was found without ports holds for every fragment, and among others the
 * newest first fragment decides, as identifications are used again. Two CPUs choose the same way,
 * so the later one finds it changed and looks again.
 */
__noinline __u32 weir_remember_fragment(__u64 datagram, __u32 target)
{
	struct weir_fragment_bucket *bucket;
	__u32 now;

	if (!config.modes || config.explain)
		return target;
	bucket = bucket_of_datagram(datagram);
	if (!bucket)
		return target;
	now = ticks();
	for (int round = 0; round < FRAGMENT_ROUNDS; round++) {
		__u64 seen = 0;
		bool known;
		__u32 at = choose_way(bucket, datagram, now, &seen, &known);

		if (known && (seen | target) & WEIR_FRAGMENT_GUESSED)
			return WEIR_FRAGMENT_TARGET(seen);
		if (__sync_val_compare_and_swap(&bucket->way[at & (WEIR_FRAGMENT_WAYS - 1)], seen,
						WEIR_FRAGMENT(datagram, now, target)) == seen)
			return target;
	}
	return target;
}

static __always_inline __u32 drop_fragment(__u32 service)
{
	if (service != WEIR_SEVERAL)
		count_for_service(service, fragments);
	return TO_NOWHERE(WEIR_BY_FRAGMENT);
}

static __always_inline __u32 go_to(__u32 target)
{
	target &= ~WEIR_FRAGMENT_GUESSED;
	return target == FRAGMENT_STACK ? TO_STACK : target;
}

/* What is remembered of a datagram is half a hash: another one's target may not be of this
 * address. */
static __always_inline __u32 follow(const struct weir_service_head *t, struct flow *flow,
				    __u32 address, __u32 target)
{
	const struct weir_backend *b;

	explain(placed, WEIR_PLACED_FRAGMENT);
	target = go_to(target);
	b = bpf_map_lookup_elem(&backends, &target);
	if (b) {
		flow->service = b->service;
		if (service_at(t, b->service)->vip != vip_of(address))
			return drop_fragment(flow->service);
	}
	explain(service, flow->service);
	return target;
}

static __always_inline __u32 place_datagram(const struct weir_service *s, struct flow *flow,
					    __u64 datagram, __u32 guessed)
{
	__u32 backend = place_in(s, flow);

	flow->hash = datagram;
	if (!backend)
		return 0;
	return go_to(weir_remember_fragment(datagram, backend | guessed));
}

static __always_inline __u32 first_fragment(const struct weir_service_head *t,
					    const struct packet *p, struct flow *flow,
					    __u32 address, __u64 datagram)
{
	__u32 index = find_service(t, address, p->proto, p->dport);
	__u32 known = weir_recall_fragment(datagram);
	const struct weir_service *s;

	if (known != FRAGMENT_UNKNOWN && known & WEIR_FRAGMENT_GUESSED)
		return follow(t, flow, address, known);
	if (!index)
		return go_to(weir_remember_fragment(datagram, FRAGMENT_STACK));
	s = service_at(t, index);
	if (s->mode == WEIR_NAT)
		return drop_fragment(index);
	flow_of(flow, s, index, p, flow->phase);
	return place_datagram(s, flow, datagram, 0);
}

static __always_inline __u32 later_fragment(const struct weir_service_head *t,
					    const struct packet *p, struct flow *flow,
					    __u32 address, __u32 service, __u64 datagram)
{
	__u32 known = weir_recall_fragment(datagram);
	const struct weir_service *s;

	if (known != FRAGMENT_UNKNOWN)
		return follow(t, flow, address, known);
	if (service == WEIR_SEVERAL || p->proto != IPPROTO_UDP)
		return drop_fragment(service);
	s = service_at(t, service);
	if (s->mode == WEIR_NAT)
		return drop_fragment(service);
	flow_of(flow, s, service, p, PHASE_ANY);
	return place_datagram(s, flow, datagram, WEIR_FRAGMENT_GUESSED);
}

/* The outcome of a fragment to a VIP; fills `flow`, whose phase is set. A global function: off
 * the way of whole packets. */
__noinline __u32 weir_fragment(struct xdp_md *ctx, const struct packet *p, struct flow *flow,
			       __u32 address)
{
	const struct weir_service_head *t;
	__u64 datagram;
	__u32 service;

	if (!config.modes || !p || !flow)
		return TO_STACK;
	t = service_table();
	datagram = datagram_of(ctx, p);
	if (!t || !datagram)
		return TO_STACK;
	/* Behind the fragment header of a later fragment there may be the number of an extension
	 * header, which only the first one holds. */
	service = is_extension(p->proto) ? WEIR_SEVERAL : services_of(t, address, p->proto);
	if (!service)
		return TO_STACK;
	flow->hash = datagram;
	if (p->flags & WEIR_P_FIRST)
		return first_fragment(t, p, flow, address, datagram);
	return later_fragment(t, p, flow, address, service, datagram);
}

static __always_inline bool is_fragment(const struct frame *f)
{
	return f->packet.flags & WEIR_P_FIRST || f->class == WEIR_FRAGMENT4 ||
	       f->class == WEIR_FRAGMENT6;
}

#endif
