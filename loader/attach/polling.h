/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Far ends that weir made poll. A veth takes XDP frames from others only while its far end polls
 * with NAPI, which the far end's GRO makes it do (Linux 5.13). Devices that rules or backends name
 * need not be attached, so what was switched on is remembered in the instance's pin `polling`, before
 * it is done, and switched off again when nothing transmits there any more.
 */
#ifndef WEIR_POLLING_H
#define WEIR_POLLING_H

#include <stdbool.h>
#include <stddef.h>

#include "loader/host/instance.h"
#include "loader/host/netdev.h"

/* Makes the far end poll, if it does not and that can be done; `dev` is as it is afterwards. What
 * takes frames already, or is no veth, stays as it is. */
void polling_begin(const struct instance *in, struct netdev *dev);

/* Again, where somebody ended it. */
void polling_mend(const struct instance *in);

/* Whether there is any. */
bool polling_any(const struct instance *in);

/* Ends it for all devices but these. */
void polling_keep(const struct instance *in, const __u32 *ifindex, size_t count);

/* Devices whose far ends weir made poll, in an array the caller frees. Returns their number. */
size_t polling_list(const struct instance *in, struct netdev **list);

#endif
