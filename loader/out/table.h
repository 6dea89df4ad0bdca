/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A table is a view of a JSON document: which array holds the rows, which fields are the columns.
 * It knows nothing that the document does not say, so that -j always shows at least as much.
 *
 * static const struct column columns[] = { COLUMN("device", "Device", UNIT_TEXT),
 * COLUMN("drop.packets_per_second", "Drop", UNIT_PPS, .mark = MARK_ALARM), COLUMN("reasons.reason",
 * "Reason", UNIT_TEXT), COLUMN("reasons.packets", "Packets", UNIT_COUNT), }; static const struct
 * table table = { .rows = "devices", .group = "reasons", COLUMNS(columns), .empty = "nothing
 * attached", };
 *
 * A path names a field, with dots into nested objects. With `group`, each row holds an array of
 * that name; paths that begin with it lead into its elements, which get a line each, and the row's
 * own cells are shown on the first of them.
 */
#ifndef WEIR_OUT_TABLE_H
#define WEIR_OUT_TABLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "units.h"

enum mark {
	MARK_NONE,
	MARK_ALARM, /* red unless 0 */
	MARK_LEVEL, /* "ok" green, "warn" yellow, "fail" red */
	MARK_FAINT,
};

enum align {
	ALIGN_AUTO, /* text to the left, quantities to the right */
	ALIGN_LEFT,
	ALIGN_RIGHT,
};

struct column {
	const char *path;
	const char *title;
	enum unit unit;
	enum mark mark;
	enum align align;
	int width; /* the least; streams need it because they cannot look ahead */
};

struct table {
	const char *rows;  /* path of the array of rows; NULL: the document is the array */
	const char *group; /* field of a row that is an array of sub-rows, or NULL */
	const char *note;  /* field of a row shown below it on a line of its own, never cut */
	const char *list; /* field of a row that is an array of texts, shown below it a line each */
	const char *heading; /* line above the titles, or NULL */
	const char *empty;   /* line instead of a table without rows; NULL: nothing at all */
	int most;	     /* rows shown; a line says how many more there are; 0: all */
	const struct column *columns;
	int count;
};

#define TABLE_COLUMNS 24 /* no table has more */
#define COLUMN(path_, title_, unit_, ...)                                    \
	{                                                                    \
		.path = path_, .title = title_, .unit = unit_, ##__VA_ARGS__ \
	}
#define COLUMNS(array) .columns = (array), .count = sizeof(array) / sizeof((array)[0])

struct style {
	int width; /* cut lines here; 0: never */
	bool fold; /* columns that do not fit go on in lines below, and only what is wider is cut */
	bool colour;
};

/* Writes the table of document to f. `widths` (TABLE_COLUMNS, zeroed at first) carries the widths
 * from one call to the next, where a stream wants its columns to stay; or NULL. */
void table_print(FILE *f, const struct table *table, const json_t *document, struct style style,
		 int *widths, bool titles);

/* Only the titles, for a stream whose first row is yet to come. */
void table_titles(FILE *f, const struct table *table, struct style style, int *widths);

/* Whether table_print would write anything: there are rows, or a line that says there are none. */
bool table_shows(const struct table *table, const json_t *document);

/* The value at a dotted path, or NULL. */
json_t *table_lookup(const json_t *object, const char *path);

#endif
