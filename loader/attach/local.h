/* SPDX-License-Identifier: GPL-2.0 */
/* Tunnels end at the addresses of this host, as does what is in them: the XDP program of a
 * device with --decap knows them by its pinned map `local_addresses`. */
#ifndef WEIR_LOCAL_H
#define WEIR_LOCAL_H

#include "loader/host/instance.h"

/* Writes the addresses as they are now for every device that unpacks tunnels. Every command that
 * changes something and `weir run` do it, as addresses come and go. */
int local_settle(const struct instance *in);

#endif
