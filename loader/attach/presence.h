/* SPDX-License-Identifier: GPL-2.0 */
/* Whether what was attached is on its device. An ifindex does not tell: another device has it after
 * the first one is gone, and the namespace after the next has its inode. */
#ifndef WEIR_PRESENCE_H
#define WEIR_PRESENCE_H

#include "attachment.h"
#include "loader/host/netdev.h"

/* The device is there with at least one program of this attachment, whose pins are under `pinned`.
 * Fills `dev`. */
bool presence_of_any(const struct instance *in, const char *pinned, const struct attachment *a,
		     struct netdev *dev);
/* Every program of this attachment is on the device. */
bool presence_of_all(const struct instance *in, const char *pinned, const struct attachment *a);

/* Removes pins of links that were taken off the device, which no program can be put into again. */
int presence_forget_severed(const struct instance *in, const char *pinned,
			    const struct attachment *a);

#endif
