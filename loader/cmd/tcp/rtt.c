// SPDX-License-Identifier: GPL-2.0
/* weir tcp rtt: histograms of the smoothed round trip time. */
#include "loader/tcp/rtt.h"

#include <stdio.h>
#include <string.h>

#include "loader/base/options.h"
#include "loader/cmd/command.h"
#include "loader/trace/by.h"
#include "options.h"

#define BAR	 40
#define MEASURES 8

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

static struct column columns[BY_COLUMNS + MEASURES];

static struct table table = {
	.rows = "rows",
	.group = "histogram",
	.most = 20,
	.empty = "no segment was received on a connection whose round trip time is known",
	.columns = columns,
};

/* ---- for people ---- */

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

static json_t *summary(struct trace_run *run, double seconds)
{
	json_t *document = rtt_summary(run, seconds), *row;
	size_t i;

	if (!document || options.json)
		return document;
	table.count = by_columns(columns, document, measures, MEASURES);
	json_array_foreach (json_object_get(document, "rows"), i, row)
		draw(json_object_get(row, "histogram"));
	by_name_others(document);
	return document;
}

int cmd_tcp_rtt(struct args *args)
{
	static struct weir_by by;
	static const struct tcp_command command = {
		.tracer = &tracer_rtt,
		.tables = &table,
		.table_count = 1,
		.summary = summary,
		.option = tcp_option_by,
		.settings = &by,
		.no_pid =
			"the kernel does not tell whose segment it is that arrives; --cgroup, --port "
			"or --netns can",
	};

	return tcp_session(&command, args);
}
