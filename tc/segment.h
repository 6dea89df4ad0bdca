/* SPDX-License-Identifier: GPL-2.0 */
/* One TCP segment as the observer sees it: which end is here, and where its handshake would be. */
#ifndef WEIR_SEGMENT_H
#define WEIR_SEGMENT_H

#include "../xdp/packet.h"
#include "abi.h"

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

struct tcp_header {
	__be16 source;
	__be16 dest;
	__be32 seq;
	__be32 ack;
	__u8 offset; /* of the payload in words: the high four bits */
	__u8 flags;
	__be16 window;
	__be16 check;
	__be16 urgent;
};

struct segment {
	__be32 local[4]; /* this host's side: destination at ingress, source at egress */
	__be32 remote[4];
	__be16 local_port;
	__be16 remote_port;
	__u32 seq;
	__u32 ack;
	__u32 data; /* bytes of payload, at most 0xffff */
	__u8 flags;
	__u8 family;
	bool ingress;
};

static __always_inline __u64 mix(__u64 value)
{
	value *= 0x9e3779b97f4a7c15ull;
	return value ^ value >> 32;
}

/*
 * The remote end goes into the low bits, whence a multiplication spreads what a stranger may
 * choose over all higher ones, in a way that depends on the seed.
 */
static __always_inline __u64 fingerprint_ports(__u64 addresses, __be16 local, __be16 remote)
{
	return mix(addresses ^ ((__u64)local << 16 | remote));
}

static __always_inline __u64 fingerprint4(__u64 seed, const struct iphdr *ip, __be16 sport,
					  __be16 dport, bool ingress)
{
	__be32 local = ingress ? ip->daddr : ip->saddr;
	__be32 remote = ingress ? ip->saddr : ip->daddr;

	return fingerprint_ports(mix(seed ^ ((__u64)local << 32 | remote)), ingress ? dport : sport,
				 ingress ? sport : dport);
}

static __always_inline __u64 word(const struct in6_addr *address, int half)
{
	return (__u64)address->s6_addr32[2 * half] << 32 | address->s6_addr32[2 * half + 1];
}

static __always_inline __u64 fingerprint6(__u64 seed, const struct ipv6hdr *ip, __be16 sport,
					  __be16 dport, bool ingress)
{
	const struct in6_addr *local = ingress ? &ip->daddr : &ip->saddr;
	const struct in6_addr *remote = ingress ? &ip->saddr : &ip->daddr;
	__u64 near = mix(mix(seed ^ word(local, 0)) ^ word(local, 1));
	__u64 far = mix(mix(~seed ^ word(remote, 0)) ^ word(remote, 1));

	return fingerprint_ports(mix(near + (far << 1)), ingress ? dport : sport,
				 ingress ? sport : dport);
}

static __always_inline void fill_address4(__be32 to[4], __be32 address)
{
	to[0] = 0;
	to[1] = 0;
	to[2] = bpf_htonl(0xffff);
	to[3] = address;
}

static __always_inline void fill_address6(__be32 to[4], const struct in6_addr *address)
{
	to[0] = address->s6_addr32[0];
	to[1] = address->s6_addr32[1];
	to[2] = address->s6_addr32[2];
	to[3] = address->s6_addr32[3];
}

/* The payload of a first fragment goes on behind it: then it counts as the largest. */
static __always_inline void fill_transport(struct segment *s, const struct packet *p,
					   const struct tcp_header *tcp, bool ingress)
{
	__u32 header = (tcp->offset >> 4) * 4;
	__u32 data = p->l4_len > header ? p->l4_len - header : 0;

	s->local_port = ingress ? p->dport : p->sport;
	s->remote_port = ingress ? p->sport : p->dport;
	s->seq = bpf_ntohl(tcp->seq);
	s->ack = bpf_ntohl(tcp->ack);
	s->data = data > 0xffff || p->flags & WEIR_P_FIRST ? 0xffff : data;
	s->flags = tcp->flags;
	s->family = p->family;
	s->ingress = ingress;
}

static __always_inline void fill_segment4(struct segment *s, const struct packet *p,
					  const struct iphdr *ip, const struct tcp_header *tcp,
					  bool ingress)
{
	fill_address4(s->local, ingress ? ip->daddr : ip->saddr);
	fill_address4(s->remote, ingress ? ip->saddr : ip->daddr);
	fill_transport(s, p, tcp, ingress);
}

static __always_inline void fill_segment6(struct segment *s, const struct packet *p,
					  const struct ipv6hdr *ip, const struct tcp_header *tcp,
					  bool ingress)
{
	fill_address6(s->local, ingress ? &ip->daddr : &ip->saddr);
	fill_address6(s->remote, ingress ? &ip->saddr : &ip->daddr);
	fill_transport(s, p, tcp, ingress);
}

#endif
