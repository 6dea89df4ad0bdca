/* SPDX-License-Identifier: GPL-2.0 */
/* What `stats` and `drop watch` have in common: [DEV] [-i SEC] [-c N] and the loop behind it. */
#ifndef WEIR_CMD_PACE_H
#define WEIR_CMD_PACE_H

#include "command.h"
#include "loader/out/out.h"
#include "loader/base/ticker.h"
#include "loader/watch/tracker.h"

struct pace {
	const char *device; /* NULL: all */
	double interval;    /* 0: not given */
	long count;	    /* 0: for ever */
};

int pace_parse(struct pace *pace, struct args *args);

/* Reads the counters every interval and calls show for each device that was there twice, until
 * the count is reached, the user interrupts, the reader leaves or the last device is gone. */
int pace_run(const struct pace *pace, struct ticker *ticker, struct tracker *tracker,
	     struct out_stream *stream,
	     int (*show)(struct out_stream *stream, const struct tracked *item));

/* Reads the counters twice, an interval apart, so that there are rates. 0, PACE_ENDED when the user
 * interrupts, or < 0. */
#define PACE_ENDED 1
int pace_sample(struct tracker *tracker, struct ticker *ticker);

/* The row, which it takes over, behind "time" (UTC) and "seconds", the interval's length. */
json_t *pace_stamp(json_t *row, double seconds);

#endif
