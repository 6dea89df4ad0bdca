/* SPDX-License-Identifier: GPL-2.0 */
/* Services and backends as a document: what they are, have done, and how fast from reading to
 * reading. */
#ifndef WEIR_SERVICE_VIEW_H
#define WEIR_SERVICE_VIEW_H

#include <jansson.h>

#include "services.h"

struct service_view {
	const struct service *only; /* by name; NULL: all */
	json_t *services;	    /* array; with rates from the second reading on */
	/* The last reading. */
	struct balance balance;
	struct service_stats *service_stats;
	struct backend_stats *backend_stats;
	double seconds; /* CLOCK_MONOTONIC; 0: none yet */
};

/* Opens the instance for the time of the reading. 0, or < 0 with a fail() line; -ENOENT when there
 * is no service `only`. */
int service_view_read(struct service_view *view);
void service_view_free(struct service_view *view);

/* The configuration alone, without what is counted. */
json_t *service_json(const struct service *service);
json_t *backend_json(const struct backend *backend);

#endif
