/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The way of ordinary packets, without a call and in few registers: data and its ACKs, of which
 * one load of tags says that no handshake waits for them, and what is not TCP.
 *
 * Words are loaded from wherever they lie in the packet: architectures that cannot are refused by
 * the verifier.
 */
#ifndef WEIR_ORDINARY_H
#define WEIR_ORDINARY_H

#include "inflight.h"
#include "segment.h"

static __always_inline bool is_ordinary4(const struct iphdr *ip, const void *end, bool ingress)
{
	const struct tcp_header *tcp = (void *)(ip + 1);

	if (ip->protocol != IPPROTO_TCP)
		return true;
	if (!is_plain4(ip) || (void *)(tcp + 1) > end || !is_mere_ack(tcp))
		return false;
	return !inflight_maybe(
		fingerprint4(handshakes.seed, ends_of(ip, ingress), ports_of(tcp, ingress)));
}

static __always_inline bool is_ordinary6(const struct ipv6hdr *ip, const void *end, bool ingress)
{
	const struct tcp_header *tcp = (void *)(ip + 1);
	const void *source = &ip->saddr, *dest = &ip->daddr;

	if ((void *)(ip + 1) > end)
		return false;
	if (ip->nexthdr != IPPROTO_TCP)
		return !is_extension(ip->nexthdr);
	if ((void *)(tcp + 1) > end || !is_mere_ack(tcp))
		return false;
	return !inflight_maybe(fingerprint6(handshakes.seed, ingress ? source : dest,
					    ingress ? dest : source, ports_of(tcp, ingress)));
}

/* Whether nothing is to be done. False for headers that are out of the ordinary, too: VLAN tags
 * within the frame, IPv4 options, fragments, IPv6 extension headers, a short linear part. */
static __always_inline bool is_ordinary_ip(const void *ip, __be16 type, const void *end,
					   bool ingress)
{
	if (ip + sizeof(struct iphdr) > end)
		return false;
	if (type == bpf_htons(ETH_P_IP))
		return is_ordinary4(ip, end, ingress);
	if (type == bpf_htons(ETH_P_IPV6))
		return is_ordinary6(ip, end, ingress);
	return !is_vlan(type);
}

static __always_inline bool is_ordinary(const struct __sk_buff *skb, bool ingress)
{
	const void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const __be16 *type = data + offsetof(struct ethhdr, h_proto);

	if (config.ethernet)
		return (void *)(type + 1) <= end && is_ordinary_ip(type + 1, *type, end, ingress);
	return data + 1 <= end &&
	       is_ordinary_ip(data,
			      *(const __u8 *)data >> 4 == 6 ? bpf_htons(ETH_P_IPV6)
							    : bpf_htons(ETH_P_IP),
			      end, ingress);
}

#endif
