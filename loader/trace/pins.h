/* SPDX-License-Identifier: GPL-2.0 */
/* Tracers that go on without a command: see run.h for what is pinned. All under the instance's lock. */
#ifndef WEIR_TRACE_PINS_H
#define WEIR_TRACE_PINS_H

#include "run.h"

/* Ends what a killed command left half pinned: attach_open() begins with this. */
int trace_mend(struct instance *in);
/* 0, or < 0 with a fail() line: one is pinned already (-EEXIST), or one of another schema. */
int trace_not_pinned(const struct tracer *tracer, const struct instance *in);
/* Pins a run that has begun, and that is not pinned. When it fails nothing stays pinned. */
int trace_pin(struct trace_run *run, struct instance *in);
/* Opens the one that is pinned, to be closed by trace_end(). -ENOENT without a fail() line: none is. */
int trace_open_pinned(struct trace_run *run, const struct tracer *tracer,
		      const struct instance *in);
/* Whether a killed command has left a part of it, which is none. */
bool trace_is_half_pinned(const struct tracer *tracer, const struct instance *in);
/* Whether a run that was opened is the one that is pinned still. */
bool trace_is_pinned(const struct trace_run *run);
/* Detaches and forgets. -ENOENT without a fail() line: none is pinned. */
int trace_unpin(const struct tracer *tracer, struct instance *in);

#endif
