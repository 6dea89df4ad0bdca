// SPDX-License-Identifier: GPL-2.0
#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "loader/attach/attach.h"
#include "loader/base/error.h"
#include "loader/base/options.h"
#include "loader/base/ticker.h"
#include "loader/cmd/pace.h"
#include "loader/host/clock.h"
#include "loader/host/netdev.h"
#include "loader/trace/lines.h"
#include "loader/trace/overhead.h"
#include "loader/trace/pins.h"
#include "options.h"

#define POLL_SECONDS 0.1
#define DONE	     2 /* as many as the user wanted; OUT_CLOSED is 1 */

struct session {
	const struct tcp_command *command;
	struct tcp_options options;
	struct trace_run run;
	struct ticker ticker;
	struct out_stream stream;
	__u64 began_ns; /* of showing */
	bool lines;	/* not summaries */
	long shown;
	int err; /* of what was done while a summary was waited for */
};

static double elapsed(const struct session *s)
{
	return (clock_now_ns() - s->began_ns) / 1e9;
}

/* Whether the time that the user gave is over. */
static bool is_over(const struct session *s)
{
	return s->options.seconds && elapsed(s) >= s->options.seconds;
}

static bool is_enough(const struct session *s)
{
	return s->options.count && s->shown >= s->options.count;
}

/* ---- lines ---- */

static int show_line(struct session *s, json_t *row)
{
	int err = out_row(&s->stream, row);

	s->shown++;
	return err ? err : is_enough(s) ? DONE : 0;
}

static int on_event(void *arg, const void *event, size_t size)
{
	struct session *s = arg;
	json_t *row = s->command->row(&s->run, event, size);

	return row ? show_line(s, row) : 0;
}

static int show_other_rows(struct session *s)
{
	json_t *rows = s->command->rows ? s->command->rows(&s->run) : NULL, *row;
	size_t i;
	int err = 0;

	json_array_foreach (rows, i, row)
		if (!err)
			err = show_line(s, json_incref(row));
	json_decref(rows);
	return err ? err : failure() ? -EIO : 0;
}

static int show_lines(struct session *s)
{
	struct trace_lines *lines;
	double next = 1;
	int err = trace_lines_open(&s->run, on_event, s, &lines);

	if (err)
		return err;
	ticker_start(&s->ticker, POLL_SECONDS);
	while (!err && !is_over(s) && ticker_wait(&s->ticker)) {
		err = trace_lines_poll(lines);
		if (err || elapsed(s) < next)
			continue;
		next = elapsed(s) + 1;
		err = show_other_rows(s);
	}
	if (!err)
		err = trace_lines_poll(lines);
	trace_lines_close(lines);
	return err;
}

/* ---- summaries ---- */

/* Between what is shown for people, once something was. */
static int show_gap(const struct session *s)
{
	return s->shown && !options.json ? out_text("%s", "") : 0;
}

static int show_time(double seconds)
{
	char text[32];
	time_t now = time(NULL);
	struct tm local;

	if (options.json)
		return 0;
	strftime(text, sizeof(text), "%H:%M:%S", localtime_r(&now, &local));
	return out_text("%s, %.3g s", text, seconds);
}

static int show_summary(struct session *s, double seconds, double since)
{
	json_t *summary = s->command->summary(&s->run, seconds), *lost;
	struct trace_lost l;
	int err = 0;

	if (!summary)
		return failure() ? -EIO : fail(-ENOMEM, "out of memory");
	if (seconds)
		err = show_gap(s) ?: show_time(seconds);
	if (!err)
		err = trace_lost_read(&s->run, &l);
	lost = err ? NULL : trace_lost_json(&l);
	if (lost)
		json_object_set_new(summary, "lost", lost);
	if (err) {
		json_decref(summary);
		return err;
	}
	err = out_show(pace_stamp(summary, since), s->command->tables, s->command->table_count);
	s->shown++;
	return err ? err : is_enough(s) ? DONE : 0;
}

