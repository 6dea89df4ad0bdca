// SPDX-License-Identifier: GPL-2.0
/* weir tcp port: connections of local services, and local ports in use by destination. */
#include "loader/tcp/port/port.h"

#include "loader/cmd/command.h"
#include "session.h"

static const struct column service_columns[] = {
	COLUMN("port", "Port", UNIT_NUMBER),
	COLUMN("listeners", "Listeners", UNIT_COUNT),
	COLUMN("established", "Established", UNIT_COUNT),
	COLUMN("established_peak", "Peak", UNIT_COUNT),
	COLUMN("connections", "Connections", UNIT_COUNT),
	COLUMN("netns_inode", "Netns", UNIT_NUMBER),
};

static const struct column destination_columns[] = {
	COLUMN("alert", "Alert", UNIT_TEXT, .mark = MARK_LEVEL),
	COLUMN("used_percent", "Used", UNIT_PERCENT),
	COLUMN("ports", "Of", UNIT_COUNT),
	COLUMN("local", "Local", UNIT_TEXT),
	COLUMN("remote", "Remote", UNIT_TEXT),
	COLUMN("in_use", "Sockets", UNIT_COUNT),
	COLUMN("in_use_peak", "Peak", UNIT_COUNT),
	COLUMN("established", "Established", UNIT_COUNT),
	COLUMN("time_wait", "Time wait", UNIT_COUNT),
	COLUMN("bound", "Bound", UNIT_COUNT),
	COLUMN("failed_no_port", "No port", UNIT_COUNT, .mark = MARK_ALARM),
	COLUMN("search_us_mean", "Search", UNIT_US),
	COLUMN("search_us_p99", "p99", UNIT_US),
	COLUMN("search_us_max", "Max", UNIT_US),
	COLUMN("netns_inode", "Netns", UNIT_NUMBER),
};

static const struct table tables[] = {
	{
		.rows = "services",
		.most = 30,
		.heading = "Services",
		.empty = "no service listens",
		COLUMNS(service_columns),
	},
	{
		.rows = "destinations",
		.most = 30,
		.note = "advice",
		.heading = "Local ports by destination",
		.empty = "no connection goes out",
		COLUMNS(destination_columns),
	},
};

static bool walk;

static int take_option(void *settings, struct args *args)
{
	bool *wanted = settings;

	if (!accept_word(args, "--walk"))
		return 0;
	*wanted = true;
	return TCP_OPTION_SHOWS;
}

static json_t *summary(struct trace_run *run, double seconds)
{
	return walk && port_walk(run) ? NULL : port_summary(run, seconds);
}

int cmd_tcp_port(struct args *args)
{
	static const struct tcp_command command = {
		.tracer = &tracer_port,
		.tables = tables,
		.table_count = sizeof(tables) / sizeof(tables[0]),
		.summary = summary,
		.at_once = true,
		.option = take_option,
		.settings = &walk,
		.no_pid = "sockets are counted by port here; 'ss -tp' tells whose they are",
	};

	return tcp_session(&command, args);
}
