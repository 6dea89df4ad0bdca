/* SPDX-License-Identifier: GPL-2.0 */
/* What the user wants to see. `config` is constant to the verifier: what is not asked for costs nothing. */
#ifndef WEIR_TRACE_FILTER_H
#define WEIR_TRACE_FILTER_H

#include "socket.h"

/* The first constant of each object, where the loader finds it again: without a value it would lie behind
 * those that are used earlier. */
const volatile struct weir_trace_config config = {};

static __always_inline bool in_ranges(const volatile struct weir_trace_ports *range,
				      unsigned int count, __u16 port)
{
	if (!count)
		return true;
	for (unsigned int i = 0; i < WEIR_TRACE_RANGES; i++) {
		if (i >= count)
			break;
		if (port >= range[i].from && port <= range[i].to)
			return true;
	}
	return false;
}

/* The first bits of word i that must be equal; -1: all of them. */
static __always_inline __u32 peer_mask(unsigned int i)
{
	int bits = (int)config.filter.peer_bits - 32 * (int)i;

	return bits <= 0 ? 0 : bits >= 32 ? ~0u : bpf_htonl(~0u << (32 - bits));
}

static __always_inline bool wanted_peer_address(const struct weir_ends *e)
{
	for (unsigned int i = 0; i < 4; i++)
		if ((e->remote[i] ^ config.filter.peer[i]) & peer_mask(i))
			return false;
	return true;
}

static __always_inline bool wanted_peer(const struct weir_ends *e)
{
	return wanted_peer_address(e) &&
	       in_ranges(config.filter.peer_port, config.filter.peer_ranges, e->remote_port);
}

static __always_inline bool wanted_port(const struct weir_ends *e)
{
	return in_ranges(config.filter.port, config.filter.port_ranges, e->local_port);
}

/* All that the two ends decide. A port that is not chosen yet does not: ask again later. */
static __always_inline bool wanted_ends(const struct weir_ends *e)
{
	if (config.filter.netns && e->netns != config.filter.netns)
		return false;
	if (config.filter.family && e->family != config.filter.family)
		return false;
	return (!e->local_port || wanted_port(e)) && wanted_peer(e);
}

/* In a container the loader does not know how deep the named cgroup lies. */
static __always_inline bool below_wanted(struct cgroup *cgroup)
{
	int level = BPF_CORE_READ(cgroup, level);
	struct cgroup *at;

	for (int i = 0; i < WEIR_CGROUP_LEVELS; i++) {
		if (i > level || bpf_core_read(&at, sizeof(at), &cgroup->ancestors[i]))
			return false;
		if (BPF_CORE_READ(at, kn, id) == config.filter.cgroup)
			return true;
	}
	return false;
}

static __always_inline bool wanted_cgroup(struct sock *sk)
{
	return !config.filter.cgroup ||
	       (sk->sk_cgrp_data.cgroup && below_wanted(sk->sk_cgrp_data.cgroup));
}

static __always_inline bool wanted_pid(__u32 pid)
{
	return !config.filter.pid || pid == config.filter.pid;
}

/* Whether a whole socket is worth a record: all but its process, which may not be known yet. */
static __always_inline bool wanted(struct sock *sk, const struct weir_ends *e)
{
	return wanted_ends(e) && wanted_cgroup(sk);
}

#endif
