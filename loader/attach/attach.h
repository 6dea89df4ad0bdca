/* SPDX-License-Identifier: GPL-2.0 */
/* Attaching with all that hangs on it: devices, the rules they obey, what is left of devices that
 * are gone. */
#ifndef WEIR_ATTACH_H
#define WEIR_ATTACH_H

#include "device.h"

int attach(struct instance *in, const char *name, const struct attach_request *request,
	   bool *updated);

/* Opens the instance for a change and first clears away what crashes and vanished devices have
 * left. Every command that changes something begins with this. */
int attach_open(struct instance *in);

#endif
