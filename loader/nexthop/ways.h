/* SPDX-License-Identifier: GPL-2.0 */
/* The ways to many backends at once: each address is looked at only once, and all neighbours are
 * asked for before any is waited for. */
#ifndef WEIR_WAYS_H
#define WEIR_WAYS_H

#include <stdbool.h>
#include <stddef.h>

#include "loader/host/instance.h"
#include "nexthop.h"

struct way {
	struct address to;
	bool known; /* hop was found out */
	struct next_hop hop;
};

/* In order of addresses. */
struct ways {
	struct way *way;
	size_t count;
};

/* To the first `count` addresses of `to`, each once; none is looked at yet. -ENOMEM with a line. */
int ways_collect(struct ways *ways, const struct address *to, size_t count);
void ways_free(struct ways *ways);

/* Looks at all and waits, altogether at most `wait_ms`, for neighbours to answer. < 0 with a fail()
 * line at the first that weir cannot send by. */
int ways_find(struct ways *ways, unsigned int wait_ms);

/* Looks at as many as `ms` allow, from where the last call ended; those that weir cannot send by
 * stay unknown. Neighbours are kept resolved from now on. */
void ways_look(struct ways *ways, unsigned int ms);

/* Far ends that have to poll so that a device on one of the ways takes XDP frames are made to, as
 * many as `ms` allow: TC transmits by the others. */
void ways_prepare(struct ways *ways, const struct instance *in, unsigned int ms);

/* NULL: not among them, or nothing could be found out. */
const struct next_hop *ways_hop(const struct ways *ways, const struct address *to);

#endif
