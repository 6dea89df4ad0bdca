/* SPDX-License-Identifier: GPL-2.0 */
/* TCP sockets of this host that weir does not know, as the kernel tells of them. */
#ifndef WEIR_SOCK_STRANGERS_H
#define WEIR_SOCK_STRANGERS_H

#include "connections.h"

struct stranger {
	struct sock_end local, remote;
	__u64 cgroup; /* id; 0: the kernel does not tell */
	__u64 netns;  /* inode */
};

struct strangers {
	struct stranger *list;
	size_t count;
};

/* Connected sockets with this end, and with the other one if it is not NULL, in all network
 * namespaces that can be reached. 0 or < 0 with a fail() line. */
int strangers_find(struct strangers *s, const struct sock_end *end, const struct sock_end *other);
void strangers_free(struct strangers *s);

/* The socket at the other end of this one; NULL: it is not on this host, or NAT is between. */
const struct stranger *stranger_peer(const struct strangers *s, const struct stranger *of);

#endif
