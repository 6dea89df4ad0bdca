/* SPDX-License-Identifier: GPL-2.0 */
/* All TCP sockets of all namespaces, or of one, in certain states: 0.4 us of CPU each. */
#ifndef WEIR_TRACE_SNAPSHOT_H
#define WEIR_TRACE_SNAPSHOT_H

#include <linux/types.h>

#include "trace/abi/sockets.h"

struct snapshot;

/* Loads the iterator; `states`: WEIR_STATE_BIT()s of what is to be told of, half-open ones being
 * TCP_NEW_SYN_RECV. 0 or < 0 with a fail() line. */
int snapshot_open(struct snapshot **snapshot, const struct weir_trace_filter *filter, __u32 states);
/* Calls fn for each socket until it returns < 0, which is returned. */
typedef int snapshot_fn(void *arg, const struct weir_socket *socket);
int snapshot_read(struct snapshot *snapshot, snapshot_fn *fn, void *arg);
/* The same, with something to do in each namespace before its sockets are told of, by the thread that
 * is in it: `enter` may be NULL. */
int snapshot_visit(struct snapshot *snapshot, int (*enter)(void *arg, __u64 netns), snapshot_fn *fn,
		   void *arg);
void snapshot_close(struct snapshot *snapshot);

#endif
