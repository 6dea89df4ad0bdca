/* SPDX-License-Identifier: GPL-2.0 */
/* The far end of a veth, which may be in another network namespace. */
#ifndef WEIR_FAR_END_H
#define WEIR_FAR_END_H

#include "netdev.h"

/* Calls act() with the name the far end has, in its namespace, in a process of its own; a
 * namespace is found while it has a name below /run/netns or a process in it, one that is new some
 * seconds later. Returns what act() does, -125 to 127, or -ENOENT when there is no far end or it is
 * not found. */
int far_end_call(const struct netdev *dev, int (*act)(const char *name, unsigned int argument),
		 unsigned int argument);

#endif
