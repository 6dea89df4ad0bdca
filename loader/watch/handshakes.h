/* SPDX-License-Identifier: GPL-2.0 */
/* What the TC program of one device has learnt of handshakes, and its events while they happen. */
#ifndef WEIR_HANDSHAKES_H
#define WEIR_HANDSHAKES_H

#include <stdbool.h>
#include <stddef.h>

#include "tc/abi.h"

struct handshake_maps { /* file descriptors; see tc/abi.h */
	int handshakes;
	int endpoints;
	int endpoint_stats;
	int tc_counters;
	int watchers;
	int events;
};

struct handshake_latency {
	__u64 samples;
	double mean_us;
	double p50_us, p90_us, p99_us; /* interpolated within a quarter of an octave */
	__u64 max_us;
};

/* The worst that is known of an endpoint: the first of these that applies. */
enum handshake_verdict {
	HANDSHAKE_ACCEPT_QUEUE_FULL,
	HANDSHAKE_SYN_QUEUE_FULL,
	HANDSHAKE_SYN_COOKIES,
	HANDSHAKE_UNANSWERED,
	HANDSHAKE_UNFINISHED,
	HANDSHAKE_REFUSED,
	HANDSHAKE_OK,
	HANDSHAKE_VERDICTS,
};

struct handshake_endpoint {
	bool others; /* all that found no slot of their own: role and port mean nothing */
	enum weir_role role;
	__u16 port;
	struct weir_endpoint_stats stats; /* stale entries count as given up */
	struct handshake_latency synack;  /* SYN -> SYN-ACK */
	struct handshake_latency ack;	  /* SYN-ACK -> third packet */
	__u64 half_open;
	__u64 half_open_peak;
	struct weir_endpoint queues; /* of the local listener; queue_max is 0 if none was seen */
	enum handshake_verdict verdict;
};

/* Endpoints with at least one SYN, by role and port, in an array the caller frees; `counters` may
 * be NULL. Returns 0 or a negative errno with a fail() line. */
int handshakes_read(const struct handshake_maps *maps, struct handshake_endpoint **list,
		    size_t *count, struct weir_tc_counters *counters);

const char *handshake_verdict_name(enum handshake_verdict verdict); /* "accept_queue_full"... */
bool handshake_verdict_is_loss(enum handshake_verdict verdict);	    /* SYNs are dropped here */

/* One sentence: what happens and what to do about it. Empty when there is nothing to say. */
void handshake_advice(const struct handshake_endpoint *endpoint, char *text, size_t size);

/* The latency of a histogram. */
void handshake_latency_of(const struct weir_latency *histogram, struct handshake_latency *latency);

/* ---- events ---- */

typedef int handshake_event_fn(void *arg, const struct weir_handshake_event *event);

struct handshake_watch;

/* Takes the lease of each device's events. -EBUSY when another process watches one of them. */
int handshake_watch_open(const struct handshake_maps *maps, size_t devices, handshake_event_fn *fn,
			 void *arg, struct handshake_watch **watch);

/* Renews the leases and hands over what has come. Returns what `fn` did if that was not 0. */
int handshake_watch_poll(struct handshake_watch *watch);

/* Events that were lost since the watch began: the ring was full. */
__u64 handshake_watch_lost(const struct handshake_watch *watch);

void handshake_watch_close(struct handshake_watch *watch);

#endif
