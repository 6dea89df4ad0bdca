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
#include "locate.h"
#include "ordinary.h"
#include "redirect.h"
#include "segment.h"

/* A global function: verified once, and it does not weigh on the ordinary packet's registers. A
 * call costs 9 ns where returns are protected (SRSO), so there is only this one. */
__noinline int weir_observe(struct __sk_buff *skb, bool ingress)
{
	struct segment segment;

	if (locate_segment(skb, &segment, ingress))
		handshake(skb, &segment);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int weir_ingress(struct __sk_buff *skb)
{
	if (config.redirects && is_marked(skb))
		return weir_obey_mark(skb);
	if (!config.handshakes || is_ordinary(skb, true))
		return TC_ACT_UNSPEC;
	return weir_observe(skb, true);
}

SEC("tc")
int weir_egress(struct __sk_buff *skb)
{
	if (!config.handshakes || is_ordinary(skb, false))
		return TC_ACT_UNSPEC;
	return weir_observe(skb, false);
}

char _license[] SEC("license") = "GPL";
