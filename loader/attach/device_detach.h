/* SPDX-License-Identifier: GPL-2.0 */
/* Devices that weir leaves, or that have left. */
#ifndef WEIR_DEVICE_DETACH_H
#define WEIR_DEVICE_DETACH_H

#include "loader/host/instance.h"

int device_detach(struct instance *in, const char *name);
/* Every device of the instance, whole, half-made or gone, and the instance's maps. What traces TCP is
 * of no device, and stays. */
int device_detach_all(struct instance *in);

/* Removes what is left of devices that are gone and of attaches that did not finish. */
int devices_reap(struct instance *in);

/* Programs, pins and what was switched for them, however little of it there is; `pinned` is the name
 * that the pins are under. */
int device_take_off(const struct instance *in, const char *pinned);

#endif
