// SPDX-License-Identifier: GPL-2.0
/* weir tcp show: what the other commands can do here, and what collects in the background. */
#include <errno.h>

#include "loader/base/error.h"
#include "loader/base/ticker.h"
#include "loader/cmd/command.h"
#include "loader/host/clock.h"
#include "loader/out/out.h"
#include "loader/tcp/overview.h"

#define MEASURE_SECONDS 1.0

static const struct column columns[] = {
	COLUMN("tracer", "Command", UNIT_TEXT),
	COLUMN("runs", "Runs", UNIT_TEXT),
	COLUMN("answers", "Answers", UNIT_TEXT),
	COLUMN("collecting_seconds", "Collecting", UNIT_SECONDS),
	COLUMN("filter_text", "Only", UNIT_TEXT),
	COLUMN("lost.records_full", "No room", UNIT_COUNT, .mark = MARK_ALARM),
	COLUMN("lost.missed_runs", "Missed", UNIT_COUNT, .mark = MARK_ALARM),
};

static const struct column overhead_columns[] = {
	COLUMN("tracer", "Command", UNIT_TEXT),	    COLUMN("program", "Program", UNIT_TEXT),
	COLUMN("runs", "Runs", UNIT_COUNT),	    COLUMN("runs_per_second", "Runs/s", UNIT_COUNT),
	COLUMN("ns_per_run", "ns/run", UNIT_COUNT), COLUMN("cpu_percent", "CPU", UNIT_PERCENT),
};

static const struct table tables[] = {
	{.rows = "tracers", .note = "note", COLUMNS(columns)},
	{.rows = "overhead.programs",
	 .heading = "What those in the background cost, without what measuring them costs",
	 .empty = "nothing collects in the background, so nothing costs",
	 COLUMNS(overhead_columns)},
};

struct show {
	bool overhead;
	double seconds; /* 0: not given */
};

static int parse(struct show *show, struct args *args)
{
	int err = 0;

	while (!err && args->count) {
		if (accept_word(args, "--overhead")) {
			show->overhead = true;
		} else if (accept_word(args, "-d")) {
			const char *text = value_of(args, "-d");

			err = text ? parse_seconds("duration", text, &show->seconds) : -EINVAL;
		} else {
			err = no_more_words(args);
		}
	}
	if (!err && show->seconds && !show->overhead)
		err = misuse("-d says how long to measure: --overhead is missing");
	return err;
}

static int measure(const struct show *show, const struct tracing_view *view, json_t *document)
{
	struct tracing_overhead cost;
	struct ticker ticker;
	__u64 began = clock_now_ns();
	int err = tracing_overhead_begin(&cost, view);

	if (!err && tracing_pinned(view)) {
		ticker_start(&ticker, show->seconds ?: MEASURE_SECONDS);
		ticker_wait(&ticker);
	}
	if (!err)
		json_object_set_new(
			document, "overhead",
			tracing_overhead_json(&cost, view, (clock_now_ns() - began) / 1e9));
	tracing_overhead_end(&cost, view);
	return err;
}

int cmd_tcp_show(struct args *args)
{
	struct tracing_view view = {};
	struct show show = {};
	struct instance in;
	json_t *document;
	int err = parse(&show, args);

	if (!err)
		err = instance_open(&in, false);
	if (err)
		return err;
	tracing_look(&view, &in);
	instance_unlock(&in);
	tracing_ask(&view);
	document = json_pack("{s:o}", "tracers", tracing_json(&view));
	if (show.overhead)
		err = measure(&show, &view, document);
	if (!err)
		err = out_show(document, tables, show.overhead ? 2 : 1);
	else
		json_decref(document);
	tracing_forget(&view);
	instance_close(&in);
	return err;
}
