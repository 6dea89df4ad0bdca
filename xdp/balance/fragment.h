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

/* A target that was found without the ports: the first fragment has not been seen yet. */
#define FRAGMENT_GUESSED 0x80000000u
/* A target of its own: the datagram is for no service and goes to the stack. */
#define FRAGMENT_STACK	 0u
#define FRAGMENT_UNKNOWN 0xffffffffu

/* So many times another CPU's entry that is being written is waited for: it takes a few ns. */
#define FRAGMENT_ROUNDS 32

/* The second half of struct weir_fragment, read and written whole. */
union fragment_place {
	struct {
		__u32 target;
		__u32 tick;
	};
	__u64 word;
};

/* What identifies the datagram of a fragment (RFC 791, RFC 8200 4.5), as a tag; 0: its headers
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
	return mix_flow(mix_flow(hash) ^ id) | 2;
}

static __always_inline struct weir_fragment_bucket *bucket_of_datagram(__u64 datagram)
{
	__u32 index = (__u32)(datagram >> 2) & (WEIR_FRAGMENT_BUCKETS - 1);

	return bpf_map_lookup_elem(&fragments, &index);
}

static __always_inline union fragment_place place_of_way(const struct weir_fragment *way)
{
	return (union fragment_place){.word = *(const volatile __u64 *)&way->target};
}

/* Whether the way holds this datagram; `place` is then its own. */
static __always_inline bool holds(const struct weir_fragment *way, __u64 datagram, __u32 now,
				  union fragment_place *place)
{
	const volatile __u64 *tag = &way->tag;

	if (*tag != datagram)
		return false;
	*place = place_of_way(way);
	return *tag == datagram && ticks_since(place->tick, now) <= WEIR_FRAGMENT_TICKS;
}

/* The target of a datagram that is known, with FRAGMENT_GUESSED; or FRAGMENT_UNKNOWN. Global
 * functions, this one and the next: verified once, for DSR and NAT. */
__noinline __u32 weir_recall_fragment(__u64 datagram)
{
	struct weir_fragment_bucket *bucket;
	union fragment_place place;
	__u32 now;

	if (!config.modes)
		return FRAGMENT_UNKNOWN;
	bucket = bucket_of_datagram(datagram);
	if (!bucket)
		return FRAGMENT_UNKNOWN;
	now = ticks();
	for (int i = 0; i < WEIR_FRAGMENT_WAYS; i++)
		if (holds(&bucket->way[i], datagram, now, &place))
			return place.target;
	return FRAGMENT_UNKNOWN;
}

/* What one look at all ways of a bucket finds. */
struct fragment_look {
	union fragment_place place;
	__u64 seen; /* tag of the way */
	__u32 way; /* the datagram's, or else the one it may have: free, out of time or the oldest */
	bool known;
	bool busy; /* another CPU is writing a way, maybe of this datagram */
};

static __always_inline void look_for(struct fragment_look *look,
				     const struct weir_fragment_bucket *bucket, __u64 datagram,
				     __u32 now)
{
	__u32 oldest = 0;

	look->known = look->busy = false;
	look->way = 0;
	look->seen = 0;
	for (int i = 0; i < WEIR_FRAGMENT_WAYS; i++) {
		const struct weir_fragment *way = &bucket->way[i];
		__u64 tag = *(const volatile __u64 *)&way->tag;
		__u32 age = tag ? ticks_since(place_of_way(way).tick, now) : ~0u;

		if (tag == WEIR_FLOW_CLAIMED)
			look->busy = true;
		if (holds(way, datagram, now, &look->place)) {
			look->known = true;
			look->way = i;
			return;
		}
		if (!i || age > oldest) {
			oldest = age;
			look->way = i;
			look->seen = tag;
		}
	}
}

/*
 * Remembers the target of a datagram and returns the one that holds: what was found without
 * ports holds for every fragment, and among others the newest first fragment decides, as
 * identifications are used again. Whoever finds the bucket changed looks again, and all choose
 * the same way of the same bucket, so two CPUs do not remember one datagram twice.
 */
__noinline __u32 weir_remember_fragment(__u64 datagram, __u32 target)
{
	union fragment_place place = {.target = target};
	struct weir_fragment_bucket *bucket;

	if (!config.modes || config.explain)
		return target;
	bucket = bucket_of_datagram(datagram);
	if (!bucket)
		return target;
	place.tick = ticks();
	for (int round = 0; round < FRAGMENT_ROUNDS; round++) {
		struct fragment_look look;
		struct weir_fragment *way;

		look_for(&look, bucket, datagram, place.tick);
		way = &bucket->way[look.way & (WEIR_FRAGMENT_WAYS - 1)];
		if (look.known) {
			if ((look.place.target | target) & FRAGMENT_GUESSED)
				return look.place.target;
			if (__sync_val_compare_and_swap((__u64 *)&way->target, look.place.word,
							place.word) == look.place.word)
				return target;
		} else if (!look.busy) {
			if (__sync_val_compare_and_swap(&way->tag, look.seen, WEIR_FLOW_CLAIMED) !=
			    look.seen)
				continue;
			__sync_lock_test_and_set((__u64 *)&way->target, place.word);
			__sync_lock_test_and_set(&way->tag, datagram);
			return target;
		}
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
	target &= ~FRAGMENT_GUESSED;
	return target == FRAGMENT_STACK ? TO_STACK : target;
}

static __always_inline __u32 follow(struct flow *flow, __u32 target)
{
	const struct weir_backend *b;

	explain(placed, WEIR_PLACED_FRAGMENT);
	target = go_to(target);
	b = bpf_map_lookup_elem(&backends, &target);
	if (b)
		flow->service = b->service;
	explain(service, flow->service);
	return target;
}

static __always_inline __u32 place_datagram(struct flow *flow, __u64 datagram, __u32 guessed)
{
	__u32 backend = place(flow);

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

	if (known != FRAGMENT_UNKNOWN && known & FRAGMENT_GUESSED)
		return follow(flow, known);
	if (!index)
		return go_to(weir_remember_fragment(datagram, FRAGMENT_STACK));
	explain(service, index);
	s = service_at(t, index);
	if (s->mode == WEIR_NAT)
		return drop_fragment(index);
	flow_of(flow, s, index, p, flow->phase);
	return place_datagram(flow, datagram, 0);
}

static __always_inline __u32 later_fragment(const struct weir_service_head *t,
					    const struct packet *p, struct flow *flow,
					    __u32 service, __u64 datagram)
{
	__u32 known = weir_recall_fragment(datagram);
	const struct weir_service *s;

	if (known != FRAGMENT_UNKNOWN)
		return follow(flow, known);
	if (service == WEIR_SEVERAL || p->proto != IPPROTO_UDP)
		return drop_fragment(service);
	explain(service, service);
	s = service_at(t, service);
	if (s->mode == WEIR_NAT)
		return drop_fragment(service);
	flow_of(flow, s, service, p, PHASE_ANY);
	return place_datagram(flow, datagram, FRAGMENT_GUESSED);
}

/* The outcome of a fragment to a VIP; fills `flow`, whose phase is set. A global function: off the way of whole packets. */
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
	return later_fragment(t, p, flow, service, datagram);
}

static __always_inline bool is_fragment(const struct frame *f)
{
	return f->packet.flags & WEIR_P_FIRST || f->class == WEIR_FRAGMENT4 ||
	       f->class == WEIR_FRAGMENT6;
}

#endif
