/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Other addresses and ports for a packet. Checksums are changed by what the fields changed (RFC
 * 1624, equation 3), so a wrong one stays wrong; a UDP checksum of 0 is none and stays so.
 *
 * A packet that TC is to send may carry a checksum which its sender left to the device, and the
 * kernel still knows that: then the field holds just the sum of the pseudo header, and must do so
 * afterwards. It is recognised by its value, so one finished checksum in 65535 is taken for such.
 */
#ifndef WEIR_NAT_REWRITE_H
#define WEIR_NAT_REWRITE_H

#include "../balance/forward.h"

enum sum {
	SUM_FINISHED, /* or none */
	SUM_UNFINISHED,
	SUM_UNKNOWN,
};

struct translation {
	__be32 source[4];
	__be32 dest[4];
	__be16 sport;
	__be16 dport;
	__u32 sum; /* enum sum */
};

static __always_inline __u16 *l4_check(struct xdp_md *ctx, const struct packet *p)
{
	__u32 at = p->proto == IPPROTO_TCP ? CHECKSUM_AT_TCP : CHECKSUM_AT_UDP;

	return header_at(ctx, p->l4 + at, sizeof(__u16));
}

/* Finishes the checksum where that is needed. */
static __always_inline enum sum sum_for(struct xdp_md *ctx, const struct packet *p, bool via_tc)
{
	const __u16 *check;

	if (!config.partial_sums)
		return SUM_FINISHED;
	if (!config.via_tc && !via_tc)
		return is_summed(ctx, p) ? SUM_FINISHED : SUM_UNKNOWN;
	check = l4_check(ctx, p);
	if (!check)
		return SUM_UNKNOWN;
	return *check && *check == fold(pseudo_sum(ctx, p)) ? SUM_UNFINISHED : SUM_FINISHED;
}

static __always_inline __u64 change(__u32 from, __u32 to)
{
	return (__u64)(__u32)~from + to;
}

/* Of an IP header, where source and destination follow each other. */
static __always_inline __u64 change_addresses(__be32 *at, const __be32 *source, const __be32 *dest,
					      int words)
{
	__u64 changed = 0;

	for (int i = 0; i < words; i++) {
		changed += change(at[i], source[i]) + change(at[words + i], dest[i]);
		at[i] = source[i];
		at[words + i] = dest[i];
	}
	return changed;
}

static __always_inline __u64 translate4(struct iphdr *ip, const struct translation *x)
{
	__u64 changed = change_addresses(&ip->saddr, x->source, x->dest, 1);

	ip->ttl--;
	ip->check = ~fold((__u16)~ip->check + changed + (__u16)~bpf_htons(0x0100));
	return changed;
}

static __always_inline __u64 translate6(struct ipv6hdr *ip, const struct translation *x)
{
	ip->hop_limit--;
	return change_addresses(ip->saddr.s6_addr32, x->source, x->dest, 4);
}

static __always_inline void change_check(__u16 *check, __u32 proto, __u32 sum, __u64 addresses,
					 __u64 ports)
{
	__u16 changed;

	if (sum == SUM_UNFINISHED) {
		*check = fold(*check + addresses);
		return;
	}
	if (proto == IPPROTO_UDP && !*check)
		return;
	changed = ~fold((__u16) ~*check + addresses + ports);
	*check = changed || proto == IPPROTO_TCP ? changed : 0xffff;
}

static __always_inline bool may_go_on(struct xdp_md *ctx, const struct packet *p)
{
	if (p->family == 4) {
		const struct iphdr *ip = header_at(ctx, p->l3, sizeof(*ip));

		return ip && ip->ttl > 1;
	} else {
		const struct ipv6hdr *ip = header_at(ctx, p->l3, sizeof(*ip));

		return ip && ip->hop_limit > 1;
	}
}

/* The IP header alone; says by how much that changes checksums over a pseudo header. */
static __always_inline bool translate_ip(struct xdp_md *ctx, const struct packet *p,
					 const struct translation *x, __u64 *changed)
{
	if (p->family == 4) {
		struct iphdr *ip = header_at(ctx, p->l3, sizeof(*ip));

		if (!ip)
			return false;
		*changed = translate4(ip, x);
	} else {
		struct ipv6hdr *ip = header_at(ctx, p->l3, sizeof(*ip));

		if (!ip)
			return false;
		*changed = translate6(ip, x);
	}
	return true;
}

/* False: the headers are not all in front of data_end, and nothing was changed. */
static __always_inline bool translate(struct xdp_md *ctx, const struct packet *p,
				      const struct translation *x)
{
	__u16 *check = l4_check(ctx, p);
	struct ports *ports = header_at(ctx, p->l4, sizeof(*ports));
	__u64 addresses, was;

	if (!check || !ports)
		return false;
	was = (__u64)(__u16)~ports->source + (__u16)~ports->dest;
	if (!translate_ip(ctx, p, x, &addresses))
		return false;
	ports->source = x->sport;
	ports->dest = x->dport;
	change_check(check, p->proto, x->sum, addresses, was + x->sport + x->dport);
	return true;
}

/* The MSS of a SYN; an unfinished checksum does not cover it yet. */
static __always_inline void clamp_syn(struct xdp_md *ctx, const struct packet *p, __u32 mss,
				      __u32 sum)
{
	__u16 *check = l4_check(ctx, p), was;

	if (!check)
		return;
	was = *check;
	if (!weir_clamp_mss(ctx, p, mss) || sum != SUM_UNFINISHED)
		return;
	check = l4_check(ctx, p);
	if (check)
		*check = was;
}

/* Towards the backend. */
static __always_inline void to_backend(struct translation *x, const struct weir_backend *b,
				       __u32 asked, __u32 nat_port)
{
	__builtin_memcpy(x->source, b->source, sizeof(x->source));
	__builtin_memcpy(x->dest, b->address, sizeof(x->dest));
	x->sport = bpf_htons(nat_port);
	x->dport = b->port ? b->port : bpf_htons(asked);
}

/* Towards the client. */
static __always_inline void to_client(struct translation *x, const struct weir_service *s,
				      const struct weir_nat_flow *flow)
{
	__builtin_memcpy(x->source, s->address, sizeof(x->source));
	x->dest[0] = bpf_htonl(flow->client[0] >> 32);
	x->dest[1] = bpf_htonl(flow->client[0]);
	x->dest[2] = bpf_htonl(flow->client[1] >> 32);
	x->dest[3] = bpf_htonl(flow->client[1]);
	x->sport = bpf_htons(WEIR_WHO_ASKED(flow->who));
	x->dport = bpf_htons(WEIR_WHO_PORT(flow->who));
}

#endif
