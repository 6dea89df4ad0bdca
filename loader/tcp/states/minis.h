/* SPDX-License-Identifier: GPL-2.0 */
/* What becomes of mini-sockets. No tracepoint tells of it: an iterator looks for them while there are some to
 * be followed, and what it sees has happened since it looked before. */
#ifndef WEIR_TCP_MINIS_H
#define WEIR_TCP_MINIS_H

#include <stdbool.h>
#include <stddef.h>

#include "loader/kernel/snapshot.h"
#include "trace/abi/states.h"

#define MINIS_MAX 4096

struct mini_followed {
	struct weir_state_event last; /* .mini is its key, .to what it stands in for */
	__u64 earliest_ns;	      /* that its state may have begun: at .last.ns it had */
	__u64 looked_ns;	      /* when it was still in it */
	__u8 seen;		      /* the state, by this look; 0: not yet */
	bool looked_for;	      /* its namespace was visited */
};

struct minis {
	struct mini_followed *followed; /* MINIS_MAX; sorted by .last.mini when looked for */
	size_t count;
	__u64 not_followed; /* there were too many, or their namespace was not found */
	struct snapshot *snapshot;
};

/* 0 or < 0 with a fail() line. */
int minis_follow(struct minis *minis, const struct weir_state_event *event);
/* Calls fn for each that has changed, with what looks like its event: .to is TCP_CLOSE for one that is no
 * more, .lasted_ns is the most that it can be, and `least_ns` the least. 0 or < 0 with a fail() line. */
typedef void mini_changed_fn(void *arg, const struct weir_state_event *event, __u64 least_ns);
int minis_look(struct minis *minis, const struct weir_trace_filter *filter, mini_changed_fn *fn,
	       void *arg);
void minis_forget(struct minis *minis);

#endif
