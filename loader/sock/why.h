/* SPDX-License-Identifier: GPL-2.0 */
/* Why a connection is short-cut or not, told step by step in words. */
#ifndef WEIR_SOCK_WHY_H
#define WEIR_SOCK_WHY_H

#include <jansson.h>

#include "known.h"
#include "strangers.h"

/* {the fields of connection_json(), "ends": {"client", "server"}, "steps": [{"step", "says"}]} */
json_t *why_connection(const struct connection *c, const struct sock_known *k);

/* The same of sockets that weir does not know: {"client": null..., "steps"}. */
json_t *why_stranger(const struct strangers *s, const struct sock_end *end,
		     const struct sock_known *k);

#endif
