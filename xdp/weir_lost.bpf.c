// SPDX-License-Identifier: GPL-2.0
/*
 * Counts the frames of one device that were redirected and then lost: the kernel hands them to
 * the target's driver after the XDP program has returned, so no verdict can tell. Works into the
 * device's own counters.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "abi.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	int ifindex;
	possible_net_t nd_net;
};

#pragma clang attribute pop

const volatile struct weir_lost_config config;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_device_counters);
} counters SEC(".maps");

static __always_inline void lose(const struct net_device *dev, __u32 frames)
{
	__u32 key = 0;
	struct weir_device_counters *c;

	if (dev->ifindex != (int)config.ifindex || dev->nd_net.net->ns.inum != config.netns)
		return;
	c = bpf_map_lookup_elem(&counters, &key);
	if (c)
		c->reason[WEIR_BY_LOST].packets += frames;
}

/* Handlers take arguments by place, so some go unused. */
#pragma clang diagnostic ignored "-Wunused-parameter"

SEC("tp_btf/xdp_devmap_xmit")
int BPF_PROG(weir_lost_in_driver, const struct net_device *from, const struct net_device *to,
	     int sent, int drops, int err)
{
	if (drops > 0)
		lose(from, drops);
	return 0;
}

SEC("tp_btf/xdp_redirect_err")
int BPF_PROG(weir_lost_before, const struct net_device *dev)
{
	lose(dev, 1);
	return 0;
}

char _license[] SEC("license") = "GPL";
