/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Far ends that weir made poll. A veth takes XDP frames from others only while its far end polls
 * with NAPI, which the far end's GRO makes it do (Linux 5.13). Devices that rules or backends name
 * need not be attached, so what was switched on is remembered in the instance's pin `polling`, before
 * it is done, and switched off again when nothing transmits there any more: neither this instance
 * nor another one of the namespace, which remembers it as well.
 */
#ifndef WEIR_POLLING_H
#define WEIR_POLLING_H

#include <stdbool.h>
#include <stddef.h>

#include "loader/host/ifindexes.h"
#include "loader/host/instance.h"
#include "loader/host/netdev.h"

/* Makes the far end poll, if it does not and that can be done; `dev` is as it is afterwards. What
 * takes frames already, or is no veth, stays as it is; what was of no use is left alone for some
 * seconds. */
void polling_begin(const struct instance *in, struct netdev *dev);
/* The same, and whether the device takes XDP frames then. */
bool polling_begin_at(const struct instance *in, __u32 ifindex);
/* Whether that would make it take them. */
bool polling_would_do(const struct netdev *dev);

/* Again, where somebody ended it. */
void polling_mend(const struct instance *in);

/* Whether there is any, of this instance or another of its namespace. */
bool polling_any(const struct instance *in);

/* Remembers what other instances have begun at these devices. */
void polling_share(const struct instance *in, const struct ifindexes *devices);
/* Ends it for all devices but these. What is out of reach is remembered for the next time. */
void polling_keep(const struct instance *in, const struct ifindexes *devices);
/* Ends it for all, and says by notice() where that cannot be done. */
void polling_end(const struct instance *in);

/* Devices whose far ends weir made poll, in an array the caller frees. Returns their number. */
size_t polling_list(const struct instance *in, struct netdev **list);

#endif
