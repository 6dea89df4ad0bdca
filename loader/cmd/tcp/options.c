// SPDX-License-Identifier: GPL-2.0
#include "options.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "loader/base/error.h"
#include "loader/base/options.h"
#include "loader/trace/by.h"
#include "loader/trace/filter.h"

/* Filters that take one value. */
static const struct {
	const char *word;
	int (*parse)(struct weir_trace_filter *f, const char *text);
} filters[] = {
	{"--port", filter_port}, {"--peer", filter_peer},   {"--peer-port", filter_peer_port},
	{"--pid", filter_pid},	 {"--netns", filter_netns},
};

#define FILTERS (sizeof(filters) / sizeof(filters[0]))

/* 1: taken; 0: not one of these. */
static int take_filter(struct tcp_options *o, struct args *args)
{
	const char *text;
	int err;

	for (size_t i = 0; i < FILTERS; i++) {
		if (!accept_word(args, filters[i].word))
			continue;
		if (o->named >> i & 1)
			return misuse("%s: it can be given once", filters[i].word);
		o->named |= 1u << i;
		text = value_of(args, filters[i].word);
		err = text ? filters[i].parse(&o->filter, text) : -EINVAL;
		o->filtered = true;
		return err ? err : 1;
	}
	if (accept_word(args, "--cgroup")) {
		text = value_of(args, "--cgroup");
		if (o->cgroup.fd >= 0)
			return misuse("--cgroup: only one can be named");
		err = text ? filter_cgroup(&o->filter, text, &o->cgroup) : -EINVAL;
	} else if (accept_word(args, "-4")) {
		err = filter_family(&o->filter, 4);
	} else if (accept_word(args, "-6")) {
		err = filter_family(&o->filter, 6);
	} else {
		return 0;
	}
	o->filtered = true;
	return err ? err : 1;
}

static int take_number(struct args *args, const char *word, const char *what, double *seconds,
		       long *count)
{
	const char *text = value_of(args, word);

	if (!text)
		return -EINVAL;
	return seconds ? parse_seconds(what, text, seconds)
		       : parse_number(what, text, 1, LONG_MAX, count);
}

static int take_mode(struct tcp_options *o, enum tcp_pinning pinning)
{
	if (o->pinning && o->pinning != pinning)
		return misuse("only one of --pin, --pinned and --unpin is possible");
	o->pinning = pinning;
	return 0;
}

static int take(struct tcp_options *o, const struct tcp_command *command, struct args *args)
{
	int err = take_filter(o, args);

	if (err)
		return err < 0 ? err : 0;
	err = command->option ? command->option(command->settings, args) : 0;
	o->filtered |= err == TCP_OPTION_COLLECTS;
	o->showing |= err == TCP_OPTION_SHOWS;
	if (err)
		return err < 0 ? err : 0;
	if (command->min && accept_word(args, "--min")) {
		const char *text = value_of(args, "--min");

		o->filtered = true;
		return text ? filter_min(&o->filter, text) : -EINVAL;
	}
	if (accept_word(args, "-i"))
		return take_number(args, "-i", "interval", &o->interval, NULL);
	if (accept_word(args, "-d"))
		return take_number(args, "-d", "duration", &o->seconds, NULL);
	if (accept_word(args, "-c"))
		return take_number(args, "-c", "count", NULL, &o->count);
	if (accept_word(args, "--overhead"))
		o->overhead = true;
	else if (command->line && (accept_word(args, "--summary") || accept_word(args, "-s")))
		o->summary = true;
	else if (command->summary_first &&
		 (accept_word(args, "--lines") || accept_word(args, "-l")))
		o->lines = true;
	else if (accept_word(args, "--pin"))
		return take_mode(o, PIN);
	else if (accept_word(args, "--pinned"))
		return take_mode(o, PINNED);
	else if (accept_word(args, "--unpin"))
		return take_mode(o, UNPIN);
	else
		return no_more_words(args);
	return 0;
}

double tcp_options_interval(const struct tcp_options *o, const struct tcp_command *command)
{
	bool once = o->summary || o->pinning == PINNED;

	return o->interval ?: once ? 0 : command->interval;
}

/* What says nothing in the mode that was chosen is a mistake, not something to pass over. */
static int check(const struct tcp_options *o, const struct tcp_command *command)
{
	bool paced = o->interval || o->seconds || o->count;

	if (o->pinning && command->tracer->live_only)
		return misuse("'%s' does not collect in the background: it looks at what there is; "
			      "'weir tcp life --pin' collects who moved how many bytes",
			      command->tracer->name);
	if (o->pinning == PIN && (paced || o->summary || o->overhead))
		return misuse(
			"--pin returns at once: -i, -d, -c, --summary and --overhead belong to "
			"--pinned");
	if (o->pinning == PIN && o->showing)
		return misuse(
			"--pin returns at once: what decides how to show belongs to --pinned");
	if (o->pinning == UNPIN &&
	    (paced || o->showing || o->summary || o->overhead || o->filtered))
		return misuse("--unpin stands alone");
	if (o->pinning == PINNED && o->filtered)
		return misuse("filters belong to --pin: what it left out was not collected");
	if (o->filter.pid && command->no_pid_counted && (o->pinning || o->summary || o->interval))
		return misuse("--pid: %s", command->no_pid_counted);
	if (o->filter.pid && command->no_pid)
		return misuse("--pid: %s", command->no_pid);
	if (o->lines && (o->summary || o->interval || o->pinning))
		return misuse("--lines shows what happens when it happens: -i, --summary and "
			      "--pin belong to summaries");
	if (o->count && !tcp_options_lines(o, command) && !tcp_options_interval(o, command))
		return misuse("-c counts summaries here: how far apart says -i");
	return 0;
}

int tcp_options_parse(struct tcp_options *o, const struct tcp_command *command, struct args *args)
{
	int err = 0;

	*o = (struct tcp_options){.cgroup.fd = -1};
	while (!err && args->count)
		err = take(o, command, args);
	return err ? err : check(o, command);
}

bool tcp_options_lines(const struct tcp_options *o, const struct tcp_command *command)
{
	return command->line && !o->pinning && !o->summary && !o->interval &&
	       (!command->summary_first || o->lines);
}

void tcp_options_close(struct tcp_options *o)
{
	if (o->cgroup.fd >= 0)
		close(o->cgroup.fd);
}

int tcp_option_by(void *settings, struct args *args)
{
	const char *text;

	if (!accept_word(args, "--by"))
		return 0;
	text = value_of(args, "--by");
	return text && !by_parse(settings, text) ? TCP_OPTION_COLLECTS : -EINVAL;
}
