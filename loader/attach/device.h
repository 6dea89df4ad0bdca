/* SPDX-License-Identifier: GPL-2.0 */
/* Attached devices, opened for reading. */
#ifndef WEIR_DEVICE_H
#define WEIR_DEVICE_H

#include <stddef.h>

#include "attachment.h"
#include "loader/host/ifindexes.h"
#include "loader/watch/handshakes.h"

struct device {
	char name[IFNAMSIZ];
	bool present; /* the device exists and carries what was attached */
	struct attachment attachment;
	int counters; /* map fds, -1 when not attached that way */
	struct handshake_maps handshakes;
};

/* Whole devices of the instance in order of name; the caller frees with devices_free(). */
int devices_open(const struct instance *in, struct device **list, size_t *count);
/* The same for a look at what there is: one that cannot be read is left out, and tell() is called with
 * the name it is pinned under, while failure() says why. */
int devices_look(const struct instance *in, struct device **list, size_t *count,
		 void (*tell)(const char *pinned, void *data), void *data);
/* Only the named one; -ENODEV and a fail() line when it is not attached. */
int device_open(const struct instance *in, const char *name, struct device **list);
void devices_free(struct device *list, size_t count);

/* Those that transmit by XDP where they can: they are in native mode. To be freed. */
void devices_transmitting(const struct instance *in, struct ifindexes *list);

#endif
