/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Connections that are older than the attach. Two passes: the first notes what each socket began
 * with; in the second each looks for the one that began with the same, the other way round.
 */
#ifndef WEIR_SOCK_CENSUS_H
#define WEIR_SOCK_CENSUS_H

#include "attached.h"
#include "births.h"
#include "kernel.h"
#include "maps.h"
#include "scope.h"

#include <bpf/bpf_core_read.h>

#define CGROUP_DEPTH 16 /* cgroups further down belong to what is attached this far up only */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEIR_ORIGINS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct weir_origin);
	__type(value, __u32); /* sockets that say so */
} origins SEC(".maps");

volatile __u32 census_pass;

/* The innermost attached cgroup that this socket is below of. */
static __always_inline struct weir_sock_config *scope_of(struct sock *sk)
{
	struct cgroup *cgroup = sk->sk_cgrp_data.cgroup;
	struct weir_sock_config *found = NULL;
	int level = cgroup ? BPF_CORE_READ(cgroup, level) : -1;

	for (int i = 0; i < CGROUP_DEPTH; i++) {
		struct weir_sock_config *scope;
		struct cgroup *at;
		__u64 id;

		if (i > level)
			break;
		if (bpf_core_read(&at, sizeof(at), &cgroup->ancestors[i]))
			break;
		id = BPF_CORE_READ(at, kn, id);
		scope = bpf_map_lookup_elem(&scopes, &id);
		if (scope)
			found = scope;
	}
	return found;
}

static __always_inline void note(const struct weir_origin *o)
{
	__u32 one = 1, *sockets_here;

	if (!bpf_map_update_elem(&origins, o, &one, BPF_NOEXIST))
		return;
	sockets_here = bpf_map_lookup_elem(&origins, o);
	if (sockets_here)
		++*sockets_here;
}

static __always_inline bool is_one(const struct weir_origin *o)
{
	__u32 *sockets_here = bpf_map_lookup_elem(&origins, o);

	return sockets_here && *sockets_here == 1;
}

/* Which end this is, and the key; false: the other one is not here. */
static __always_inline bool find_end(const struct weir_origin *o, struct weir_key *key, __u8 *end)
{
	struct weir_origin connected = {.sent = o->received - 1, .received = o->sent};
	struct weir_origin accepted = {.sent = o->received, .received = o->sent + 1};

	if (!is_one(o))
		return false;
	if (is_one(&connected)) {
		*key = (struct weir_key){.connected = o->received, .accepted = o->sent};
		*end = WEIR_ACCEPTED;
		return true;
	}
	*key = (struct weir_key){.connected = o->sent + 1, .accepted = o->received};
	*end = WEIR_CONNECTED;
	return is_one(&accepted);
}

static __always_inline bool is_wanted(const struct sock_common *c,
				      const struct weir_sock_config *scope, __u8 end)
{
	__be32 remote[4];

	if (end == WEIR_ACCEPTED)
		return is_wanted_port(scope, c->skc_num);
	if (c->skc_family == AF_INET)
		map_address(remote, c->skc_daddr);
	else
		for (int i = 0; i < 4; i++)
			remote[i] = c->skc_v6_daddr.in6_u.u6_addr32[i];
	return is_local(scope, remote);
}

static __always_inline void adopt(struct tcp_sock *tp, const struct sock_common *c,
				  const struct weir_sock_config *scope, const struct weir_origin *o)
{
	struct weir_birth birth = {.ns = bpf_ktime_get_ns()};
	struct weir_sock *s, fresh = {
				     .cgroup = scope->cgroup,
				     .born_ns = birth.ns,
				     .limit = scope->limit,
			     };

	if (!find_end(o, &fresh.key, &fresh.end) || !is_wanted(c, scope, fresh.end))
		return;
	s = bpf_sk_storage_get(&sockets, tp, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!s)
		return;
	fresh.cookie = bpf_get_socket_cookie(tp);
	fresh.port = fresh.end == WEIR_ACCEPTED ? c->skc_num : bpf_ntohs(c->skc_dport);
	*s = fresh;
	if (fresh.end == WEIR_CONNECTED)
		return;
	s->confirmed = 1;
	birth.accepted = fresh.cookie;
	bpf_map_update_elem(&births, &fresh.key, &birth, BPF_ANY);
}

/* The iterator holds the socket's lock: what it began with is told by numbers of one moment. */
SEC("iter/tcp")
int weir_census(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct tcp_sock *tp = skc ? bpf_skc_to_tcp_sock(skc) : NULL;
	struct weir_sock_config *scope;
	struct weir_origin o;

	if (!tp || skc->skc_state != TCP_ESTABLISHED)
		return 0;
	if (!is_trusted(tp))
		return 0;
	scope = scope_of(&tp->inet_conn.icsk_inet.sk);
	if (!scope)
		return 0;
	o.sent = tp->snd_una - (__u32)tp->bytes_acked;
	o.received = tp->rcv_nxt - (__u32)tp->bytes_received;
	if (!census_pass)
		note(&o);
	else if (!bpf_sk_storage_get(&sockets, tp, NULL, 0))
		adopt(tp, skc, scope, &o);
	return 0;
}

#endif
