/* SPDX-License-Identifier: GPL-2.0 */
/* Transmits for XDP: towards devices that take no XDP frames, XDP leaves the target in front of
 * the frame (struct weir_meta) and passes it. */
#ifndef WEIR_REDIRECT_H
#define WEIR_REDIRECT_H

#include <linux/pkt_cls.h>

#include "../xdp/packet.h"
#include "endpoint.h"

/* The mark is wiped out: it stays with the packet, and its next device may be observed too. */
static __always_inline int obey_xdp(struct __sk_buff *skb)
{
	struct weir_meta *meta = (void *)(long)skb->data_meta;
	struct weir_tc_counters *counters;
	__u32 target;

	if ((void *)(meta + 1) > (void *)(long)skb->data || meta->magic != WEIR_META_MAGIC)
		return TC_ACT_UNSPEC;
	target = meta->ifindex;
	meta->magic = 0;
	counters = program_counters();
	if (counters)
		counters->redirected++;
	return bpf_redirect(target, 0);
}

#endif
