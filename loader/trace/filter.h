/* SPDX-License-Identifier: GPL-2.0 */
/* What the user wants to see, from words and back. */
#ifndef WEIR_TRACE_FILTER_WORDS_H
#define WEIR_TRACE_FILTER_WORDS_H

#include <jansson.h>

#include "loader/host/cgroup.h"
#include "trace/abi/trace.h"

/* Each takes one value; 0 or < 0 and the filter as it was: a misuse() line, or a fail() line where what is
 * named does not exist. */
int filter_port(struct weir_trace_filter *f, const char *text);	     /* "80,8000-8999" */
int filter_peer_port(struct weir_trace_filter *f, const char *text); /* the same */
int filter_peer(struct weir_trace_filter *f, const char *text);	     /* address or prefix */
int filter_pid(struct weir_trace_filter *f, const char *text);
int filter_min(struct weir_trace_filter *f, const char *text); /* "5", "5ms", "200us", "1.5s" */
/* A name as in `ip netns`, a path, or a process whose namespace it is. */
int filter_netns(struct weir_trace_filter *f, const char *text);
int filter_family(struct weir_trace_filter *f, __u8 family); /* 4 or 6 */
/* Opens it too: programs of cgroups are attached to it. To be closed when c->fd >= 0. */
int filter_cgroup(struct weir_trace_filter *f, const char *text, struct cgroup *c);

/* {"port": "80,8000-8999", "peer": "10.0.0.0/8", ..., "min_us": 5000}: what it has, and no more. */
json_t *filter_json(const struct weir_trace_filter *f);

#endif
