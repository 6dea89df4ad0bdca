/* SPDX-License-Identifier: GPL-2.0 */
/* The picture of `top`. */
#ifndef WEIR_CMD_TOP_VIEW_H
#define WEIR_CMD_TOP_VIEW_H

#include "loader/watch/tracker.h"

#define HISTORY 40

struct history {
	char name[IFNAMSIZ];
	double rate[HISTORY]; /* packets per second, the latest last */
};

/* What the instance has besides devices: rows as rule_rates_read() and service_view_read() make
 * them. */
struct top_rows {
	json_t *rules;
	json_t *services;
};

void top_draw(const struct tracker *tracker, const struct history *history, size_t histories,
	      struct top_rows rows, size_t selected, double interval, bool paused);

#endif
