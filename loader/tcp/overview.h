/* SPDX-License-Identifier: GPL-2.0 */
/* All tracers at a glance: which of them this kernel can run, and which collect in the background. */
#ifndef WEIR_TCP_OVERVIEW_H
#define WEIR_TCP_OVERVIEW_H

#include "loader/trace/overhead.h"
#include "loader/trace/run.h"

#define TRACERS_MAX	 16
#define TRACER_HOOKS_MAX 16

enum tracer_runs {
	RUNS_FULLY,
	RUNS_PARTLY,
	RUNS_NOT,
};

struct tracer_view {
	const struct tracer *tracer;
	const char *lacks[TRACER_HOOKS_MAX]; /* of each hook, why it is not there; NULL: it is */
	bool pinned;
	char broken[512];     /* why the pinned one cannot be read, or "" */
	bool half;	      /* a killed command has left a part of it */
	struct trace_run run; /* the pinned one, unless it is broken */
	struct trace_lost lost;
};

struct tracing_view {
	struct tracer_view tracer[TRACERS_MAX];
	int count;
};

/* A view is zeroed before the first of these. What the kernel can run... */
void tracing_ask(struct tracing_view *view);
/* ...and what is pinned in the instance; to be forgotten after that. */
void tracing_look(struct tracing_view *view, const struct instance *in);
void tracing_forget(struct tracing_view *view);
int tracing_pinned(const struct tracing_view *view);

enum tracer_runs tracer_runs(const struct tracer_view *view);

/* An array with a row of each; see weir(8). */
json_t *tracing_json(const struct tracing_view *view);
/* Of the pinned ones: {"tracer", "collecting_seconds", "filter_text", "state"}. */
json_t *tracing_pinned_json(const struct tracing_view *view);

/* What the pinned ones cost from overhead_begin() on. 0 or < 0 with a fail() line; the end is harmless
 * after either. */
struct tracing_overhead {
	struct overhead of[TRACERS_MAX];
};

int tracing_overhead_begin(struct tracing_overhead *o, const struct tracing_view *view);
void tracing_overhead_end(struct tracing_overhead *o, const struct tracing_view *view);
/* {"seconds", "programs": [{"tracer", and what overhead_json() has}]} */
json_t *tracing_overhead_json(const struct tracing_overhead *o, const struct tracing_view *view,
			      double seconds);

#endif
