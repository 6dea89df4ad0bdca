// SPDX-License-Identifier: GPL-2.0
#include "units.h"

#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

bool unit_utf8(void)
{
	static int utf8 = -1;

	if (utf8 < 0) {
		setlocale(LC_CTYPE, "");
		utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
	}
	return utf8;
}

/* Digits below the first prefix: whole numbers, or one decimal for small fractions. */
static void format_small(char *out, double value, const char *suffix)
{
	if (value > 0 && value < 0.05)
		snprintf(out, UNIT_ROOM, "<0.1%s", suffix);
	else if (value >= 9.95 || fabs(value - round(value)) < 0.05)
		snprintf(out, UNIT_ROOM, "%.0f%s", value, suffix);
	else
		snprintf(out, UNIT_ROOM, "%.1f%s", value, suffix);
}

static int decimals(double value)
{
	return value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
}

static void format_scaled(char *out, double value, const char *gap, const char *suffix)
{
	static const char prefixes[] = "\0kMGTPE";
	unsigned int i = 0;

	/* What would round to 1000 takes the next prefix. */
	for (; value >= 999.5 && i < sizeof(prefixes) - 2; i++)
		value /= 1000;
	if (i)
		snprintf(out, UNIT_ROOM, "%.*f%s%c%s", decimals(value), value, gap, prefixes[i],
			 suffix);
	else {
		char end[16];

		snprintf(end, sizeof(end), "%s%s", *suffix ? gap : "", suffix);
		format_small(out, value, end);
	}
}

static void format_seconds(char *out, double value)
{
	unsigned long long s = (unsigned long long)value;

	if (s < 60)
		snprintf(out, UNIT_ROOM, "%llu s", s);
	else if (s < 3600)
		snprintf(out, UNIT_ROOM, "%llu min %02llu s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(out, UNIT_ROOM, "%llu h %02llu min", s / 3600, s / 60 % 60);
	else
		snprintf(out, UNIT_ROOM, "%llu d %02llu h", s / 86400, s / 3600 % 24);
}

static void format_us(char *out, double value)
{
	if (value < 999.5)
		format_small(out, value, unit_utf8() ? " µs" : " us");
	else if (value < 999.5e3)
		snprintf(out, UNIT_ROOM, "%.*f ms", decimals(value / 1e3), value / 1e3);
	else if (value < 999.5e6)
		snprintf(out, UNIT_ROOM, "%.*f s", decimals(value / 1e6), value / 1e6);
	else
		format_seconds(out, value / 1e6);
}

const char *unit_format(char out[UNIT_ROOM], enum unit unit, double value)
{
	if (!(value >= 0 && value <= 1.9e19)) {
		strcpy(out, "-");
		return out;
	}
	switch (unit) {
	case UNIT_TEXT:
	case UNIT_CLOCK: snprintf(out, UNIT_ROOM, "%.12g", value); break;
	case UNIT_NUMBER: snprintf(out, UNIT_ROOM, "%.0f", value); break;
	case UNIT_COUNT:
		if (value < 99999.5)
			format_small(out, value, "");
		else
			format_scaled(out, value, "", "");
		break;
	case UNIT_BYTES: format_scaled(out, value, " ", "B"); break;
	case UNIT_PPS: format_scaled(out, value, " ", "pps"); break;
	case UNIT_BITRATE: format_scaled(out, value, " ", "bit/s"); break;
	case UNIT_US: format_us(out, value); break;
	case UNIT_SECONDS: format_seconds(out, value); break;
	case UNIT_PERCENT: format_small(out, value, "%"); break;
	}
	return out;
}
