/* SPDX-License-Identifier: GPL-2.0 */
/* Devices that cannot do what services need of them. */
#ifndef WEIR_SERVING_H
#define WEIR_SERVING_H

#include "attachment.h"
#include "loader/host/netdev.h"

/* Before a device is attached beside services. Says by notice() that a device without Ethernet
 * headers is not balanced; < 0 with a fail() line where packets would be lost. */
int serving_check_device(const struct netdev *dev, enum attach_mode mode, bool has_tc);

/* Before services or backends are added: the same of all devices that are attached. */
int serving_check(const struct instance *in);

/* Before backends are added that only TC can transmit to, by the device `egress`. */
int serving_check_egress(const struct instance *in, const char *egress);

/* Replies of a NAT backend come in by `egress`: says by notice() if nothing of weir is there to
 * translate them, although some device is attached. */
int serving_note_replies(const struct instance *in, const char *egress);

#endif
