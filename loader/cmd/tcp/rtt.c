// SPDX-License-Identifier: GPL-2.0
/* weir tcp rtt: histograms of the smoothed round trip time. */
#include "loader/tcp/rtt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loader/base/error.h"
#include "loader/base/options.h"
#include "loader/cmd/command.h"
#include "session.h"

#define BAR	 40
#define BY_MAX	 4
#define MEASURES 8

static const struct column by_columns[BY_MAX] = {
	COLUMN("peer", "Peer", UNIT_TEXT),
	COLUMN("port", "Port", UNIT_NUMBER),
	COLUMN("peer_port", "Peer port", UNIT_NUMBER),
	COLUMN("netns_inode", "Netns", UNIT_NUMBER),
};

static const struct column measures[MEASURES] = {
	COLUMN("samples", "Samples", UNIT_COUNT),
	COLUMN("mean_us", "Mean", UNIT_US),
	COLUMN("p50_us", "p50", UNIT_US),
	COLUMN("p99_us", "p99", UNIT_US),
	COLUMN("rtt_min_us", "Min", UNIT_US),
	COLUMN("histogram.usecs", "usecs", UNIT_TEXT, .align = ALIGN_RIGHT),
	COLUMN("histogram.samples", "count", UNIT_COUNT),
	COLUMN("histogram.distribution", "distribution", UNIT_TEXT),
};

static struct column columns[BY_MAX + MEASURES];

static struct table table = {
	.rows = "rows",
	.group = "histogram",
	.empty = "no segment was received on a connection whose round trip time is known",
	.columns = columns,
};

/* ---- for people ---- */

static bool has_word(const json_t *by, const char *word)
{
	const json_t *item;
	size_t i;

	json_array_foreach (by, i, item)
		if (!strcmp(json_string_value(item), word))
			return true;
	return false;
}

/* What makes a row comes first. */
static void choose_columns(const json_t *by)
{
	table.count = 0;
	for (int i = 0; i < rtt_by_count && i < BY_MAX; i++)
		if (has_word(by, rtt_by[i].word))
			columns[table.count++] = by_columns[i];
	memcpy(&columns[table.count], measures, sizeof(measures));
	table.count += MEASURES;
}

static void draw(json_t *histogram)
{
	json_int_t most = 1, n;
	char range[48], bar[BAR + 1];
	json_t *slot;
	size_t i;

	json_array_foreach (histogram, i, slot) {
		n = json_integer_value(json_object_get(slot, "samples"));
		most = n > most ? n : most;
	}
	json_array_foreach (histogram, i, slot) {
		n = json_integer_value(json_object_get(slot, "samples"));
		n = n ? (n * BAR + most - 1) / most : 0;
		memset(bar, '*', n);
		bar[n] = '\0';
		snprintf(range, sizeof(range), "%lld -> %lld",
			 json_integer_value(json_object_get(slot, "least_us")),
			 json_integer_value(json_object_get(slot, "most_us")));
		json_object_set_new(slot, "usecs", json_string(range));
		json_object_set_new(slot, "distribution", json_string(n ? bar : " "));
	}
}

static void name_other(json_t *row)
{
	if (json_is_true(json_object_get(row, "other")))
		json_object_set_new(row, columns[0].path, json_string("(other)"));
}

static json_t *summary(struct trace_run *run, double seconds)
{
	json_t *document = rtt_summary(run, seconds), *row;
	size_t i;

	if (!document || options.json)
		return document;
	choose_columns(json_object_get(document, "by"));
	json_array_foreach (json_object_get(document, "rows"), i, row) {
		draw(json_object_get(row, "histogram"));
		name_other(row);
	}
	return document;
}

/* ---- options ---- */

static int parse_by(struct weir_rtt_settings *settings, const char *text)
{
	char *copy = strdup(text), *rest = copy, *item;
	__u32 by = 0;
	int err = copy ? 0 : fail(-ENOMEM, "out of memory");

	while (!err && (item = strsep(&rest, ","))) {
		__u32 bit = 0;

		for (int i = 0; i < rtt_by_count; i++)
			if (!strcmp(item, rtt_by[i].word))
				bit = rtt_by[i].bit;
		if (!bit)
			err = misuse(
				"--by '%s': rows can be made by peer, port, peer-port and netns",
				item);
		by |= bit;
	}
	free(copy);
	settings->by = by;
	return err;
}

static int option(void *settings, struct args *args)
{
	const char *text;

	if (!accept_word(args, "--by"))
		return 0;
	text = value_of(args, "--by");
	return text && !parse_by(settings, text) ? TCP_OPTION_COLLECTS : -EINVAL;
}

int cmd_tcp_rtt(struct args *args)
{
	static struct weir_rtt_settings settings;
	static const struct tcp_command command = {
		.tracer = &tracer_rtt,
		.tables = &table,
		.table_count = 1,
		.summary = summary,
		.option = option,
		.settings = &settings,
		.no_pid =
			"the kernel does not tell whose segment it is that arrives; --cgroup, --port "
			"or --netns can",
	};

	return tcp_session(&command, args);
}
