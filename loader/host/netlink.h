/* SPDX-License-Identifier: GPL-2.0 */
/* One question to the kernel over netlink, and all its answers. */
#ifndef WEIR_NETLINK_H
#define WEIR_NETLINK_H

#include <libmnl/libmnl.h>

/* Sends the request and hands each answer to callback (NULL: there is none to expect), until the
 * kernel says it is done: a single question needs NLM_F_ACK. Negative errno, also the kernel's. */
int netlink_ask(int bus, struct nlmsghdr *request, mnl_cb_t callback, void *data);

#endif
