/* SPDX-License-Identifier: GPL-2.0 */
/* Offloads that are switched off while a device is attached, recorded in its attachment: see
 * offload.h. 0 or < 0 with a fail() line. */
#ifndef WEIR_HELD_OFFLOADS_H
#define WEIR_HELD_OFFLOADS_H

#include "loader/attach/attachment.h"
#include "loader/host/netdev.h"
#include "loader/attach/needs.h"

/* Before the XDP program comes: those that would keep from it what the needs ask it for. */
int offloads_hold(const struct instance *in, const struct netdev *dev, struct attachment *a,
		  enum attach_mode mode, const struct needs *needs);
/* When its mode is known: those that are in its way then, and no others. */
int offloads_settle(const struct instance *in, const struct netdev *dev, struct attachment *a,
		    enum attach_mode mode, const struct needs *needs);
/* Switches all on again. */
void offloads_restore(const struct attachment *a);

/* Whether native XDP, which the user has not named, keeps the far end of a veth from segmentation
 * offload: large transfers that come in cost two to three times as much then. */
bool offloads_are_taken(const struct netdev *dev, const struct attachment *a);

#endif
