// SPDX-License-Identifier: GPL-2.0
/* weir tcp life: a line for each connection when it ends. */
#include "loader/tcp/life.h"

#include "loader/cmd/command.h"
#include "session.h"

static const struct column line_columns[] = {
	COLUMN("time", "Time", UNIT_CLOCK, .width = 15),
	COLUMN("pid", "PID", UNIT_NUMBER, .width = 7),
	COLUMN("comm", "Comm", UNIT_TEXT, .width = 12),
	COLUMN("local", "Local", UNIT_TEXT, .width = 21),
	COLUMN("remote", "Remote", UNIT_TEXT, .width = 21),
	COLUMN("role", "Role", UNIT_TEXT, .width = 7),
	COLUMN("bytes_sent", "Sent", UNIT_BYTES, .width = 8),
	COLUMN("bytes_received", "Received", UNIT_BYTES, .width = 8),
	COLUMN("duration_us", "Lasted", UNIT_US, .width = 8),
	COLUMN("retransmitted_percent", "Again", UNIT_PERCENT, .width = 5),
	COLUMN("rtt_us", "RTT", UNIT_US, .width = 8),
	COLUMN("closed_first", "Closed", UNIT_TEXT, .width = 6),
	COLUMN("reason", "By", UNIT_TEXT, .width = 12),
};

static const struct table line = {COLUMNS(line_columns)};

static const struct column port_columns[] = {
	COLUMN("role", "Role", UNIT_TEXT),
	COLUMN("server_port", "Port", UNIT_NUMBER),
	COLUMN("connections_ended", "Ended", UNIT_COUNT),
	COLUMN("bytes_sent", "Sent", UNIT_BYTES),
	COLUMN("bytes_received", "Received", UNIT_BYTES),
	COLUMN("duration_us_p50", "Lasted p50", UNIT_US),
	COLUMN("duration_us_p99", "p99", UNIT_US),
	COLUMN("retransmitted_percent", "Again", UNIT_PERCENT, .mark = MARK_ALARM),
	COLUMN("reasons.fin", "FIN", UNIT_COUNT),
	COLUMN("reasons.rst_sent", "RST sent", UNIT_COUNT),
	COLUMN("reasons.rst_received", "received", UNIT_COUNT),
	COLUMN("reasons.rst", "either", UNIT_COUNT),
	COLUMN("reasons.timeout", "Timeout", UNIT_COUNT, .mark = MARK_ALARM),
	COLUMN("reasons.error", "Error", UNIT_COUNT, .mark = MARK_ALARM),
};

static const struct table ports = {
	.rows = "ports",
	.most = 30,
	.empty = "no connection ended",
	COLUMNS(port_columns),
};

int cmd_tcp_life(struct args *args)
{
	static const struct tcp_command command = {
		.tracer = &tracer_life,
		.line = &line,
		.row = life_row,
		.rows = life_rows,
		.tables = &ports,
		.table_count = 1,
		.summary = life_summary,
		.min = true,
	};

	return tcp_session(&command, args);
}
