/* SPDX-License-Identifier: GPL-2.0 */
/* The terminal as `top` uses it: whole, and given back as it was however the command ends. */
#ifndef WEIR_CMD_TOP_SCREEN_H
#define WEIR_CMD_TOP_SCREEN_H

#include <jansson.h>
#include <stdbool.h>
#include <time.h>

#include "loader/out/table.h"

enum press {
	PRESS_NONE, /* the time is up */
	PRESS_QUIT, /* q, SIGINT, SIGTERM, or the terminal is gone */
	PRESS_PAUSE,
	PRESS_FASTER,
	PRESS_SLOWER,
	PRESS_NEXT,
	PRESS_PREVIOUS,
	PRESS_REDRAW, /* the size has changed */
};

int screen_open(void); /* 0, or < 0 with a fail() line */
void screen_close(void);

/* Waits for a key until CLOCK_MONOTONIC reaches `until`. */
enum press screen_key(const struct timespec *until);

int screen_width(void);
int screen_height(void);
void screen_begin(void); /* an empty picture */
void screen_end(void);	 /* shows it */

/* One line of text, clipped to the width of the screen. */
void screen_text(int y, int x, const char *text, bool reverse);

/* A table from line y on, at most `room` lines of it, no wider than `width`; row `selected` is
 * shown in reverse (-1: none). Returns the number of lines. */
int screen_table(int y, int x, int width, int room, const struct table *table,
		 const json_t *document, int selected);

/* A row of bars, one for each value, as high as its part of the greatest; in ASCII or UTF-8. */
json_t *screen_bars(const double *values, int count);

#endif
