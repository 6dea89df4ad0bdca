/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What all commands of `weir tcp` have in common: filters, pace, lines or summary, --pin and its kin,
 * --overhead. A command says what it is made of, and tcp_session() does the rest.
 */
#ifndef WEIR_CMD_TCP_SESSION_H
#define WEIR_CMD_TCP_SESSION_H

#include "loader/base/args.h"
#include "loader/out/out.h"
#include "loader/trace/run.h"

#define TCP_OPTION_COLLECTS 2
#define TCP_OPTION_SHOWS    3

struct tcp_command {
	const struct tracer *tracer;

	/* Lines. `row` makes one of an event; NULL: it is not to be shown. */
	const struct table *line; /* NULL: there are none */
	json_t *(*row)(struct trace_run *run, const void *event, size_t size);
	/* Rows that no event brings: asked once a second, an array or NULL. May be NULL. */
	json_t *(*rows)(struct trace_run *run);

	/* The summary of what was counted in the last `seconds`, since the last call; 0: since the
	 * tracer began. The first call of a pinned run with seconds > 0 only takes the first reading:
	 * its result is not shown. */
	const struct table *tables;
	int table_count;
	json_t *(*summary)(struct trace_run *run, double seconds);
	int (*meanwhile)(
		struct trace_run *run); /* often, while a summary is waited for; may be NULL */
	double interval; /* without -i, when summaries are the default; 0: one, when interrupted */
	bool at_once; /* that one is shown at the beginning: there is something to tell already */

	/* Takes an option of its own: 1, or TCP_OPTION_COLLECTS when it decides what is collected, so
	 * that it belongs to --pin as filters do, or TCP_OPTION_SHOWS when it belongs to --pinned; 0
	 * when it is not one; < 0 with a misuse() line. */
	int (*option)(void *settings, struct args *args);
	void *settings;	      /* becomes run->settings */
	bool min;	      /* --min is understood */
	bool summary_first;   /* there are lines, but only for who asks with --lines */
	const char *left_out; /* what is not known is not shown, and this says so behind a number */
	const char *no_pid;   /* why --pid is not possible; NULL: it is */
	const char *no_pid_counted; /* the same, where nothing but counts is kept */
};

int tcp_session(const struct tcp_command *command, struct args *args);

#endif
