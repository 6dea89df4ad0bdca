/* SPDX-License-Identifier: GPL-2.0 */
/* The maps of the socket programs, pinned below <instance>/sock: see sockops/abi.h. */
#ifndef WEIR_SOCK_MAPS_H
#define WEIR_SOCK_MAPS_H

#include <stdbool.h>

#include "loader/host/instance.h"
#include "sockops/abi.h"

struct bpf_map;

struct sock_maps {
	int sockets, births, ends, local, totals; /* -1 when not open */
	int control_fd, pairs_fd, lives_fd;
	struct weir_sock_control *control; /* shared memory, written by programs too */
	struct weir_pair *pairs;
	struct weir_lives *lives;
	__u32 pair_count;
};

/* Opens what is pinned. 0; -ENOENT without a fail() line when no cgroup is attached; < 0. */
int sock_maps_open(struct sock_maps *m, const struct instance *in);
/* The same, and makes what is not there, for `pairs` pairs. */
int sock_maps_make(struct sock_maps *m, const struct instance *in, __u32 pairs);
void sock_maps_close(struct sock_maps *m);

/* Makes an object that is not loaded yet use these maps, whichever of them it has. */
struct bpf_object;
int sock_maps_reuse(const struct sock_maps *m, struct bpf_object *object);

#endif
