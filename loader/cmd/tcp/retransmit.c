// SPDX-License-Identifier: GPL-2.0
/* weir tcp retransmit: what is sent again, and why. */
#include "loader/tcp/retransmit.h"

#include "loader/base/options.h"
#include "loader/cmd/command.h"
#include "loader/trace/by.h"
#include "options.h"

static const struct column line_columns[] = {
	COLUMN("time", "Time", UNIT_CLOCK, .width = 15),
	COLUMN("pid", "PID", UNIT_NUMBER, .width = 7),
	COLUMN("comm", "Comm", UNIT_TEXT, .width = 12),
	COLUMN("local", "Local", UNIT_TEXT, .width = 21),
	COLUMN("remote", "Remote", UNIT_TEXT, .width = 21),
	COLUMN("state", "State", UNIT_TEXT, .width = 11),
	COLUMN("kind", "Kind", UNIT_TEXT, .width = 10),
	COLUMN("timeouts_in_a_row", "Row", UNIT_NUMBER, .width = 3),
	COLUMN("rto_us", "RTO", UNIT_US, .width = 7),
	COLUMN("bytes", "Bytes", UNIT_COUNT, .width = 6),
	COLUMN("error", "Error", UNIT_TEXT),
};

static const struct table line = {COLUMNS(line_columns)};

#define COUNTS 12

static const struct column counts[COUNTS] = {
	COLUMN("segments", "Segments", UNIT_COUNT),
	COLUMN("kinds.syn", "SYN", UNIT_COUNT),
	COLUMN("kinds.synack", "SYN-ACK", UNIT_COUNT),
	COLUMN("kinds.rto", "RTO", UNIT_COUNT),
	COLUMN("kinds.slow_start", "Slow start", UNIT_COUNT),
	COLUMN("kinds.fast", "Fast", UNIT_COUNT),
	COLUMN("kinds.tlp", "TLP", UNIT_COUNT),
	COLUMN("kinds.other", "Other", UNIT_COUNT),
	COLUMN("failed", "Failed", UNIT_COUNT),
	COLUMN("bytes_sent", "Sent", UNIT_BYTES),
	COLUMN("bytes_retransmitted", "Again", UNIT_BYTES),
	COLUMN("retransmitted_percent", "Rate", UNIT_PERCENT),
};

static struct column columns[BY_COLUMNS + COUNTS];

static struct table table = {
	.rows = "rows",
	.most = 30,
	.empty = "nothing was sent again",
	.columns = columns,
};

static json_t *summary(struct trace_run *run, double seconds)
{
	json_t *document = retransmit_summary(run, seconds);

	if (!document || options.json)
		return document;
	table.count = by_columns(columns, document, counts, COUNTS);
	by_name_others(document);
	return document;
}

int cmd_tcp_retransmit(struct args *args)
{
	static struct weir_by by = {.what = WEIR_BY_PEER | WEIR_BY_PORT};
	static const struct tcp_command command = {
		.tracer = &tracer_retransmit,
		.line = &line,
		.row = retransmit_row,
		.tables = &table,
		.table_count = 1,
		.summary = summary,
		.option = tcp_option_by,
		.settings = &by,
		.no_pid_counted =
			"whose a segment is can be told of lines, not of counts; --cgroup, "
			"--port or --netns can",
	};

	return tcp_session(&command, args);
}
