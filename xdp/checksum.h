/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Finishes L4 checksums that the sender left to its device.
 *
 * A packet from a local socket over veth carries CHECKSUM_PARTIAL: its checksum field holds only
 * the folded sum of the pseudo header (__tcp_v4_send_check()), and XDP_REDIRECT loses the note
 * that says so. Such a field equals the pseudo header's sum; a finished one does so by chance in
 * one packet of 65535, and then finishing it again changes nothing.
 */
#ifndef WEIR_CHECKSUM_H
#define WEIR_CHECKSUM_H

#include "frame.h"

#define CHECKSUM_AT_TCP 16
#define CHECKSUM_AT_UDP 6

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* One's complement sum of the pseudo header (RFC 9293 3.1, RFC 8200 8.1), not folded. */
static __always_inline __u64 pseudo_sum(const struct xdp_md *ctx, const struct packet *p)
{
	__u64 sum = (__u64)bpf_htons(p->proto) + bpf_htonl(p->l4_len);

	if (p->family == 4) {
		struct iphdr *ip = header_at(ctx, p->l3, sizeof(*ip));

		return ip ? sum + ip->saddr + ip->daddr : 0;
	}
	if (p->family == 6) {
		struct ipv6hdr *ip = header_at(ctx, p->l3, sizeof(*ip));
		const __u32 *half = (const __u32 *)&ip->saddr;

		if (!ip)
			return 0;
#pragma unroll
		for (int i = 0; i < 8; i++)
			sum += half[i];
	}
	return sum;
}

struct run {
	void *at;
	void *end;
	__u32 left;
	__u64 sum;
};

static __always_inline bool add_chunks(struct run *r, const __u32 size, int most)
{
	for (int i = 0; i < most && r->left >= size; i++) {
		if (r->at + size > r->end)
			return false;
		r->sum += (__u32)bpf_csum_diff(NULL, 0, r->at, size, 0);
		r->at += size;
		r->left -= size;
	}
	return true;
}

static __always_inline bool add_tail(struct run *r)
{
	__u8 *byte = r->at;

	if (r->left & 2) {
		if (r->at + 2 > r->end)
			return false;
		r->sum += *(__u16 *)r->at;
		r->at += 2;
		byte = r->at;
	}
	if (r->left & 1) {
		if (r->at + 1 > r->end)
			return false;
		r->sum += bpf_htons(*byte << 8);
	}
	return true;
}

/* False when the packet is longer than a page holds and so cannot be summed here. */
static __always_inline bool sum_packet(struct run *r)
{
	/* Where the compiler knows a bound of `left`, it would leave out the loops' own, which
	 * is the one that verifiers follow. */
	asm volatile("" : "+r"(r->left));
	return add_chunks(r, 512, 8) && add_chunks(r, 64, 8) && add_chunks(r, 4, 16) &&
	       r->left < 4 && add_tail(r);
}

/* False when that cannot be done here: other protocols and tunnels (UDP without a checksum) may
 * hold an unfinished one farther in. A global function: verified once, for any packet. */
__noinline bool weir_finish_checksum(struct xdp_md *ctx, const struct packet *p)
{
	struct run r = {.end = (void *)(long)ctx->data_end};
	__u16 *field, sum;
	__u32 offset;

	if (!p)
		return false;
	if (p->flags != WEIR_P_PORTS || (p->proto != IPPROTO_TCP && p->proto != IPPROTO_UDP))
		return false;
	r.left = p->l4_len;
	r.at = header_at(ctx, p->l4, 8);
	offset = p->proto == IPPROTO_TCP ? CHECKSUM_AT_TCP : CHECKSUM_AT_UDP;
	field = header_at(ctx, p->l4 + offset, sizeof(*field));
	if (!r.at || !field || (p->proto == IPPROTO_UDP && !*field))
		return false;
	if (*field != fold(pseudo_sum(ctx, p)))
		return true;
	if (!sum_packet(&r))
		return false;
	sum = ~fold(r.sum);
	*field = sum || p->proto == IPPROTO_TCP ? sum : 0xffff;
	return true;
}

#endif
