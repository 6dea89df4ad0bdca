/* SPDX-License-Identifier: GPL-2.0 */
/* Cgroups whose connections may be short-cut: attaching, finding what is attached, detaching. */
#ifndef WEIR_SOCK_ATTACH_H
#define WEIR_SOCK_ATTACH_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "loader/host/cgroup.h"
#include "loader/host/instance.h"
#include "sock_maps.h"

struct sock_prefix {
	__be32 address[4]; /* IPv4 as ::ffff:a.b.c.d */
	unsigned int bits; /* of the 128 */
};

struct sock_settings {
	struct weir_port_range port[WEIR_PORT_RANGES];
	unsigned int port_ranges;
	struct sock_prefix *local;
	size_t local_count;
	__u32 limit; /* bytes */
	__u32 pairs; /* room; 0: default, or as it is */
};

/* Attaches to the cgroup or, where it is attached, changes the settings in one step. */
int sock_attach(struct instance *in, const struct cgroup *cgroup, const struct sock_settings *s);

/* An attached cgroup. */
struct sock_scope {
	__u64 cgroup;
	char name[PATH_MAX]; /* below the cgroup2 mount; "" when the cgroup is gone */
	struct weir_sock_config config;
	struct sock_prefix *local;
	size_t local_count;
};

/* All that are attached; *scopes is the caller's to free by sock_scopes_free(). Count or < 0. */
int sock_scopes(const struct instance *in, struct sock_scope **scopes);
void sock_scopes_free(struct sock_scope *scopes, int count);

/* New connections of this cgroup, or of all, are not seen any more. */
void sock_scope_remove(const struct instance *in, const struct cgroup *cgroup);

/* The networks that its connections had to lead to. */
void sock_forget_prefixes(const struct sock_maps *m, const struct cgroup *cgroup);

struct sock_detached {
	unsigned long released; /* sockets given back to TCP */
	unsigned long kept;	/* in pass-through until they close */
	unsigned long lost;	/* taken out by force with something unread */
};

/* The cgroup's connections go by TCP again; NULL: those of all, and nothing stays pinned. */
int sock_detach(struct instance *in, const struct cgroup *cgroup, bool force,
		struct sock_detached *result);

#endif
