/* SPDX-License-Identifier: GPL-2.0 */
/* All that is known of listeners at one moment: what was counted, how deep their queues are, and what the
 * kernel counted itself. */
#ifndef WEIR_TCP_QUEUE_READING_H
#define WEIR_TCP_QUEUE_READING_H

#include "loader/trace/counts.h"
#include "loader/trace/run.h"
#include "loader/kernel/snapshot.h"
#include "trace/abi/queue.h"

/* Sockets that listen on the same address and port. */
struct queue_sockets {
	struct weir_queue_listener listener;
	__u32 count;
	__u32 accept_queue, syn_queue, syn_young; /* sums */
	__u32 accept_deepest, syn_deepest;	  /* of one of them */
	__u32 limit;				  /* of each; the lowest */
};

struct queue_space {
	__u64 cookie;
	__u32 netns;
	__u32 somaxconn, max_syn_backlog, syncookies;
	__u64 kernel[WEIR_MIBS];
};

/* Clients that were dropped and did not get in yet. */
struct queue_clients {
	__u64 waiting, gave_up;
};

struct queue_reading {
	/* Of struct weir_queue_counts, before and after the rest was read: what happened between is in
	 * the second only. */
	struct counts before, after;
	struct counts waiting;
	struct queue_sockets *sockets; /* sorted by listener */
	size_t socket_count;
	struct queue_space *spaces; /* sorted by cookie */
	size_t space_count;
	__u64 ns;
};

/* By enum weir_queue_mib. */
extern const char *const queue_mibs[WEIR_MIBS];

/* 0 or < 0 with a fail() line. To be freed by queue_reading_free() after either. */
int queue_read(struct queue_reading *r, struct trace_run *run, struct snapshot *snapshot);
void queue_reading_free(struct queue_reading *r);

const struct queue_sockets *queue_sockets_of(const struct queue_reading *r,
					     const struct weir_queue_listener *listener);
const struct queue_space *queue_space_of(const struct queue_reading *r, __u64 cookie);
struct queue_clients queue_clients_of(const struct queue_reading *r,
				      const struct weir_queue_listener *listener);

#endif
