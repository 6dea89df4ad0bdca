/* SPDX-License-Identifier: GPL-2.0 */
/* What is attached, how much is short-cut and every connection, as documents. */
#ifndef WEIR_SOCK_VIEW_H
#define WEIR_SOCK_VIEW_H

#include <jansson.h>

#include "loader/sock/attach.h"
#include "connections.h"
#include "sock_stats.h"

struct sock_view {
	struct sock_scope *scopes;
	int scope_count;  /* 0: nothing is attached */
	int tender;	  /* process id; 0: nobody tends */
	bool on;	  /* sends may be short-cut */
	__u32 used, room; /* pairs */
	struct sock_stats now, before;
};

/* Opens the instance for the time of the reading; the one before it is kept for rates. 0 or < 0 with
 * a fail() line. */
int sock_view_read(struct sock_view *view);
/* The same in an instance that is open. */
int sock_view_take(struct sock_view *view, const struct instance *in);
void sock_view_free(struct sock_view *view);

/* "/docker"; "#1234" for a cgroup that was removed. The text is valid until the next call but 3. */
const char *sock_scope_name(const struct sock_scope *scope);
/* The attached cgroup that the user names by path or "#ID"; its fd is -1. -ENOENT with a fail() line
 * when it is not attached. */
int sock_scope_find(const char *name, const struct sock_scope *scopes, int count,
		    struct cgroup *cgroup);
const char *sock_cgroup_label(const struct sock_scope *scopes, int count, __u64 cgroup);

/* {"cgroup", "cgroup_id", "ports", "local", "limit_bytes"} */
json_t *sock_scope_json(const struct sock_scope *scope);
/* {"seconds", "tender_process", "on", "cgroups": [the above, counters of all its ports, "note",
 * "by_port": [{"port", counters}]]}; of one cgroup if `only` is not 0. */
json_t *sock_view_json(const struct sock_view *view, __u64 only);
/* A row for each cgroup and port, as a stream shows them: an array. */
json_t *sock_view_rows(const struct sock_view *view, __u64 only);
/* Connections that are short-cut now. */
__u64 sock_view_pairs(const struct sock_view *view);
/* One line: who tends, or what it means that nobody does. */
void sock_view_tender(const struct sock_view *view, char *text, size_t room);

json_t *connection_json(const struct connection *c, const struct sock_scope *scopes, int count);

#endif
