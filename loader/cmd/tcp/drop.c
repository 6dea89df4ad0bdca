// SPDX-License-Identifier: GPL-2.0
/* weir tcp drop: where the kernel and weir itself drop packets of TCP, and why. */
#include "loader/tcp/drop/drop.h"

#include "loader/cmd/command.h"
#include "session.h"

static const struct column line_columns[] = {
	COLUMN("time", "Time", UNIT_CLOCK, .width = 15),
	COLUMN("source", "Source", UNIT_TEXT, .width = 8),
	COLUMN("packets", "Packets", UNIT_COUNT),
	COLUMN("direction", "Dir", UNIT_TEXT),
	COLUMN("local", "Local", UNIT_TEXT, .width = 21),
	COLUMN("remote", "Remote", UNIT_TEXT, .width = 21),
	COLUMN("state", "State", UNIT_TEXT, .width = 11),
	COLUMN("flags", "Flags", UNIT_TEXT, .width = 7),
	COLUMN("accept_queue", "Accept", UNIT_NUMBER),
	COLUMN("accept_max", "of", UNIT_NUMBER),
	COLUMN("syn_queue", "SYN", UNIT_NUMBER),
	COLUMN("reason", "Reason", UNIT_TEXT, .width = 14, .mark = MARK_ALARM),
	COLUMN("cause", "Cause", UNIT_TEXT, .width = 5),
	COLUMN("location", "Location", UNIT_TEXT, .width = 24),
};

static const struct table line = {.list = "stack", COLUMNS(line_columns)};

static const struct column columns[] = {
	COLUMN("source", "Source", UNIT_TEXT),
	COLUMN("packets", "Packets", UNIT_COUNT),
	COLUMN("packets_per_second", "Rate", UNIT_PPS),
	COLUMN("reason", "Reason", UNIT_TEXT),
	COLUMN("cause", "Cause", UNIT_TEXT),
	COLUMN("location", "Location", UNIT_TEXT),
};

static const struct table tables[] = {
	{
		.rows = "drops",
		.most = 30,
		.list = "stack",
		.note = "advice",
		.heading = "SYNs that a full queue refuses are not among these: 'weir tcp queue'",
		.empty = "nothing was dropped; SYNs that a full queue refuses do not show here: "
			 "'weir tcp queue'",
		COLUMNS(columns),
	},
	{
		.rows = "benign",
		.heading = "Benign: the packet had done its work, or another like it had",
		COLUMNS(columns),
	},
};

static int option(void *chosen, struct args *args)
{
	struct drop_settings *s = chosen;

	if (accept_word(args, "--all"))
		s->all = true;
	else if (accept_word(args, "--stack"))
		s->stack = true;
	else
		return 0;
	return TCP_OPTION_COLLECTS;
}

int cmd_tcp_drop(struct args *args)
{
	static struct drop_settings settings;
	static const struct tcp_command command = {
		.tracer = &tracer_drop,
		.line = &line,
		.row = drop_row,
		.rows = drop_rows,
		.tables = tables,
		.table_count = sizeof(tables) / sizeof(tables[0]),
		.summary = drop_summary,
		.option = option,
		.settings = &settings,
		.left_out = "drops are left out, as their socket, ports or namespace are not known",
		.no_pid = "a packet is dropped by whatever runs then, not by the process it is for",
	};

	return tcp_session(&command, args);
}
