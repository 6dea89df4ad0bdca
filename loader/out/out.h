/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The one way to standard output. A command builds a JSON document and hands it over with the
 * tables that show it; -j decides which of the two the user gets.
 *
 *	return out_show(document, &table, 1);
 *
 * A command that goes on for ever shows one row at a time:
 *
 *	struct out_stream stream = {.table = &table};
 *
 *	while (!stopped) {
 *		...
 *		err = out_row(&stream, row);
 *		if (err)
 *			return err < 0 ? err : 0;	// OUT_CLOSED: the reader has left
 *	}
 *
 * Everything is flushed before these functions return. A write that fails is a fail(), so the
 * exit status says that the output is incomplete; only a stream may lose its reader in peace
 * (`weir stats -i 1 | head`).
 */
#ifndef WEIR_OUT_H
#define WEIR_OUT_H

#include <jansson.h>

#include "table.h"

#define OUT_CLOSED 1

/* Shows the document, which it releases; NULL means that memory ran out. Returns 0 or < 0. */
int out_show(json_t *document, const struct table *tables, int count);

struct out_stream {
	const struct table *table; /* .rows is not used: each row comes by itself */
	int widths[TABLE_COLUMNS];
	int lines; /* since the titles were last shown */
};

/* Shows one object, which it releases: a line of JSON, or a line (with a group, lines) of the
 * table. Titles come first and again with each new screen. Returns 0, OUT_CLOSED or < 0. */
int out_row(struct out_stream *stream, json_t *row);

/* On a terminal, the titles before there is a row: one sees that it waits. Returns 0 or < 0. */
int out_titles(struct out_stream *stream);

/* A line of text for people, for commands that do something: "eth0: attached ...". With -j the
 * same is `out_show` of a document without tables. Returns 0 or < 0. */
int out_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A JSON string of any bytes: those that are not UTF-8 become '?'. Device names may be such. */
json_t *out_string(const char *text);
/* A JSON number; NaN is null: not known. */
json_t *out_real(double value);

#endif
