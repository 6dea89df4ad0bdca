// SPDX-License-Identifier: GPL-2.0
/*
 * The TC program: watches TCP handshakes, in both directions, and transmits what XDP could not.
 * It never decides about a packet that is not marked by XDP: the next program always runs.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"

const volatile struct weir_tc_config config = {};

#define PACKET_CONTEXT __sk_buff

#include "../xdp/packet.h"
#include "handshake.h"
#include "redirect.h"
#include "segment.h"

#define HEADERS_MAX 256 /* pulled when headers lie outside the linear part */

/*
 * A segment that cannot belong to a handshake leaves here: folded flags of which no stack makes
 * anything (SYN with RST or FIN), or neither SYN, RST nor ACK. Nearly all others are ordinary
 * data and ACKs, of which one load of tags says that no handshake waits for them.
 */
static __always_inline bool concerns_handshake(const struct weir_handshakes *t, __u8 flags,
					       __u64 fingerprint)
{
	if ((flags & (TCP_SYN | TCP_RST | TCP_ACK)) == TCP_SYN)
		return !(flags & TCP_FIN);
	if (!(flags & (TCP_RST | TCP_ACK)) || (flags & TCP_SYN && flags & (TCP_RST | TCP_FIN)))
		return false;
	return inflight_maybe(t, fingerprint);
}

static __always_inline __u64 seed_for(struct weir_handshakes *t, __u8 flags)
{
	return flags & TCP_SYN ? inflight_seed(t) : t->seed;
}

static __always_inline bool is_whole(const struct packet *p, const struct tcp_header *tcp)
{
	__u32 header = (tcp->offset >> 4) * 4;

	return header >= sizeof(*tcp) && (header <= p->l4_len || p->flags & WEIR_P_FIRST);
}

/* Returns false when the headers may go on outside the linear part. */
static __always_inline bool observe(struct __sk_buff *skb, bool ingress)
{
	struct cursor cursor = {.at = (void *)(long)skb->data,
				.end = (void *)(long)skb->data_end,
				.length = skb->len};
	struct weir_handshakes *t = inflight_table();
	struct packet packet = {};
	struct segment segment;
	struct tcp_header *tcp;
	__u64 fingerprint;

	parse_packet(&packet, &cursor, skb, config.ethernet);
	if (packet.class == WEIR_MALFORMED)
		return false;
	if (!t || (packet.class != WEIR_TCP4 && packet.class != WEIR_TCP6))
		return true;
	tcp = header_at(skb, packet.l4, sizeof(*tcp));
	if (!tcp)
		return false;
	if (!is_whole(&packet, tcp))
		return true;
	if (packet.class == WEIR_TCP4) {
		struct iphdr *ip = header_at(skb, packet.l3, sizeof(*ip));

		if (!ip)
			return false;
		fingerprint = fingerprint4(seed_for(t, tcp->flags), ip, packet.sport, packet.dport,
					   ingress);
		if (!concerns_handshake(t, tcp->flags, fingerprint))
			return true;
		fill_segment4(&segment, &packet, ip, tcp, ingress);
	} else {
		struct ipv6hdr *ip = header_at(skb, packet.l3, sizeof(*ip));

		if (!ip)
			return false;
		fingerprint = fingerprint6(seed_for(t, tcp->flags), ip, packet.sport, packet.dport,
					   ingress);
		if (!concerns_handshake(t, tcp->flags, fingerprint))
			return true;
		fill_segment6(&segment, &packet, ip, tcp, ingress);
	}
	weir_handshake(skb, &segment, fingerprint);
	return true;
}

/* Headers outside the linear part are pulled in, once. */
static __always_inline void observe_all(struct __sk_buff *skb, bool ingress)
{
	for (int tries = 0; tries < 2; tries++) {
		__u32 length = skb->len < HEADERS_MAX ? skb->len : HEADERS_MAX;

		if (observe(skb, ingress) || skb->data_end - skb->data >= skb->len ||
		    bpf_skb_pull_data(skb, length))
			return;
	}
}

SEC("tc")
int weir_ingress(struct __sk_buff *skb)
{
	if (config.redirects) {
		int action = obey_xdp(skb);

		if (action != TC_ACT_UNSPEC)
			return action;
	}
	if (config.handshakes)
		observe_all(skb, true);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int weir_egress(struct __sk_buff *skb)
{
	if (config.handshakes)
		observe_all(skb, false);
	return TC_ACT_UNSPEC;
}

char _license[] SEC("license") = "GPL";
