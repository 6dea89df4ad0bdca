/* SPDX-License-Identifier: GPL-2.0 */
/* A look at the connections that are known: opens the instance, and leaves it to others again. */
#ifndef WEIR_SOCK_KNOWN_H
#define WEIR_SOCK_KNOWN_H

#include "sock_view.h"

struct sock_known {
	struct sock_scope *scopes;
	int scope_count; /* 0: nothing is attached, and nothing is known */
	struct connections connections;
	int tender; /* process id */
	bool on;
};

/* Those that `wanted` wants. 0 or < 0 with a fail() line; to be freed when 0. */
int sock_known_read(struct sock_known *k,
		    bool (*wanted)(const struct connection *c, const void *data), const void *data);
void sock_known_free(struct sock_known *k);

/* An array. */
json_t *sock_known_json(const struct sock_known *k);

#endif
