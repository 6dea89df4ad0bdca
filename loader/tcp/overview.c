// SPDX-License-Identifier: GPL-2.0
#include "overview.h"

#include <stdio.h>
#include <string.h>

#include "loader/base/error.h"
#include "loader/host/clock.h"
#include "loader/out/endpoint.h"
#include "loader/out/out.h"
#include "loader/trace/filter.h"
#include "loader/trace/pins.h"
#include "tracers.h"

/* ---- looking ---- */

static void begin(struct tracing_view *view)
{
	view->count = tracer_count < TRACERS_MAX ? tracer_count : TRACERS_MAX;
	for (int i = 0; i < view->count; i++)
		view->tracer[i].tracer = tracers[i];
}

static void ask(struct tracer_view *v)
{
	for (int i = 0; i < v->tracer->hook_count && i < TRACER_HOOKS_MAX; i++)
		v->lacks[i] = hook_lacks(v->tracer->hooks[i].section);
}

void tracing_ask(struct tracing_view *view)
{
	begin(view);
	for (int i = 0; i < view->count; i++)
		ask(&view->tracer[i]);
}

/* One that cannot be read is no reason not to tell of the others. */
static void look(struct tracer_view *v, const struct instance *in)
{
	int err = trace_open_pinned(&v->run, v->tracer, in);
	bool opened = !err;

	if (!err)
		err = trace_lost_read(&v->run, &v->lost);
	v->pinned = !err || failure();
	v->half = !v->pinned && trace_is_half_pinned(v->tracer, in);
	if (!err)
		return;
	snprintf(v->broken, sizeof(v->broken), "%s", failure() ?: "");
	forget_failure();
	if (opened)
		trace_end(&v->run);
}

void tracing_look(struct tracing_view *view, const struct instance *in)
{
	begin(view);
	for (int i = 0; i < view->count; i++)
		look(&view->tracer[i], in);
}

static bool is_readable(const struct tracer_view *v)
{
	return v->pinned && !*v->broken;
}

void tracing_forget(struct tracing_view *view)
{
	for (int i = 0; i < view->count; i++)
		if (is_readable(&view->tracer[i]))
			trace_end(&view->tracer[i].run);
	view->count = 0;
}

int tracing_pinned(const struct tracing_view *view)
{
	int pinned = 0;

	for (int i = 0; i < view->count; i++)
		pinned += view->tracer[i].pinned;
	return pinned;
}

/* ---- telling ---- */

enum tracer_runs tracer_runs(const struct tracer_view *v)
{
	enum tracer_runs runs = RUNS_FULLY;

	for (int i = 0; i < v->tracer->hook_count && i < TRACER_HOOKS_MAX; i++) {
		if (!v->lacks[i])
			continue;
		if (v->tracer->hooks[i].needed)
			return RUNS_NOT;
		runs = RUNS_PARTLY;
	}
	return runs;
}

static const char *runs_name(enum tracer_runs runs)
{
	static const char *const names[] = {"fully", "partly", "no"};

	return names[runs];
}

#define FILTER_TEXT 1024

/* "port 80, netns_inode 4026531840". */
static const char *filter_text(const struct tracer_view *v, char text[FILTER_TEXT])
{
	json_t *filter = filter_json(&v->run.about.config.filter), *value;
	size_t used = 0;
	const char *key;

	*text = 0;
	json_object_foreach (filter, key, value) {
		if (used >= FILTER_TEXT)
			break;
		used += snprintf(text + used, FILTER_TEXT - used, "%s%s ", used ? ", " : "", key);
		if (used < FILTER_TEXT && json_is_string(value))
			used += snprintf(text + used, FILTER_TEXT - used, "%s",
					 json_string_value(value));
		else if (used < FILTER_TEXT)
			used += snprintf(text + used, FILTER_TEXT - used, "%.15g",
					 json_number_value(value));
	}
	json_decref(filter);
	return text;
}

/* What is missing, each with what it takes away. */
static json_t *missing_json(const struct tracer_view *v)
{
	json_t *missing = json_array();

	for (int i = 0; i < v->tracer->hook_count && i < TRACER_HOOKS_MAX; i++)
		if (v->lacks[i])
			json_array_append_new(
				missing,
				json_pack("{s:s,s:s,s:s,s:b}", "hook", v->tracer->hooks[i].section,
					  "why", v->lacks[i], "gives", v->tracer->hooks[i].gives,
					  "needed", v->tracer->hooks[i].needed));
	return missing;
}

