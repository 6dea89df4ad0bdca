// SPDX-License-Identifier: GPL-2.0
#include "sock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void refuse(const char *option, const char *why)
{
	fprintf(stderr, "sock: %s: %s; see sock help\n", option, why);
	exit(2);
}

static long number_of(const struct option_line *line, const char *text)
{
	static const char units[] = "KMG";
	const char *unit;
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (end == text || errno)
		refuse(line->name, "not a number");
	unit = *end ? strchr(units, *end) : NULL;
	if (unit) {
		n <<= 10 * (unit - units + 1);
		end++;
	}
	if (*end || n < line->least || n > line->most)
		refuse(line->name, "no such number here");
	return n;
}

static long word_of(const struct option_line *line, const char *text)
{
	for (long i = 0; line->words[i]; i++)
		if (!strcmp(line->words[i], text))
			return i;
	refuse(line->name, "no such word here");
}

static const struct option_line *line_named(const struct option_line *lines, const char *name)
{
	for (; lines && lines->name; lines++)
		if (!strcmp(lines->name, name))
			return lines;
	return NULL;
}

void parse_options(int argc, char **argv, const struct option_line *own,
		   const struct option_line *more)
{
	for (int i = 1; i < argc; i++) {
		const struct option_line *line = line_named(own, argv[i]);

		if (!line)
			line = line_named(more, argv[i]);
		if (!line)
			line = line_named(net_options, argv[i]);
		if (!line)
			refuse(argv[i], "no such option");
		if (line->kind == OPTION_FLAG) {
			*(bool *)line->to = true;
			continue;
		}
		if (++i == argc)
			refuse(line->name, "needs a value");
		if (line->kind == OPTION_NUMBER)
			*(long *)line->to = number_of(line, argv[i]);
		else if (line->kind == OPTION_WORD)
			*(long *)line->to = word_of(line, argv[i]);
		else
			*(const char **)line->to = argv[i];
	}
}

void show_options(const struct option_line *lines)
{
	for (; lines->name; lines++) {
		char left[96], value[64] = "";

		if (lines->kind == OPTION_NUMBER) {
			snprintf(value, sizeof(value), " N (%ld)", *(long *)lines->to);
		} else if (lines->kind == OPTION_TEXT) {
			snprintf(value, sizeof(value), " TEXT");
		} else if (lines->kind == OPTION_WORD) {
			size_t at = 0;

			for (long i = 0; lines->words[i] && at < sizeof(value); i++)
				at += snprintf(value + at, sizeof(value) - at, "%c%s",
					       i ? '|' : ' ', lines->words[i]);
		}
		snprintf(left, sizeof(left), "%s%s", lines->name, value);
		printf("    %-34s %s\n", left, lines->help);
	}
}
