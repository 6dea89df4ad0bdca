/* SPDX-License-Identifier: GPL-2.0 */
/* Finds the TCP header, behind whatever there may be in front of it. */
#ifndef WEIR_LOCATE_H
#define WEIR_LOCATE_H

#include "segment.h"

#define HEADERS_MAX 256 /* pulled when headers lie outside the linear part */

/* Where the TCP header is: family, offsets, and bytes from the TCP header on. 0: nowhere. */
#define FOUND(family, l3, l4, length) \
	((family) | (__u64)(l3) << 8 | (__u64)(l4) << 16 | (__u64)(length) << 32)
#define FOUND_FAMILY(found) ((found)&0xff)
#define FOUND_L3(found)	    ((found) >> 8 & WEIR_L3_MASK)
#define FOUND_L4(found)	    ((found) >> 16 & WEIR_L4_MASK)
#define FOUND_LENGTH(found) ((__u32)((found) >> 32))

/* Returns false when the headers may go on outside the linear part. */
static __always_inline bool locate(struct __sk_buff *skb, __u64 *found)
{
	struct cursor cursor = {.at = (void *)(long)skb->data,
				.end = (void *)(long)skb->data_end,
				.length = skb->len};
	struct packet p = {};
	__u32 class = parse_packet(&p, &cursor, skb, config.ethernet, DETAILS_ALL);

	if (class == WEIR_MALFORMED)
		return false;
	if (class != WEIR_TCP4 && class != WEIR_TCP6)
		return true;
	if (p.flags & WEIR_P_FIRST) /* more follows, nobody knows how much */
		p.l4_len = 0xffff;
	*found = FOUND(p.family, p.l3, p.l4, p.l4_len);
	return header_at(skb, p.l4, sizeof(struct tcp_header));
}

/* Headers outside the linear part are pulled in, once. A global function: verified once. */
__noinline __u64 weir_locate(struct __sk_buff *skb)
{
	__u64 found = 0;

	for (int tries = 0; tries < 2; tries++) {
		__u32 length = skb->len < HEADERS_MAX ? skb->len : HEADERS_MAX;

		if (locate(skb, &found) || skb->data_end - skb->data >= skb->len ||
		    bpf_skb_pull_data(skb, length))
			break;
	}
	return found;
}

/* Spares the SYN and its answers the parser, if their headers are as plain as nearly all. */
static __always_inline __u64 locate_plain(struct __sk_buff *skb)
{
	const void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const struct ethhdr *eth = data;
	const struct iphdr *ip = (void *)(eth + 1);
	__u32 total;

	if (!config.ethernet || (void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) ||
	    ip->protocol != IPPROTO_TCP || !is_plain4(ip))
		return 0;
	total = bpf_ntohs(ip->tot_len);
	if (total < sizeof(*ip) + sizeof(struct tcp_header) || total > skb->len - ETH_HLEN)
		return 0;
	return FOUND(4, ETH_HLEN, ETH_HLEN + sizeof(*ip), total - sizeof(*ip));
}

/* Returns false when it is no TCP segment, or not a whole one. */
static __always_inline bool locate_segment(struct __sk_buff *skb, struct segment *s, bool ingress)
{
	__u64 found = locate_plain(skb);
	const struct tcp_header *tcp;

	if (!found)
		found = weir_locate(skb);
	tcp = header_at(skb, FOUND_L4(found), sizeof(*tcp));
	if (!found || !tcp || !fill_transport(s, tcp, FOUND_LENGTH(found), ingress))
		return false;
	if (FOUND_FAMILY(found) == 4) {
		const struct iphdr *ip = header_at(skb, FOUND_L3(found), sizeof(*ip));

		if (ip)
			fill_addresses4(s, ip, ingress);
		return ip;
	}
	const struct ipv6hdr *ip = header_at(skb, FOUND_L3(found), sizeof(*ip));

	if (ip)
		fill_addresses6(s, ip, ingress);
	return ip;
}

#endif
