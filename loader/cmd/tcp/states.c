// SPDX-License-Identifier: GPL-2.0
/* weir tcp states: every change of state, with the time spent in the old one. */
#include "loader/tcp/states/states.h"

#include "loader/cmd/command.h"
#include "session.h"

static const struct column line_columns[] = {
	COLUMN("time", "Time", UNIT_CLOCK, .width = 15),
	COLUMN("pid", "PID", UNIT_NUMBER, .width = 7),
	COLUMN("comm", "Comm", UNIT_TEXT, .width = 12),
	COLUMN("local", "Local", UNIT_TEXT, .width = 21),
	COLUMN("remote", "Remote", UNIT_TEXT, .width = 21),
	COLUMN("old_state", "Old state", UNIT_TEXT, .width = 11),
	COLUMN("new_state", "New state", UNIT_TEXT, .width = 11),
	COLUMN("in_old_state_us", "In old", UNIT_US, .width = 8),
	COLUMN("remark", "Remark", UNIT_TEXT),
};

static const struct table line = {COLUMNS(line_columns)};

static const struct column change_columns[] = {
	COLUMN("old_state", "Old state", UNIT_TEXT),
	COLUMN("new_state", "New state", UNIT_TEXT),
	COLUMN("family", "IP", UNIT_NUMBER),
	COLUMN("changes", "Changes", UNIT_COUNT),
	COLUMN("in_old_state_us_mean", "Mean in old", UNIT_US),
	COLUMN("in_old_state_us_p50", "p50", UNIT_US),
	COLUMN("in_old_state_us_p99", "p99", UNIT_US),
	COLUMN("remark", "Remark", UNIT_TEXT),
};

static const struct column mini_columns[] = {
	COLUMN("state", "State", UNIT_TEXT),
	COLUMN("family", "IP", UNIT_NUMBER),
	COLUMN("sockets", "Mini-sockets now", UNIT_COUNT),
};

static const struct table tables[] = {
	{.rows = "changes", .empty = "no socket changed its state", COLUMNS(change_columns)},
	{.rows = "mini_sockets", COLUMNS(mini_columns)},
};

int cmd_tcp_states(struct args *args)
{
	static const struct tcp_command command = {
		.tracer = &tracer_states,
		.line = &line,
		.row = states_row,
		.rows = states_rows,
		.tables = tables,
		.table_count = sizeof(tables) / sizeof(tables[0]),
		.summary = states_summary,
		.min = true,
	};

	return tcp_session(&command, args);
}
