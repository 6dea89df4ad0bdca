// SPDX-License-Identifier: GPL-2.0
/* weir tcp top: who moves how many bytes, every second. */
#include "loader/tcp/top/top.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>

#include "loader/base/error.h"
#include "loader/base/options.h"
#include "loader/cmd/command.h"
#include "session.h"

#define ROWS 20 /* that people are shown */

static struct {
	struct top_settings top;
	long rows; /* 0: not given */
} settings;

static const struct column process_columns[] = {
	COLUMN("pid", "PID", UNIT_NUMBER),
	COLUMN("comm", "Comm", UNIT_TEXT),
};

static const struct column connection_columns[] = {
	COLUMN("pid", "PID", UNIT_NUMBER),
	COLUMN("comm", "Comm", UNIT_TEXT),
	COLUMN("local", "Local", UNIT_TEXT),
	COLUMN("remote", "Remote", UNIT_TEXT),
};

static const struct column port_columns[] = {
	COLUMN("role", "Role", UNIT_TEXT),
	COLUMN("server_port", "Port", UNIT_NUMBER),
};

static const struct column counts[] = {
	COLUMN("bytes_sent_per_second", "Sent/s", UNIT_BYTES),
	COLUMN("bytes_received_per_second", "Received/s", UNIT_BYTES),
	COLUMN("connections", "Open", UNIT_COUNT),
	COLUMN("connections_ended", "Ended", UNIT_COUNT),
	COLUMN("retransmitted_percent", "Again", UNIT_PERCENT, .mark = MARK_ALARM),
	COLUMN("rtt_us_mean", "RTT", UNIT_US),
	COLUMN("rtt_us_max", "max", UNIT_US),
};

static const struct table keys[] = {
	[TOP_BY_PROCESS] = {COLUMNS(process_columns)},
	[TOP_BY_CONNECTION] = {COLUMNS(connection_columns)},
	[TOP_BY_PORT] = {COLUMNS(port_columns)},
};

static struct column columns[TABLE_COLUMNS];

static struct table table = {
	.rows = "rows",
	.columns = columns,
};

static void choose_columns(const struct table *key)
{
	memcpy(columns, key->columns, key->count * sizeof(*columns));
	memcpy(&columns[key->count], counts, sizeof(counts));
	table.count = key->count + sizeof(counts) / sizeof(*counts);
}

/* For people: the sum of all comes last. */
static void add_total(json_t *document, enum top_by by)
{
	json_t *total = json_copy(json_object_get(document, "total"));

	json_object_set_new(total, by == TOP_BY_PORT ? "role" : "comm", json_string("(all)"));
	json_array_append_new(json_object_get(document, "rows"), total);
}

static json_t *summary(struct trace_run *run, double seconds)
{
	json_t *document = top_summary(run, seconds), *rows = json_object_get(document, "rows");
	size_t most = settings.rows ? (size_t)settings.rows : options.json ? SIZE_MAX : ROWS, count;

	if (!document)
		return NULL;
	count = json_array_size(rows);
	while (json_array_size(rows) > most)
		json_array_remove(rows, json_array_size(rows) - 1);
	json_object_set_new(document, "rows_not_shown",
			    json_integer(count - json_array_size(rows)));
	if (options.json)
		return document;
	choose_columns(&keys[settings.top.by]);
	add_total(document, settings.top.by);
	return document;
}

static int option(void *arg, struct args *args)
{
	const char *text;
	int err;

	(void)arg;
	if (accept_word(args, "--by")) {
		text = value_of(args, "--by");
		err = text ? top_by_parse(&settings.top.by, text) : -EINVAL;
	} else if (accept_word(args, "--rows")) {
		text = value_of(args, "--rows");
		err = text ? parse_number("--rows", text, 1, INT_MAX, &settings.rows) : -EINVAL;
	} else {
		return 0;
	}
	return err ?: 1;
}

int cmd_tcp_top(struct args *args)
{
	static const struct tcp_command command = {
		.tracer = &tracer_top,
		.tables = &table,
		.table_count = 1,
		.summary = summary,
		.meanwhile = top_meanwhile,
		.interval = 1,
		.option = option,
		.settings = &settings.top,
	};

	return tcp_session(&command, args);
}
