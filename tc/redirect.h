/* SPDX-License-Identifier: GPL-2.0 */
/* Transmits for XDP: towards devices that take no XDP frames, XDP leaves the target in front of
 * the frame (struct weir_meta) and passes it. */
#ifndef WEIR_REDIRECT_H
#define WEIR_REDIRECT_H

#include <linux/pkt_cls.h>

#include "../xdp/packet.h"
#include "endpoint.h"

static __always_inline bool is_marked(const struct __sk_buff *skb)
{
	const struct weir_meta *meta = (void *)(long)skb->data_meta;

	return (void *)(meta + 1) <= (void *)(long)skb->data && meta->magic == WEIR_META_MAGIC &&
	       meta->netns == config.netns && meta->ifindex == config.ifindex;
}

__noinline int weir_obey_mark(struct __sk_buff *skb)
{
	const struct weir_meta *meta = (void *)(long)skb->data_meta;
	struct weir_tc_counters *counters = program_counters();

	if ((void *)(meta + 1) > (void *)(long)skb->data)
		return TC_ACT_UNSPEC;
	if (counters)
		counters->redirected++;
	return bpf_redirect(meta->target, 0);
}

#endif
