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

/* `rules`: rows as rule_rates_read() makes them. */
void top_draw(const struct tracker *tracker, const struct history *history, size_t histories,
	      json_t *rules, size_t selected, double interval, bool paused);

#endif