static json_t *note(const struct tracer_view *v)
{
	char text[1024] = "";
	size_t used = 0;

	if (*v->broken)
		return out_string(v->broken);
	if (v->half)
		return json_string(
			"half pinned by a command that was killed: its programs run, and "
			"nobody reads what they count; the next command that changes "
			"something ends them");
	for (int i = 0; i < v->tracer->hook_count && i < TRACER_HOOKS_MAX; i++)
		if (v->lacks[i] && used < sizeof(text))
			used += snprintf(text + used, sizeof(text) - used, "%s%s: %s, so no %s",
					 used ? "; " : "", v->tracer->hooks[i].section, v->lacks[i],
					 v->tracer->hooks[i].gives);
	return *text ? out_string(text) : json_null();
}

static void add_collected(json_t *row, const struct tracer_view *v)
{
	const struct weir_trace_about *about = &v->run.about;
	char text[FILTER_TEXT];

	json_object_set_new(row, "since", out_time(about->started_ns));
	json_object_set_new(row, "collecting_seconds",
			    json_real((clock_now_ns() - about->started_ns) / 1e9));
	json_object_set_new(row, "filter", filter_json(&about->config.filter));
	json_object_set_new(row, "filter_text", out_string(filter_text(v, text)));
	json_object_set_new(row, "lost", trace_lost_json(&v->lost));
}

static json_t *row(const struct tracer_view *v)
{
	json_t *row = json_pack("{s:s,s:s?,s:s,s:o,s:b,s:b}", "tracer", v->tracer->name, "answers",
				v->tracer->answers, "runs", runs_name(tracer_runs(v)), "missing",
				missing_json(v), "can_be_pinned", !v->tracer->live_only, "pinned",
				v->pinned);

	if (is_readable(v))
		add_collected(row, v);
	json_object_set_new(row, "note", note(v));
	return row;
}

json_t *tracing_json(const struct tracing_view *view)
{
	json_t *rows = json_array();

	for (int i = 0; i < view->count; i++)
		json_array_append_new(rows, row(&view->tracer[i]));
	return rows;
}

json_t *tracing_pinned_json(const struct tracing_view *view)
{
	json_t *rows = json_array(), *all = tracing_json(view), *row, *kept;
	static const char *const fields[] = {"tracer", "collecting_seconds", "filter_text"};
	size_t n;

	json_array_foreach (all, n, row) {
		const struct tracer_view *v = &view->tracer[n];

		if (!v->pinned)
			continue;
		kept = json_object();
		for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
			if (json_object_get(row, fields[i]))
				json_object_set(kept, fields[i], json_object_get(row, fields[i]));
		json_object_set_new(kept, "state",
				    json_string(*v->broken ? "cannot be read" : "collects"));
		json_array_append_new(rows, kept);
	}
	json_decref(all);
	return rows;
}

/* ---- cost ---- */

int tracing_overhead_begin(struct tracing_overhead *o, const struct tracing_view *view)
{
	int err = 0;

	for (int i = 0; i < view->count; i++)
		o->of[i].stats = -1;
	for (int i = 0; i < view->count && !err; i++)
		if (is_readable(&view->tracer[i]))
			err = overhead_begin(&o->of[i], &view->tracer[i].run);
	return err;
}

void tracing_overhead_end(struct tracing_overhead *o, const struct tracing_view *view)
{
	for (int i = 0; i < view->count; i++)
		overhead_end(&o->of[i]);
}

json_t *tracing_overhead_json(const struct tracing_overhead *o, const struct tracing_view *view,
			      double seconds)
{
	json_t *programs = json_array(), *one, *program;
	size_t n;

	for (int i = 0; i < view->count; i++) {
		const struct tracer_view *v = &view->tracer[i];

		if (!is_readable(v))
			continue;
		one = overhead_json(&o->of[i], &v->run, seconds);
		json_array_foreach (json_object_get(one, "programs"), n, program) {
			json_t *named = json_pack("{s:s}", "tracer", v->tracer->name);

			json_object_update(named, program);
			json_array_append_new(programs, named);
		}
		json_decref(one);
	}
	return json_pack("{s:f,s:o}", "seconds", seconds, "programs", programs);
}
