/* SPDX-License-Identifier: GPL-2.0 */
/* Whether a socket of this host has these ends. */
#ifndef WEIR_SOCKET_H
#define WEIR_SOCKET_H

#include "../frame.h"

/* Addresses and ports as in struct packet. */
struct socket_ends {
	__u64 source, source_low;
	__u64 dest, dest_low;
	__u16 sport, dport;
	__u8 family;
	bool udp;
};

static __always_inline void put_address6(__be32 *to, __u64 high, __u64 low)
{
	to[0] = bpf_htonl(high >> 32);
	to[1] = bpf_htonl(high);
	to[2] = bpf_htonl(low >> 32);
	to[3] = bpf_htonl(low);
}

/* Returns its size. */
static __always_inline __u32 fill_tuple(struct bpf_sock_tuple *tuple, const struct socket_ends *e)
{
	if (e->family == 4) {
		tuple->ipv4.saddr = bpf_htonl(e->source >> 32);
		tuple->ipv4.daddr = bpf_htonl(e->dest >> 32);
		tuple->ipv4.sport = bpf_htons(e->sport);
		tuple->ipv4.dport = bpf_htons(e->dport);
		return sizeof(tuple->ipv4);
	}
	put_address6(tuple->ipv6.saddr, e->source, e->source_low);
	put_address6(tuple->ipv6.daddr, e->dest, e->dest_low);
	tuple->ipv6.sport = bpf_htons(e->sport);
	tuple->ipv6.dport = bpf_htons(e->dport);
	return sizeof(tuple->ipv6);
}

static __always_inline bool has_socket(struct xdp_md *ctx, const struct socket_ends *e,
				       bool listeners)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = fill_tuple(&tuple, e);
	struct bpf_sock *sk;
	bool found;

	if (e->udp)
		sk = bpf_sk_lookup_udp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	else
		sk = bpf_skc_lookup_tcp(ctx, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return false;
	found = listeners || e->udp || sk->state != BPF_TCP_LISTEN;
	bpf_sk_release(sk);
	return found;
}

#endif
