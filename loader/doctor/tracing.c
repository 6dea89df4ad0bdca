// SPDX-License-Identifier: GPL-2.0
/* Which tracing commands this kernel can run, and how those in the background fare. */
#include "findings.h"

#include <stdio.h>
#include <string.h>

/* ---- the kernel ---- */

/* What one hook gives can be had here or not; what only another kernel has is no reason to warn of it, unless
 * nothing is left without it. */
static void check_runs(struct doctor *d, const struct tracer_view *v)
{
	const struct tracer *t = v->tracer;
	enum tracer_runs runs = tracer_runs(v);
	const char *remedy = NULL;
	char name[64], text[1024];
	size_t used = 0;

	for (int i = 0; i < t->hook_count && i < TRACER_HOOKS_MAX; i++) {
		if (!v->lacks[i] || used >= sizeof(text))
			continue;
		used += snprintf(text + used, sizeof(text) - used, "%s no %s (%s: %s)",
				 used ? "," : "", t->hooks[i].gives, t->hooks[i].section,
				 v->lacks[i]);
		if (!remedy)
			remedy = hook_remedy(t->hooks[i].section, v->lacks[i]);
	}
	snprintf(name, sizeof(name), "tcp %s", t->name);
	report(d, name, runs == RUNS_NOT || remedy ? WARN : OK, "%s:%s",
	       runs == RUNS_NOT ? "does not run" : "runs partly", text);
	if (runs == RUNS_NOT || remedy)
		advise(d, "%s", remedy ?: "upgrade the kernel");
}

void doctor_tracers(struct doctor *d, const struct tracing_view *view)
{
	int fully = 0;

	for (int i = 0; i < view->count; i++)
		fully += tracer_runs(&view->tracer[i]) == RUNS_FULLY;
	if (fully == view->count)
		report(d, "tracing", OK, "all %d commands of 'weir tcp' run fully", fully);
	else
		report(d, "tracing", OK, "%d of the %d commands of 'weir tcp' run fully", fully,
		       view->count);
	for (int i = 0; i < view->count; i++)
		if (tracer_runs(&view->tracer[i]) != RUNS_FULLY)
			check_runs(d, &view->tracer[i]);
}

/* ---- what is pinned ---- */

static void advise_anew(struct doctor *d, const char *name, const char *how)
{
	char command[128];

	snprintf(command, sizeof(command), "%s", weir(d));
	advise(d, "%s tcp %s --unpin; %s tcp %s --pin%s", command, name, command, name, how);
}

static void check_pinned(struct doctor *d, const struct tracer_view *v)
{
	const struct trace_lost *lost = &v->lost;
	const char *name = v->tracer->name;

	if (*v->broken) {
		report(d, name, WARN, "%s", v->broken);
		advise_anew(d, name, "");
		return;
	}
	if (lost->records_full) {
		report(d, name, WARN,
		       "%llu times a map had no room: what it would have held is not counted",
		       lost->records_full);
		advise_anew(d, name, " with a filter: what is worth it");
	}
	if (lost->missed)
		report(d, name, WARN,
		       "%llu events were missed, as they interrupted the program that counts them",
		       lost->missed);
	if (!lost->records_full && !lost->missed)
		report(d, name, OK, "collects, and has lost nothing");
}

/* Whatever changes something clears that away first. */
static void report_half(struct doctor *d, const char *name)
{
	report(d, name, WARN,
	       "half pinned by a command that was killed: its programs run for nobody");
	advise(d, "%s tcp %s --pin", weir(d), name);
}

void doctor_pinned(struct doctor *d, const struct tracing_view *view)
{
	d->subject = "tcp";
	for (int i = 0; i < view->count; i++)
		if (view->tracer[i].pinned)
			check_pinned(d, &view->tracer[i]);
		else if (view->tracer[i].half)
			report_half(d, view->tracer[i].tracer->name);
}
