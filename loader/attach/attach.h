/* SPDX-License-Identifier: GPL-2.0 */
/* Attaching with all that hangs on it: devices, the rules they obey, what is left of devices that
 * are gone. */
#ifndef WEIR_ATTACH_H
#define WEIR_ATTACH_H

#include "device_attach.h"
#include "loader/balance/publish.h"

int attach(struct instance *in, const char *name, const struct attach_request *request,
	   bool *updated);

/* Opens the instance for a change and first clears away what crashes and vanished devices have
 * left. Every command that changes something begins with this. */
int attach_open(struct instance *in);
/* And ends with this, which also undoes what far ends were switched to and nothing needs any more. */
void attach_close(struct instance *in);
/* What the agent does every second. */
int attach_tend(struct instance *in, struct tended *what);

#endif
