/* SPDX-License-Identifier: GPL-2.0 */
/* A TCP segment on its way into a socket: its ends and flags. */
#ifndef WEIR_TRACE_QUEUE_SEGMENT_H
#define WEIR_TRACE_QUEUE_SEGMENT_H

#include "../packet.h"

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10

static __always_inline bool is_syn(__u8 flags)
{
	return (flags & (SYN | ACK | RST | FIN)) == SYN;
}

/* Or any other that is not an answer to a SYN. */
static __always_inline bool is_last_ack(__u8 flags)
{
	return (flags & (SYN | ACK | RST)) == ACK;
}

static __always_inline bool read_ends4(struct __sk_buff *skb, struct weir_ends *e, __u32 *at)
{
	struct ipv4_header ip;

	if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
		return false;
	map_address(e->remote, ip.source);
	map_address(e->local, ip.destination);
	e->family = 4;
	*at = 4 * (ip.version_ihl & 15);
	return true;
}

static __always_inline bool read_ends6(struct __sk_buff *skb, struct weir_ends *e, __u32 *at)
{
	struct ipv6_extension extension;
	struct ipv6_header ip;

	if (bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
		return false;
	copy_address(e->remote, &ip.source);
	copy_address(e->local, &ip.destination);
	e->family = 6;
	*at = sizeof(ip);
	for (int i = 0; i < IPV6_EXTENSIONS && is_extension(ip.next); i++) {
		if (bpf_skb_load_bytes(skb, *at, &extension, sizeof(extension)))
			return false;
		*at += ip.next == IPPROTO_FRAGMENT ? 8 : 8 * (extension.length + 1);
		ip.next = extension.next;
	}
	return ip.next == IPPROTO_TCP;
}

/* But for the namespace. */
static __always_inline bool read_segment(struct __sk_buff *skb, struct weir_ends *e, __u8 *flags)
{
	struct tcp_header tcp;
	__u32 at;
	bool ok;

	ok = skb->protocol == bpf_htons(ETH_P_IP) ? read_ends4(skb, e, &at)
						  : read_ends6(skb, e, &at);
	if (!ok || bpf_skb_load_bytes(skb, at, &tcp, sizeof(tcp)))
		return false;
	e->remote_port = bpf_ntohs(tcp.source);
	e->local_port = bpf_ntohs(tcp.destination);
	*flags = tcp.flags;
	return true;
}

#endif
