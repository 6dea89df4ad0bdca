/* SPDX-License-Identifier: GPL-2.0 */
/* The words that every command of `weir tcp` understands. */
#ifndef WEIR_CMD_TCP_OPTIONS_H
#define WEIR_CMD_TCP_OPTIONS_H

#include "session.h"

enum tcp_pinning {
	NOT_PINNED,
	PIN,	/* begin to collect in the background */
	PINNED, /* show what was collected */
	UNPIN,
};

struct tcp_options {
	struct weir_trace_filter filter;
	struct cgroup cgroup; /* .fd < 0: none was named */
	enum tcp_pinning pinning;
	bool summary; /* instead of lines */
	bool lines;   /* instead of summaries */
	bool overhead;
	bool filtered;	    /* any filter was named */
	unsigned int named; /* which filters with one value, a bit each */
	bool showing;	    /* so was how to show what was collected */
	double interval;    /* seconds; 0: not given */
	double seconds;	    /* how long; 0: until interrupted */
	long count;	    /* lines or summaries; 0: no end */
};

/* 0 or < 0 with a misuse() line; options_close() after either. */
int tcp_options_parse(struct tcp_options *o, const struct tcp_command *command, struct args *args);
/* Lines, or summaries. */
bool tcp_options_lines(const struct tcp_options *o, const struct tcp_command *command);
/* Seconds between summaries; 0: there is one, at the end. */
double tcp_options_interval(const struct tcp_options *o, const struct tcp_command *command);
void tcp_options_close(struct tcp_options *o);

/* For tcp_command.option: --by, where the settings begin with struct weir_by. */
int tcp_option_by(void *settings, struct args *args);

#endif
