/* SPDX-License-Identifier: GPL-2.0 */
/* The row of a summary that a connection belongs to. */
#ifndef WEIR_TRACE_BY_H
#define WEIR_TRACE_BY_H

#include "abi/by.h"
#include "socket.h"

/* The first constant behind `config`, where the loader finds it again. */
const volatile struct weir_by by;

/* Reads no more of the socket than makes a row. The key must be zeroed. */
static __always_inline void key_of(struct weir_by_key *key, const struct sock_common *c)
{
	if (by.what & WEIR_BY_PEER) {
		if (c->skc_family == AF_INET)
			map_address(key->peer, c->skc_daddr);
		else
			copy_address(key->peer, &c->skc_v6_daddr);
	}
	if (by.what & WEIR_BY_PORT)
		key->port = c->skc_num;
	if (by.what & WEIR_BY_PEER_PORT)
		key->peer_port = bpf_ntohs(c->skc_dport);
	if (by.what & WEIR_BY_NETNS) {
		key->netns = c->skc_net.net->ns.inum;
		key->netns_cookie = c->skc_net.net->net_cookie;
	}
}

#endif
