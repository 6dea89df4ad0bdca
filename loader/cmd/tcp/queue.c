// SPDX-License-Identifier: GPL-2.0
/* weir tcp queue: what the queues of listeners take and what they drop. */
#include "loader/tcp/queue/queue.h"

#include "loader/base/options.h"
#include "loader/cmd/command.h"
#include "session.h"

static const struct column line_columns[] = {
	COLUMN("time", "Time", UNIT_CLOCK, .width = 15),
	COLUMN("listener", "Listener", UNIT_TEXT, .width = 18),
	COLUMN("client", "Client", UNIT_TEXT, .width = 21),
	COLUMN("accept_queue", "Accept", UNIT_NUMBER, .width = 6),
	COLUMN("syn_queue", "SYN", UNIT_NUMBER, .width = 6),
	COLUMN("queue_limit", "Limit", UNIT_NUMBER, .width = 6),
	COLUMN("drops", "Drops", UNIT_NUMBER, .width = 5),
	COLUMN("waited_us", "Waited", UNIT_US, .width = 8),
	COLUMN("verdict", "Verdict", UNIT_TEXT),
};

static const struct table line = {COLUMNS(line_columns)};

static const struct column listener_columns[] = {
	COLUMN("listener", "Listener", UNIT_TEXT),
	COLUMN("netns_inode", "Netns", UNIT_NUMBER),
	COLUMN("sockets", "Socks", UNIT_NUMBER),
	COLUMN("queue_limit", "Limit", UNIT_NUMBER),
	COLUMN("accept_queue", "AcceptQ", UNIT_NUMBER),
	COLUMN("accept_queue_most", "Most", UNIT_NUMBER),
	COLUMN("syn_queue", "SynQ", UNIT_NUMBER),
	COLUMN("syn_queue_most", "Most", UNIT_NUMBER),
	COLUMN("admitted", "Admitted", UNIT_COUNT),
	COLUMN("cookies_sent", "Cookies", UNIT_COUNT),
	COLUMN("syns_dropped_accept_queue", "AccDrop", UNIT_COUNT, .mark = MARK_ALARM),
	COLUMN("people.syn_queue", "SynDrop", UNIT_COUNT, .mark = MARK_ALARM),
	COLUMN("syns_dropped_other", "Other", UNIT_COUNT, .mark = MARK_ALARM),
	COLUMN("people.acks", "AckDrop", UNIT_COUNT, .mark = MARK_ALARM),
	COLUMN("resets", "RST", UNIT_COUNT, .mark = MARK_ALARM),
	COLUMN("synack_retransmits", "SA again", UNIT_COUNT),
};

static const struct column client_columns[] = {
	COLUMN("listener", "Listener", UNIT_TEXT),
	COLUMN("clients_delayed", "Delayed", UNIT_COUNT),
	COLUMN("delay_us_mean", "Mean", UNIT_US),
	COLUMN("delay_us_p50", "p50", UNIT_US),
	COLUMN("delay_us_p99", "p99", UNIT_US),
	COLUMN("delay_us_most", "Most", UNIT_US),
	COLUMN("clients_waiting", "Waiting", UNIT_COUNT),
	COLUMN("clients_gave_up", "Gave up", UNIT_COUNT, .mark = MARK_ALARM),
};

static const struct column kernel_columns[] = {
	COLUMN("netns", "Netns", UNIT_TEXT),
	COLUMN("counters.counter", "Counter", UNIT_TEXT),
	COLUMN("counters.kernel", "Kernel", UNIT_NUMBER),
	COLUMN("counters.weir", "Weir", UNIT_NUMBER),
	COLUMN("counters.unexplained", "Unexplained", UNIT_NUMBER, .mark = MARK_ALARM),
};

static const struct table tables[] = {
	{
		.rows = "listeners",
		.note = "advice",
		.empty = "nobody listens",
		COLUMNS(listener_columns),
	},
	{
		.rows = "clients",
		.heading = "What it cost clients: from the first packet dropped to the one let in",
		COLUMNS(client_columns),
	},
	{
		.rows = "kernel",
		.group = "counters",
		.heading = "The kernel's own counters since the beginning, and what explains them",
		COLUMNS(kernel_columns),
	},
};

/* ---- for people ---- */

static json_int_t number(const json_t *row, const char *field)
{
	return json_integer_value(json_object_get(row, field));
}

/* Fewer columns, and a table of their own for the few listeners that cost somebody something. */
static void divide_listeners(json_t *summary)
{
	json_t *clients = json_array(), *row;
	size_t i;

	json_array_foreach (json_object_get(summary, "listeners"), i, row) {
		json_object_set_new(row, "people",
				    json_pack("{s:I,s:I}", "syn_queue",
					      number(row, "syns_dropped_syn_queue") +
						      number(row, "syns_dropped_syn_reserve"),
					      "acks",
					      number(row, "acks_dropped") +
						      number(row, "cookie_acks_dropped")));
		if (number(row, "clients_delayed") + number(row, "clients_waiting") +
		    number(row, "clients_gave_up"))
			json_array_append(clients, row);
	}
	json_object_set_new(summary, "clients", clients);
}

/* Namespaces in which nothing was counted, by anybody, are one. */
static void join_quiet(json_t *summary)
{
	json_t *joined = json_array(), *quiet = NULL, *space;
	size_t i, count = 0;

	json_array_foreach (json_object_get(summary, "kernel"), i, space) {
		json_object_set_new(space, "netns",
				    json_sprintf("%lld", number(space, "netns_inode")));
		if (!json_is_true(json_object_get(space, "quiet"))) {
			json_array_append(joined, space);
			continue;
		}
		quiet = space;
		count++;
	}
	if (count > 1)
		json_object_set_new(quiet, "netns", json_sprintf("%zu others", count));
	if (quiet)
		json_array_append(joined, quiet);
	json_object_set_new(summary, "kernel", joined);
}

static json_t *summary(struct trace_run *run, double seconds)
{
	json_t *all = queue_summary(run, seconds);

	if (all && !options.json) {
		divide_listeners(all);
		join_quiet(all);
	}
	return all;
}

int cmd_tcp_queue(struct args *args)
{
	static const struct tcp_command command = {
		.tracer = &tracer_queue,
		.line = &line,
		.row = queue_row,
		.tables = tables,
		.table_count = sizeof(tables) / sizeof(tables[0]),
		.summary = summary,
		.interval = 1,
		.summary_first = true,
		.no_pid = "a listener is named by its port: --port",
	};

	return tcp_session(&command, args);
}
