/* SPDX-License-Identifier: GPL-2.0 */
/* The programs of a device: put on, exchanged, brought to what is needed. */
#ifndef WEIR_DEVICE_ATTACH_H
#define WEIR_DEVICE_ATTACH_H

#include "attachment.h"

struct attach_request {
	enum attach_mode mode;
	bool exclusive; /* own link even where the dispatcher would work */
	bool no_xdp;
	bool no_tc;
	bool decap; /* unpack tunnels; not asked for again, it stays as it is */
};

/*
 * Attaches, or updates what is attached to this build, in one step per program and with all maps
 * kept. A failed attach leaves the device as it was. `*updated` tells which of the two it was.
 * The caller holds the instance for a change.
 */
struct needs;
int device_attach(struct instance *in, const char *name, const struct attach_request *request,
		  const struct needs *needs, bool *updated);

/* Brings every device's programs to the table and switches which the rules and services need. */
int devices_reconcile(struct instance *in, const struct needs *needs);

#endif
