/* SPDX-License-Identifier: GPL-2.0 */
/* The walk over the sockets that weir knows, in all namespaces: sockops/walk.h. */
#ifndef WEIR_SOCK_WALK_H
#define WEIR_SOCK_WALK_H

#include <stddef.h>

#include "loader/sock/sock_maps.h"

struct weir_tend_bpf;
struct bpf_link;

struct walker {
	struct weir_tend_bpf *skel;
	struct bpf_link *walk;
	struct bpf_link *sent, *read;	 /* the observers, while there is somebody to observe */
	struct weir_sock_record *record; /* of the last walk */
	size_t count, room;
};

/* tending: with the programs that observe and release, which only the tender needs. */
int walker_open(struct walker *w, const struct sock_maps *m, bool tending);
/* Reads all records, sorted by key and end. 0 or < 0 with a fail() line. */
int walker_walk(struct walker *w, struct weir_walk what);
/* Reads an iterator over TCP sockets (a struct bpf_link) to its end: it says nothing, it does. The
 * kernel takes the namespace that we are in. For netns_for_each(). */
int walker_read_iterator(void *link);
void walker_close(struct walker *w);

/* Attaches the observers of all sends and receives of the host, or takes them off. */
int walker_observe(struct walker *w, bool on);

/* Index of the other end's record; -1: there is none, or more than one. */
long walker_other(const struct walker *w, size_t index);

#endif