static int do_meanwhile(void *arg)
{
	struct session *s = arg;

	s->err = s->command->meanwhile(&s->run);
	return s->err;
}

/* Returns false at the end, and where what is to be done meanwhile fails. */
static bool wait_for_summary(struct session *s)
{
	return s->command->meanwhile ? ticker_wait_doing(&s->ticker, POLL_SECONDS, do_meanwhile, s)
				     : ticker_wait(&s->ticker);
}

/* The last one ends with the time that the user gave, however long it is; but what is left of that is no
 * interval of its own when it is less than a tenth of one. False: nothing is left. */
static bool begin_interval(struct session *s, double interval)
{
	double left = s->options.seconds - elapsed(s);

	if (!s->options.seconds)
		return true;
	if (s->shown && left < interval / 10)
		return false;
	if (left < interval * 1.1)
		ticker_start(&s->ticker, left > 0 ? left : 0);
	return true;
}

/* Every interval what came in it. */
static int show_intervals(struct session *s, double interval)
{
	__u64 before = s->run.pinned ? clock_now_ns() : s->began_ns, now;
	int err = 0;

	if (s->run.pinned)
		json_decref(s->command->summary(&s->run, interval));
	ticker_start(&s->ticker, interval);
	while (!err && begin_interval(s, interval) && wait_for_summary(s)) {
		if (s->run.pinned && !trace_is_pinned(&s->run))
			return fail(-ENODEV, "'%s' collects no more: it was unpinned",
				    s->command->tracer->name);
		now = clock_now_ns();
		err = show_summary(s, (now - before) / 1e9, (now - before) / 1e9);
		before = now;
	}
	err = err ?: s->err;
	if (err != -EPIPE)
		return err;
	forget_failure();
	return OUT_CLOSED;
}

/* Once: what there is, what was collected in the background, or what comes until the user interrupts. */
static int show_total(struct session *s)
{
	if ((!s->run.pinned && !s->command->at_once) || s->options.seconds) {
		ticker_start(&s->ticker, POLL_SECONDS);
		while (!is_over(s) && wait_for_summary(s))
			;
	}
	return s->err ?: show_summary(s, 0, (clock_now_ns() - s->run.about.started_ns) / 1e9);
}

/* ---- the run ---- */

static void say_what_was_lost(struct session *s)
{
	struct trace_lost lost;

	if (trace_lost_read(&s->run, &lost)) {
		forget_failure();
		return;
	}
	/* A summary has it already. */
	if (options.json && s->lines &&
	    (lost.events_lost || lost.records_full || lost.unknown || lost.missed))
		out_show(json_pack("{s:o}", "lost", trace_lost_json(&lost)), NULL, 0);
	if (lost.events_lost)
		notice("%llu events came faster than they could be shown and are missing",
		       lost.events_lost);
	if (lost.records_full)
		notice("%llu times a map had no room: what it would have held is not counted",
		       lost.records_full);
	if (lost.unknown && s->command->left_out)
		notice("%llu %s", lost.unknown, s->command->left_out);
	if (lost.missed)
		notice("%llu events were missed, as they interrupted the program that counts them",
		       lost.missed);
}

static const struct column overhead_columns[] = {
	COLUMN("program", "Program", UNIT_TEXT),	 COLUMN("runs", "Runs", UNIT_COUNT),
	COLUMN("runs_per_second", "Runs/s", UNIT_COUNT), COLUMN("ns_per_run", "ns/run", UNIT_COUNT),
	COLUMN("cpu_percent", "CPU", UNIT_PERCENT),
};

static const struct table overhead_table = {
	.rows = "overhead.programs",
	.heading = "What the programs cost, without what measuring them costs",
	COLUMNS(overhead_columns),
};

static int show_overhead(struct session *s, const struct overhead *o)
{
	json_t *cost = overhead_json(o, &s->run, elapsed(s));

	if (!cost)
		return failure() ? -EIO : fail(-ENOMEM, "out of memory");
	return show_gap(s) ?: out_show(json_pack("{s:o}", "overhead", cost), &overhead_table, 1);
}

