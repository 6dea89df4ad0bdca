/* SPDX-License-Identifier: GPL-2.0 */
/* Network devices of the namespace we are in, as rtnetlink, ethtool and the netdev family tell. */
#ifndef WEIR_NETDEV_H
#define WEIR_NETDEV_H

#include <linux/types.h>
#include <net/if.h>
#include <stdbool.h>

struct netdev {
	__u32 ifindex;
	char name[IFNAMSIZ];
	char kind[16];	 /* rtnetlink kind: "veth", "bridge"...; "" for physical devices */
	char driver[32]; /* ethtool; "" when it does not say */
	__u32 mtu;	 /* bytes of layer 3 */
	__u16 type;	 /* ARPHRD_* */
	bool up;
	bool ethernet; /* frames begin with an Ethernet header */
	__u8 mac[6];
	__u32 peer;	/* veth: ifindex of the far end; 0: no peer. May be in another namespace */
	bool peer_here; /* the far end is in this namespace */
	__s32 peer_namespace; /* else: the number this namespace knows that one by */
	__u32 rx_queues, tx_queues;
	bool xdp_known;	 /* the kernel tells XDP features (>= 6.3); the next three are valid */
	bool xdp_native; /* NETDEV_XDP_ACT_BASIC */
	bool xdp_target; /* NETDEV_XDP_ACT_NDO_XMIT: other devices may redirect to it right now */
	bool xdp_frags;	 /* NETDEV_XDP_ACT_RX_SG */
	__u32 xdp_prog;	 /* id of the attached XDP program, 0: none */
	__u8 xdp_mode;	 /* XDP_ATTACHED_* (linux/if_link.h) */
};

/* A veth takes XDP frames from others only while its far end is up and polls with NAPI, that is
 * has an XDP program or GRO on: xdp_target changes whenever one of these does. */

/* By name (also altnames) or by ifindex. 0, or -ENODEV and other errors with a fail() line. */
int netdev_by_name(const char *name, struct netdev *dev);
int netdev_by_index(__u32 ifindex, struct netdev *dev);

/* How many tc filters the device's clsact qdisc carries, whoever made them; < 0: unknown. */
int netdev_clsact_filters(__u32 ifindex);

/* All devices, in order of ifindex, in an array the caller frees. Returns their number. */
int netdev_list(struct netdev **devs);

/* Enters the network namespace (a name as in `ip netns`, or a path); bpffs stays visible because
 * only the network namespace is changed. */
int netdev_enter(const char *netns);

/* Inode of the network namespace we are in; 0: unknown. */
__u32 netdev_namespace(void);

#endif
