/* SPDX-License-Identifier: GPL-2.0 */
/* What was short-cut and what was not, by attached cgroup and port, from reading to reading. */
#ifndef WEIR_SOCK_STATS_H
#define WEIR_SOCK_STATS_H

#include <stdbool.h>
#include <stddef.h>

#include "sockops/abi.h"

struct sock_maps;

struct sock_port_stats {
	__u64 cgroup;
	__u32 port; /* 0: ports for which there was no room */
	__u32 live; /* pairs that are short-cut now */
	/* Of pairs that are gone and of those that live; `pairs` counts both as well. */
	struct weir_sock_totals total;
};

struct sock_stats {
	double seconds;		      /* CLOCK_MONOTONIC; 0: never read */
	__u64 started_ns;	      /* of these books; others began anew */
	struct sock_port_stats *port; /* by cgroup and port */
	size_t count;
};

/* 0 or < 0 with a fail() line. What stats held is released first. */
int sock_stats_read(struct sock_stats *stats, const struct sock_maps *m);
void sock_stats_free(struct sock_stats *stats);

/* The same from what was read: a pair is in `pairs` or in `totals`, never in both. */
struct sock_port_totals {
	struct weir_sock_port of;
	struct weir_sock_totals totals;
};
int sock_stats_sum(struct sock_stats *stats, const struct weir_pair *pairs, size_t pair_count,
		   const struct sock_port_totals *totals, size_t total_count);

/* NULL: nothing is known of it. */
const struct sock_port_stats *sock_stats_of(const struct sock_stats *stats, __u64 cgroup,
					    __u32 port);

/*
 * What was counted at this port from `before` to `after`. A counter that ran backwards belongs to a
 * cgroup that was attached anew and says nothing; one that was not there before counts from 0.
 */
void sock_stats_between(const struct sock_stats *before, const struct sock_stats *after,
			const struct sock_port_stats *port, struct weir_sock_totals *delta);

/* Both directions. */
struct weir_way sock_both_ways(const struct weir_sock_totals *totals);
/* Percent of the bytes that were short-cut; < 0 when there were none. */
double sock_shortcut_share(const struct weir_way *way);
/* WEIR_REFUSALS: none was refused. */
enum weir_refusal sock_top_refusal(const struct weir_sock_totals *totals);
__u64 sock_refused(const struct weir_sock_totals *totals);

#endif
