/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Follows the counters of an instance's devices from reading to reading, while devices are
 * attached, detached, attached anew and disappear.
 */
#ifndef WEIR_TRACKER_H
#define WEIR_TRACKER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "counters.h"
#include "loader/attach/device.h"

struct tracked {
	char name[IFNAMSIZ];
	struct device *device; /* opened; NULL when gone */
	bool gone;	       /* since the last reading; forgotten by the next */
	__u64 since_ns;	       /* of the attachment that was read */
	bool rated;	       /* there was an earlier reading: delta is valid */
	struct counters_sample now;
	struct counters_sample delta; /* since the last reading */
};

struct tracker {
	char instance[64];
	const char *only; /* name of the one device to follow; NULL: all */
	struct tracked *items;
	size_t count; /* with those that are gone */
	size_t alive;
	struct device *devices;
	size_t device_count;
	bool begun;
};

/* Reads once more. 0, or < 0 with a fail() line; the first reading also fails when the named
 * device is not attached, later it is just gone. */
int tracker_read(struct tracker *tracker);
void tracker_free(struct tracker *tracker);

/* {"device", "ifindex", "mode", "attached_seconds"} of one that is not gone... */
json_t *tracked_json(const struct tracked *item);
/* ...and the same with what counters_json() says of it. */
json_t *tracked_stats_json(const struct tracked *item);

#endif
