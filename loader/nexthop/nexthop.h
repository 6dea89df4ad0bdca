/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The way to a backend, from the kernel's routes and neighbours, in the network namespace we are
 * in. The neighbour is made a managed one (NTF_EXT_MANAGED, Linux 5.16), so that the kernel itself
 * keeps it resolved although it does not see the traffic.
 */
#ifndef WEIR_NEXTHOP_LOADER_H
#define WEIR_NEXTHOP_LOADER_H

#include "loader/service/service.h"

struct next_hop {
	bool local;	/* the address is this host's own */
	bool reachable; /* the Ethernet addresses are known */
	bool via_tc;	/* the device takes no XDP frames now */
	__u32 ifindex;	/* 0: no route */
	__u32 mtu;	/* of the route, bytes of layer 3 */
	__u8 dest_mac[6], source_mac[6];
	struct address gateway; /* whose Ethernet address it is: the backend itself when on-link */
	struct address source;	/* the address this host would use; family 0: it has none */
	char device[16];
};

/* Looks the way up and, if the neighbour is not known, asks for it and waits a little (at most
 * `wait_ms`; 0 asks and does not wait, so that many can be asked for at once). 0 also without a
 * route or neighbour: the fields tell. < 0 with a fail() line, where nothing could be found out or
 * the way is one that weir cannot send by. */
int next_hop_find(const struct address *to, unsigned int wait_ms, struct next_hop *hop);

/* Many backends are behind one device, which takes several questions to know: until it is
 * switched off again, a device is asked for once in a row. */
void next_hops_in_one_go(bool on);

/* Has the kernel keep this neighbour resolved from now on; and lets it go. Entries that are
 * permanent or managed by others are left alone, and release() knows weir's own by their protocol
 * number. Negative errno without a fail() line: callers may go on without. */
int next_hop_keep(const struct next_hop *hop);
int next_hop_release(const struct next_hop *hop);

/* Whether it is an address of this host (any device, also lo). */
bool address_is_local(const struct address *address);

#endif
