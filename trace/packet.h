/* SPDX-License-Identifier: GPL-2.0 */
/* What a packet's own headers say, wherever in the kernel it is. */
#ifndef WEIR_TRACE_PACKET_H
#define WEIR_TRACE_PACKET_H

#include "socket.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct net_device {
	int ifindex;
	possible_net_t nd_net;
};

struct dst_entry {
	struct net_device *dev;
};

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	char cb[48];
	unsigned long _skb_refdst;
	int skb_iif;
	__be16 protocol;
	__u16 network_header;
	__u16 transport_header;
	unsigned int tail; /* an offset: all machines are of 64 bits */
	unsigned char *head;
};

struct iphdr {
	__u8 protocol;
};

struct ipv6hdr {
	__u8 nexthdr;
};

#pragma clang attribute pop

#define ETH_P_IP   0x0800
#define ETH_P_IPV6 0x86dd

#define SKB_DST_PTRMASK (~1ul)

struct ipv4_header {
	__u8 version_ihl, tos;
	__be16 length, id, fragment;
	__u8 ttl, protocol;
	__sum16 checksum;
	__be32 source, destination;
};

struct ipv6_header {
	__be32 version_class_flow;
	__be16 length;
	__u8 next, hops;
	struct in6_addr source, destination;
};

struct ipv6_extension {
	__u8 next, length;
	__be16 fragment; /* of a fragment header */
};

struct tcp_header {
	__be16 source, destination;
	__be32 sequence, acknowledged;
	__u8 offset, flags;
};

struct udp_ports {
	__be16 source, destination;
};

#define IPPROTO_UDP	 17
#define IPV6_EXTENSIONS	 6 /* are followed */
#define FRAGMENT_OFFSET	 0x1fff
#define IPPROTO_FRAGMENT 44

struct packet {
	__be32 source[4], destination[4]; /* IPv4 as ::ffff:a.b.c.d */
	__u16 source_port,
		destination_port; /* of TCP and UDP; 0: of a later fragment, or cut off */
	__u32 transport;	  /* offset; 0: a later fragment, or cut off */
	__u8 family;		  /* 4 or 6; 0: not IP */
	__u8 protocol;
	__u8 flags; /* of TCP */
};

/* Whether so many bytes were read from a place before the packet's linear end. */
static __always_inline bool header_read(const struct sk_buff *skb, __u32 offset, void *to,
					__u32 size)
{
	return offset + size <= skb->tail &&
	       !bpf_probe_read_kernel(to, size, (const void *)((__u64)skb->head + offset));
}

static __always_inline bool is_extension(__u8 protocol)
{
	return protocol == 0 || protocol == 43 || protocol == IPPROTO_FRAGMENT || protocol == 60;
}

/* The protocol behind extension headers, and where it begins. */
static __always_inline void skip_extensions(const struct sk_buff *skb, struct packet *p)
{
	struct ipv6_extension e;

	for (int i = 0; i < IPV6_EXTENSIONS && is_extension(p->protocol); i++) {
		if (!header_read(skb, p->transport, &e, sizeof(e))) {
			p->transport = 0;
			return;
		}
		if (p->protocol == IPPROTO_FRAGMENT && (bpf_ntohs(e.fragment) & ~7)) {
			p->protocol = e.next;
			p->transport = 0;
			return;
		}
		p->transport += p->protocol == IPPROTO_FRAGMENT ? 8 : 8 * (e.length + 1);
		p->protocol = e.next;
	}
}

static __always_inline void read_ipv4(const struct sk_buff *skb, struct packet *p)
{
	struct ipv4_header h;

	if (!header_read(skb, skb->network_header, &h, sizeof(h)) || h.version_ihl >> 4 != 4)
		return;
	p->family = 4;
	p->protocol = h.protocol;
	map_address(p->source, h.source);
	map_address(p->destination, h.destination);
	if (!(h.fragment & bpf_htons(FRAGMENT_OFFSET)))
		p->transport = skb->network_header + 4 * (h.version_ihl & 15);
}

static __always_inline void read_ipv6(const struct sk_buff *skb, struct packet *p)
{
	struct ipv6_header h;

	if (!header_read(skb, skb->network_header, &h, sizeof(h)) ||
	    bpf_ntohl(h.version_class_flow) >> 28 != 6)
		return;
	p->family = 6;
	p->protocol = h.next;
	copy_address(p->source, &h.source);
	copy_address(p->destination, &h.destination);
	p->transport = skb->network_header + sizeof(h);
	skip_extensions(skb, p);
}

static __always_inline void read_ip(const struct sk_buff *skb, struct packet *p)
{
	*p = (struct packet){};
	if (skb->protocol == bpf_htons(ETH_P_IP))
		read_ipv4(skb, p);
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		read_ipv6(skb, p);
}

static __always_inline void read_ports(const struct sk_buff *skb, struct packet *p)
{
	struct udp_ports h;

	if (!header_read(skb, p->transport, &h, sizeof(h)))
		return;
	p->source_port = bpf_ntohs(h.source);
	p->destination_port = bpf_ntohs(h.destination);
}

static __always_inline void read_tcp(const struct sk_buff *skb, struct packet *p)
{
	struct tcp_header h;

	if (!header_read(skb, p->transport, &h, sizeof(h)))
		return;
	p->source_port = bpf_ntohs(h.source);
	p->destination_port = bpf_ntohs(h.destination);
	p->flags = h.flags;
}

/* IP's headers, and the ports behind them. */
static __always_inline void read_packet(const struct sk_buff *skb, struct packet *p)
{
	read_ip(skb, p);
	if (p->transport && p->protocol == IPPROTO_TCP)
		read_tcp(skb, p);
	else if (p->transport && p->protocol == IPPROTO_UDP)
		read_ports(skb, p);
}

static __always_inline __u8 protocol_by_call(const struct sk_buff *skb)
{
	struct packet p;

	read_ip(skb, &p);
	return p.protocol;
}

/* The protocol that IP carries, 0: not IP. For all packets, so without a call where that is possible. */
static __always_inline __u8 protocol_of(const struct sk_buff *skb)
{
	void *header = (void *)((__u64)skb->head + skb->network_header);
	bool six = skb->protocol == bpf_htons(ETH_P_IPV6);
	__u8 next;

	if (!six && skb->protocol != bpf_htons(ETH_P_IP))
		return 0;
	if (!bpf_rdonly_cast)
		return protocol_by_call(skb);
	if (!skb->network_header || skb->network_header + sizeof(struct ipv4_header) > skb->tail)
		return 0;
	if (!six)
		return ((struct iphdr *)bpf_rdonly_cast(header,
							bpf_core_type_id_kernel(struct iphdr)))
			->protocol;
	next = ((struct ipv6hdr *)bpf_rdonly_cast(header, bpf_core_type_id_kernel(struct ipv6hdr)))
		       ->nexthdr;
	return is_extension(next) ? protocol_by_call(skb) : next;
}

#endif
