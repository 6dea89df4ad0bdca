/* SPDX-License-Identifier: GPL-2.0 */
/* Why a connection is short-cut or not, told step by step in words. */
#ifndef WEIR_SOCK_WHY_H
#define WEIR_SOCK_WHY_H

#include <jansson.h>

#include "known.h"
#include "strangers.h"

/*
 * {the fields of connection_json(), "known": true, "ends": {"client", "server"}, "steps": [{"step",
 * "says"}]}. `sockets` are those of the host with its ends, for what is known of one end only.
 */
json_t *why_connection(const struct connection *c, const struct strangers *sockets,
		       const struct sock_known *k);

/* Of a connection that weir does not know: {"known": false, "client": null, "server": null, "local",
 * "remote", "state", "steps"}. */
json_t *why_stranger(const struct strangers *sockets, const struct sock_end *end,
		     const struct sock_known *k);

/* ---- between the two ---- */

void why_step(json_t *steps, const char *name, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* What keeps a socket and its peer, if that was found, from being known. `port`: the service's, 0 if
 * that may be either's. */
void why_outside(json_t *steps, const struct stranger *s, const struct stranger *peer, __u16 port,
		 const struct sock_known *k);

#endif