static int show(struct session *s)
{
	double interval = tcp_options_interval(&s->options, s->command);
	struct overhead cost = {.stats = -1};
	int err = 0;

	s->lines = tcp_options_lines(&s->options, s->command);
	s->stream.table = s->command->line;
	ticker_start(&s->ticker, POLL_SECONDS);
	s->began_ns = clock_now_ns();
	if (s->options.overhead)
		err = overhead_begin(&cost, &s->run);
	if (!err && verbosity)
		notice("%d programs run", s->run.program_count);
	if (!err && s->lines)
		err = out_titles(&s->stream);
	if (!err)
		err = s->lines	 ? show_lines(s)
		      : interval ? show_intervals(s, interval)
				 : show_total(s);
	if (err >= 0 && err != OUT_CLOSED && s->options.overhead)
		err = show_overhead(s, &cost);
	overhead_end(&cost);
	if (err >= 0)
		say_what_was_lost(s);
	return err < 0 ? err : 0;
}

static int start(struct session *s)
{
	struct tcp_options *o = &s->options;
	struct weir_trace_config config = {.filter = o->filter};

	config.lines = tcp_options_lines(o, s->command);
	config.counted = !config.lines;
	if (options.netns && !config.filter.netns)
		config.filter.netns = netdev_namespace();
	return trace_start(&s->run, s->command->tracer, &config,
			   o->cgroup.fd >= 0 ? &o->cgroup : NULL, s->command->settings);
}

static int run_live(struct session *s)
{
	int err = options.netns ? netdev_enter(options.netns) : 0;

	if (!err)
		err = start(s);
	if (err)
		return err;
	err = show(s);
	trace_end(&s->run);
	return err;
}

static int nothing_pinned(const struct session *s)
{
	return fail(-ENOENT, "'%s' does not collect in the background; 'weir tcp %s --pin' begins",
		    s->command->tracer->name, s->command->tracer->name);
}

static int run_pinned(struct session *s)
{
	struct instance in;
	int err = instance_open(&in, false);

	if (err)
		return err;
	err = trace_open_pinned(&s->run, s->command->tracer, &in);
	instance_unlock(&in);
	if (!err) {
		err = show(s);
		trace_end(&s->run);
	} else if (err == -ENOENT && !failure()) {
		err = nothing_pinned(s);
	}
	instance_close(&in);
	return err;
}

static int pin(struct session *s)
{
	const char *name = s->command->tracer->name;
	struct instance in;
	int err = attach_open(&in);

	if (err)
		return err;
	err = trace_not_pinned(s->command->tracer, &in);
	if (!err)
		err = start(s);
	if (!err) {
		err = trace_pin(&s->run, &in);
		trace_end(&s->run);
	}
	attach_close(&in);
	if (err)
		return err;
	return options.json
		       ? out_show(json_pack("{s:s,s:b}", "pinned", name, "collecting", 1), NULL, 0)
		       : out_text("%s: collecting in the background; 'weir tcp %s --pinned' shows "
				  "what, '--unpin' ends it",
				  name, name);
}

static int unpin(struct session *s)
{
	const char *name = s->command->tracer->name;
	struct instance in;
	int err = attach_open(&in);

	if (err)
		return err;
	err = trace_unpin(s->command->tracer, &in);
	attach_close(&in);
	if (err == -ENOENT && !failure())
		return nothing_pinned(s);
	if (err)
		return err;
	return options.json
		       ? out_show(json_pack("{s:s,s:b}", "pinned", name, "collecting", 0), NULL, 0)
		       : out_text("%s: collects no more", name);
}

int tcp_session(const struct tcp_command *command, struct args *args)
{
	struct session s = {.command = command};
	int err = tcp_options_parse(&s.options, command, args);

	if (!err)
		switch (s.options.pinning) {
		case PIN: err = pin(&s); break;
		case UNPIN: err = unpin(&s); break;
		case PINNED: err = run_pinned(&s); break;
		default: err = run_live(&s);
		}
	tcp_options_close(&s.options);
	return err;
}
