/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Quantities as people read them: three significant digits, decimal prefixes, never 0 for a
 * value that is not 0. The same value always gives the same text.
 */
#ifndef WEIR_OUT_UNITS_H
#define WEIR_OUT_UNITS_H

#include <stdbool.h>

enum unit {
	UNIT_TEXT,    /* as it is */
	UNIT_CLOCK,   /* from a time as JSON has it: 17:03:02.123456, local */
	UNIT_NUMBER,  /* all digits: ports, identifiers */
	UNIT_COUNT,   /* 99999, 12.3M */
	UNIT_BYTES,   /* 812 B, 1.20 GB */
	UNIT_PPS,     /* 0.5 pps, 1.24 Mpps */
	UNIT_BITRATE, /* from bits per second: 9.41 Gbit/s */
	UNIT_US,      /* from microseconds: 87 µs, 1.24 ms, 3.02 s */
	UNIT_SECONDS, /* 12 s, 5 min 03 s, 2 h 05 min, 3 d 04 h */
	UNIT_PERCENT, /* from 0..100: 12.3% */
};

#define UNIT_ROOM 32

/* Writes the text of value into out and returns out. Negative values and NaN give "-". */
const char *unit_format(char out[UNIT_ROOM], enum unit unit, double value);

/* Whether the terminal's character set is UTF-8; if not, "µs" is written "us" and so on. */
bool unit_utf8(void);

#endif
