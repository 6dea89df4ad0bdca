/* SPDX-License-Identifier: GPL-2.0 */
/* What makes a row of a summary: the words, the fields of JSON rows, the columns. */
#ifndef WEIR_TRACE_BY_WORDS_H
#define WEIR_TRACE_BY_WORDS_H

#include <jansson.h>

#include "loader/out/table.h"
#include "run.h"
#include "trace/abi/by.h"

#define BY_WORDS   "peer,port,peer-port,netns"
#define BY_COLUMNS 4

/* "peer,port": 0 or -EINVAL with a misuse() line. */
int by_parse(struct weir_by *by, const char *text);
/* Of a run, also of one that is pinned: its constants begin with config and by. 0 or < 0 with a fail() line. */
int by_of(const struct trace_run *run, struct weir_by *by);

/* ["peer", "port"] */
json_t *by_json(__u32 what);
/* A row with the fields that make it; `key` NULL: of all that found no room, null and "other": true. */
json_t *by_row(__u32 what, const struct weir_by_key *key);
/* The same rows, which it takes over: those with most in `field` first. */
json_t *by_sorted(json_t *rows, const char *field);

/* For people: the columns that the document's "by" asks for, at most BY_COLUMNS, and those of what is counted
 * behind them; returns how many. */
int by_columns(struct column *columns, const json_t *document, const struct column *counted,
	       int count);
/* Writes "(other)" into the first of them, where a row is that. */
void by_name_others(json_t *document);

#endif
