/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The way to a backend: egress device and Ethernet addresses in its record. The loader fills them
 * in and has the kernel keep the neighbour resolved; when they have not been confirmed for a while,
 * one packet asks the kernel's tables and writes down what they say, for all others.
 */
#ifndef WEIR_NEXTHOP_H
#define WEIR_NEXTHOP_H

#include "churn.h"

#define FRESH_TICKS 8

/* linux/bpf.h leaves these families to linux/socket.h, which BPF programs cannot include. */
#define FAMILY_INET  2
#define FAMILY_INET6 10

static __always_inline bool is_fresh(const struct weir_backend *b)
{
	/* Only so far ahead: what lies farther is long past, and jiffies have wrapped. */
	return b->flags & WEIR_B_REACHABLE && b->fresh_until - (__u32)bpf_jiffies64() - 1 <
						      (__u32)FRESH_TICKS << config.tick_shift;
}

static __always_inline void confirm(struct weir_backend *b)
{
	b->fresh_until = (__u32)bpf_jiffies64() + (FRESH_TICKS << config.tick_shift);
}

/* Two aligned words, so that no other CPU sees half an address. */
static __always_inline void store_way(struct weir_backend *b, const struct bpf_fib_lookup *fib)
{
	struct {
		__u8 dest[6];
		__u8 source[6];
		__u32 ifindex;
	} way __attribute__((aligned(8)));
	__u64 *from = (__u64 *)&way, *to = (__u64 *)b;

	__builtin_memcpy(way.dest, fib->dmac, 6);
	__builtin_memcpy(way.source, fib->smac, 6);
	way.ifindex = fib->ifindex;
	if (to[0] != from[0])
		*(volatile __u64 *)&to[0] = from[0];
	if (to[1] != from[1])
		*(volatile __u64 *)&to[1] = from[1];
}

static __always_inline void fill_lookup(struct bpf_fib_lookup *fib, const struct weir_backend *b)
{
	fib->ifindex = config.ifindex;
	if (b->flags & WEIR_B_V6) {
		fib->family = FAMILY_INET6;
#pragma unroll
		for (int i = 0; i < 4; i++) {
			fib->ipv6_src[i] = b->source[i];
			fib->ipv6_dst[i] = b->address[i];
		}
	} else {
		fib->family = FAMILY_INET;
		fib->ipv4_src = b->source[0];
		fib->ipv4_dst = b->address[0];
	}
}

/* A copy that explains does not write down what it has just looked up. */
static __always_inline __u32 egress_of(const struct weir_backend *b)
{
	struct weir_explanation *told = config.explain ? current_explanation() : NULL;

	return told && told->egress ? told->egress : b->ifindex;
}

/* Whether TC transmits: also where weir_next_hop() would have written that down. */
static __always_inline bool leaves_by_tc(const struct weir_backend *b)
{
	return b->flags & WEIR_B_VIA_TC || (config.explain && egress_of(b) != b->ifindex);
}

/* Its neighbours in the word stay as they are: mtu, flags and source_bits. */
static __always_inline void set_flags(struct weir_backend *b, __u32 flags)
{
	__sync_fetch_and_or((__u32 *)&b->fresh_until + 1, bpf_htonl(flags << 8));
}

enum way {
	WAY_READY,
	WAY_LOCAL, /* to the stack */
	WAY_NONE,
};

/* What the kernel's tables say now. While they say nothing, as without forwarding, or have just
 * lost the neighbour, the way known so far is kept. A global function: off the way of most
 * packets. */
__noinline __u32 weir_next_hop(struct xdp_md *ctx, __u32 backend)
{
	struct bpf_fib_lookup fib = {};
	struct weir_backend *b;

	if (!config.modes)
		return WAY_NONE;
	b = bpf_map_lookup_elem(&backends, &backend);
	if (!b)
		return WAY_NONE;
	if (b->flags & WEIR_B_LOCAL)
		return WAY_LOCAL;
	fill_lookup(&fib, b);
	switch (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		explain(egress, fib.ifindex);
		if (!config.explain) {
			/* Whether another device takes XDP frames is the loader's to find out. */
			if (fib.ifindex != b->ifindex)
				set_flags(b, WEIR_B_VIA_TC);
			store_way(b, &fib);
			set_flags(b, WEIR_B_REACHABLE);
			confirm(b);
		}
		return WAY_READY;
	case BPF_FIB_LKUP_RET_BLACKHOLE:
	case BPF_FIB_LKUP_RET_UNREACHABLE:
	case BPF_FIB_LKUP_RET_PROHIBIT: return WAY_NONE;
	default:
		if (!(b->flags & WEIR_B_REACHABLE))
			return WAY_NONE;
		if (!config.explain)
			confirm(b);
		return WAY_READY;
	}
}

#endif
