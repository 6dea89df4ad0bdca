/* SPDX-License-Identifier: GPL-2.0 */
/* Which connections the settings of a cgroup are about. */
#ifndef WEIR_SOCK_SCOPE_H
#define WEIR_SOCK_SCOPE_H

#include "kernel.h"
#include "maps.h"

#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#define AF_INET 2

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, WEIR_LOCAL_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct weir_local_key);
	__type(value, __u8);
} local SEC(".maps");

/* Of the end that accepts. */
static __always_inline bool is_wanted_port(const volatile struct weir_sock_config *config,
					   __u16 port)
{
	if (!config->port_ranges)
		return true;
	for (int i = 0; i < WEIR_PORT_RANGES; i++) {
		if (i >= config->port_ranges)
			break;
		if (port >= config->port[i].from && port <= config->port[i].to)
			return true;
	}
	return false;
}

/* Where the end that connects leads. */
static __always_inline bool is_local(const volatile struct weir_sock_config *config,
				     const __be32 remote[4])
{
	struct weir_local_key key = {
		.bits = 64 + 128,
		.cgroup = {config->cgroup, config->cgroup >> 32},
	};

	if (!config->local)
		return true;
	__builtin_memcpy(key.address, remote, sizeof(key.address));
	return bpf_map_lookup_elem(&local, &key);
}

/*
 * Whoever may use TCP_REPAIR says himself what his sequence numbers are, and in a user namespace of
 * his own everybody may. With those of a connection that he sees he could take an end's place.
 */
static __always_inline bool is_trusted(struct tcp_sock *tp)
{
	return tp && !BPF_CORE_READ_BITFIELD_PROBED(tp, repair) &&
	       !tp->inet_conn.icsk_inet.sk.__sk_common.skc_net.net->user_ns->level;
}

static __always_inline void map_address(__be32 to[4], __be32 ip4)
{
	to[0] = 0;
	to[1] = 0;
	to[2] = bpf_htonl(0xffff);
	to[3] = ip4;
}

#endif
