// SPDX-License-Identifier: GPL-2.0
#include "lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/libbpf.h>

#include "loader/base/error.h"

struct trace_lines {
	struct ring_buffer *ring;
	trace_event_fn *fn;
	void *arg;
	int stopped; /* what fn returned */
};

static int on_event(void *ctx, void *data, size_t size)
{
	struct trace_lines *lines = ctx;

	lines->stopped = lines->fn(lines->arg, data, size);
	return lines->stopped ? -ECANCELED : 0; /* libbpf goes on unless it is negative */
}

int trace_lines_open(struct trace_run *run, trace_event_fn *fn, void *arg,
		     struct trace_lines **lines)
{
	int fd = trace_map(run, "events");
	struct trace_lines *l;

	if (fd < 0)
		return fd;
	l = calloc(1, sizeof(*l));
	if (!l)
		return fail(-ENOMEM, "out of memory");
	l->fn = fn;
	l->arg = arg;
	l->ring = ring_buffer__new(fd, on_event, l, NULL);
	if (!l->ring) {
		free(l);
		return fail(-errno, "cannot read events: %m");
	}
	*lines = l;
	return 0;
}

int trace_lines_poll(struct trace_lines *lines)
{
	int err;

	lines->stopped = 0;
	err = ring_buffer__consume(lines->ring);
	if (lines->stopped)
		return lines->stopped;
	return err < 0 ? fail(err, "cannot read events: %s", strerror(-err)) : 0;
}

void trace_lines_close(struct trace_lines *lines)
{
	if (!lines)
		return;
	ring_buffer__free(lines->ring);
	free(lines);
}
