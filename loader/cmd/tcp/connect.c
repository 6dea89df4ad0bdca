// SPDX-License-Identifier: GPL-2.0
/* weir tcp connect: how long connections take to be made, phase by phase, and why some are not. */
#include "loader/tcp/connect.h"

#include <errno.h>
#include <string.h>

#include "loader/base/error.h"
#include "loader/cmd/command.h"
#include "session.h"

static const struct column line_columns[] = {
	COLUMN("time", "Time", UNIT_CLOCK, .width = 15),
	COLUMN("pid", "PID", UNIT_NUMBER, .width = 7),
	COLUMN("comm", "Comm", UNIT_TEXT, .width = 12),
	COLUMN("role", "Role", UNIT_TEXT, .width = 7),
	COLUMN("local", "Local", UNIT_TEXT, .width = 21),
	COLUMN("remote", "Remote", UNIT_TEXT, .width = 21),
	COLUMN("port_search_us", "Port", UNIT_US, .width = 8),
	COLUMN("handshake_us", "Handshake", UNIT_US, .width = 9),
	COLUMN("accept_wait_us", "Accept", UNIT_US, .width = 8),
	COLUMN("total_us", "Total", UNIT_US, .width = 8),
	COLUMN("retransmits", "SYN again", UNIT_COUNT, .mark = MARK_ALARM),
	COLUMN("result", "Result", UNIT_TEXT, .width = 11),
	COLUMN("error", "Error", UNIT_TEXT),
};

static const struct table line = {COLUMNS(line_columns)};

static const struct column endpoint_columns[] = {
	COLUMN("role", "Role", UNIT_TEXT),
	COLUMN("netns_inode", "Netns", UNIT_NUMBER),
	COLUMN("port", "Port", UNIT_NUMBER),
	COLUMN("connections", "Made", UNIT_COUNT),
	COLUMN("retransmitted", "SYN again", UNIT_COUNT, .mark = MARK_ALARM),
	COLUMN("port_search.p50_us", "Search p50", UNIT_US),
	COLUMN("port_search.p99_us", "p99", UNIT_US),
	COLUMN("handshake.p50_us", "Handshake p50", UNIT_US),
	COLUMN("handshake.p99_us", "p99", UNIT_US),
	COLUMN("accept_wait.p50_us", "Accept p50", UNIT_US),
	COLUMN("accept_wait.p99_us", "p99", UNIT_US),
	COLUMN("failed", "Failed", UNIT_COUNT, .mark = MARK_ALARM),
	COLUMN("failures_text", "Why", UNIT_TEXT),
};

static const struct table endpoints = {
	.rows = "endpoints",
	.most = 30,
	.empty = "no connection was made or tried",
	COLUMNS(endpoint_columns),
};

static int take_role(void *settings, struct args *args)
{
	struct weir_connect_settings *chosen = settings;
	const char *text;

	if (!accept_word(args, "--role"))
		return 0;
	text = value_of(args, "--role");
	if (!text)
		return -EINVAL;
	if (!strcmp(text, "active"))
		chosen->role = WEIR_CONNECT_ACTIVE;
	else if (!strcmp(text, "passive"))
		chosen->role = WEIR_CONNECT_PASSIVE;
	else
		return misuse("--role '%s': only active and passive are known", text);
	return TCP_OPTION_COLLECTS;
}

int cmd_tcp_connect(struct args *args)
{
	struct weir_connect_settings settings = {};
	const struct tcp_command command = {
		.tracer = &tracer_connect,
		.line = &line,
		.row = connect_row,
		.tables = &endpoints,
		.table_count = 1,
		.summary = connect_summary,
		.option = take_role,
		.settings = &settings,
		.min = true,
	};

	return tcp_session(&command, args);
}
