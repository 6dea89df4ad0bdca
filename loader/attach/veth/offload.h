/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Offloads that hand over other frames than those on the wire.
 *
 * VLAN tags that lie beside a frame: XDP does not see them and transmits the frame without. A NIC
 * puts them there when it receives (rx-vlan-hw-parse); on veth the far end leaves them there when
 * it sends (tx-vlan-hw-insert), whatever the receiving end has been told.
 *
 * Packets that are larger than the MTU: merged on receipt (GRO), or on veth not yet segmented by
 * the sender. Generic XDP sees them so, and no tunnel takes them.
 *
 * And one that a veth needs at its far end to take XDP frames: while that merges packets, it polls.
 */
#ifndef WEIR_OFFLOAD_H
#define WEIR_OFFLOAD_H

#include "loader/host/netdev.h"

/* Which offloads put tags there now, one bit each; -ENOENT: a far end that is not found. */
int offload_tags(const struct netdev *dev);
/* Switches these off, or on again. Negative errno without a fail() line when one of them stays. */
int offload_switch_tags(const struct netdev *dev, unsigned int offloads, bool on);
/* What is to be said of a device that has some, or may have. */
const char *offload_tags_text(const struct netdev *dev);

/* The same of large packets. */
int offload_large(const struct netdev *dev);
int offload_switch_large(const struct netdev *dev, unsigned int offloads, bool on);
bool offload_large_far(unsigned int offloads); /* some are the far end's */
/* Native XDP on a veth takes segmentation offload from the far end: whether that wants it, or is not
 * found. */
bool offload_is_taken_from_far_end(const struct netdev *dev);
/* Whether large packets come from further away than we can switch them off: not from a NIC or
 * veth. */
bool offload_large_elsewhere(const struct netdev *dev);

/* By what name ethtool knows the offload of a bit; NULL: no such bit. `*far`: it is the far end's. */
const char *offload_tags_name(const struct netdev *dev, int bit, bool *far);
const char *offload_large_name(int bit, bool *far);

#define OFFLOAD_POLLS "rx-gro"

#define FAR_END_MERGES 1 /* packets, and polls therefore while it is up */
#define FAR_END_UP     2

/* What the far end of a veth does, as these bits; -ENOENT: it is not found. */
int offload_far_end(const struct netdev *dev);
int offload_switch_polls(const struct netdev *dev, bool on);

#endif
