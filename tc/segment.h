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
	/* The local end is this host's: destination at ingress, source at egress. */
	__be32 local[4] __attribute__((aligned(8)));
	__be32 remote[4] __attribute__((aligned(8)));
	__be16 local_port;
	__be16 remote_port;
	__u32 seq;
	__u32 ack;
	__u32 data; /* bytes of payload, at most 0xffff */
	__u8 flags;
	__u8 family;
	bool ingress;
};

/* No options, no fragment. */
static __always_inline bool is_plain4(const struct iphdr *ip)
{
	return *(const __u8 *)ip == 0x45 && !(ip->frag_off & bpf_htons(IP4_OFFSET_MASK | IP4_MORE));
}

static __always_inline bool is_mere_ack(const struct tcp_header *tcp)
{
	return (tcp->flags & (TCP_SYN | TCP_RST | TCP_ACK)) == TCP_ACK;
}

/*
 * Multiplication by a secret odd number, of which the high bits are used. What a stranger chooses
 * goes into the low bits, whence it spreads over all higher ones in a way only the seed tells.
 */
static __always_inline __u64 mix(__u64 seed, __u64 value)
{
	value *= seed;
	return value ^ value >> 32;
}

/* Addresses and ports are taken as they lie in an incoming packet: remote end, local end. */
static __always_inline __u64 fingerprint4(__u64 seed, __u64 ends, __u32 ports)
{
	return (mix(seed, ends) ^ ports) * seed;
}

static __always_inline __u64 fingerprint6(__u64 seed, const __u64 remote[2], const __u64 local[2],
					  __u32 ports)
{
	__u64 value = mix(seed, local[0]) + local[1];

	value = mix(seed, value) + remote[0];
	value = mix(seed, value) + remote[1];
	return (mix(seed, value) ^ ports) * seed;
}

static __always_inline __u64 ends_of(const struct iphdr *ip, bool ingress)
{
	__u64 ends = *(const __u64 *)&ip->saddr;

	return ingress ? ends : ends << 32 | ends >> 32;
}

static __always_inline __u32 ports_of(const struct tcp_header *tcp, bool ingress)
{
	__u32 ports = *(const __u32 *)tcp;

	return ingress ? ports : ports << 16 | ports >> 16;
}

static __always_inline __u64 segment_fingerprint(const struct segment *s, __u64 seed)
{
	const union {
		__be16 port[2];
		__u32 both;
	} ports = {.port = {s->remote_port, s->local_port}};
	const union {
		__be32 address[2];
		__u64 both;
	} ends = {.address = {s->remote[3], s->local[3]}};

	if (s->family == 4)
		return fingerprint4(seed, ends.both, ports.both);
	return fingerprint6(seed, (const __u64 *)s->remote, (const __u64 *)s->local, ports.both);
}

static __always_inline void fill_address4(__be32 to[4], __be32 address)
{
	to[0] = 0;
	to[1] = 0;
	to[2] = bpf_htonl(0xffff);
	to[3] = address;
}

static __always_inline void fill_addresses4(struct segment *s, const struct iphdr *ip, bool ingress)
{
	fill_address4(s->local, ingress ? ip->daddr : ip->saddr);
	fill_address4(s->remote, ingress ? ip->saddr : ip->daddr);
	s->family = 4;
}

static __always_inline void fill_addresses6(struct segment *s, const struct ipv6hdr *ip,
					    bool ingress)
{
	const struct in6_addr *local = ingress ? &ip->daddr : &ip->saddr;
	const struct in6_addr *remote = ingress ? &ip->saddr : &ip->daddr;

	__builtin_memcpy(s->local, local, sizeof(s->local));
	__builtin_memcpy(s->remote, remote, sizeof(s->remote));
	s->family = 6;
}

/* `length`: of header and payload. Returns false when the header contradicts it. */
static __always_inline bool fill_transport(struct segment *s, const struct tcp_header *tcp,
					   __u32 length, bool ingress)
{
	__u32 header = (tcp->offset >> 4) * 4, data = length - header;

	if (header < sizeof(*tcp) || header > length)
		return false;
	s->local_port = ingress ? tcp->dest : tcp->source;
	s->remote_port = ingress ? tcp->source : tcp->dest;
	s->seq = bpf_ntohl(tcp->seq);
	s->ack = bpf_ntohl(tcp->ack);
	s->data = data > 0xffff ? 0xffff : data;
	s->flags = tcp->flags;
	s->ingress = ingress;
	return true;
}

#endif
