/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ports of this balancer's address that NAT flows have: found by what a reply shows, taken
 * without a lock, as nat_begin.h says.
 */
#ifndef WEIR_NAT_PORT_H
#define WEIR_NAT_PORT_H

#include "nat_flow.h"
#include "../balance/socket.h"

#define PORT_TRIES 32

/* Whether an entry of nat_ports is right. A flow that is over is ended here, or else it could go on
 * after its port was given to another. */
static __always_inline bool holds_port(const struct weir_service_head *t, __u64 entry, __u32 now)
{
	struct weir_nat_flow *flow = nat_flow_at((entry >> 32) - 1);
	const struct weir_backend *b;
	__u32 backend;
	__u64 life;

	if (!flow)
		return false;
	life = life_of(flow);
	if (WEIR_LIFE_STATE(life) == WEIR_NAT_FREE)
		return false;
	if (nat_is_over(life, service_at(t, WEIR_WHO_SERVICE(flow->who)), now))
		return !config.explain &&
		       __sync_val_compare_and_swap(&flow->life, life, WEIR_NAT_FREE) != life;
	backend = flow->backend;
	b = bpf_map_lookup_elem(&backends, &backend);
	return b && flow->nat_port &&
	       hash_port(b, flow->who, flow->nat_port, flow->proto) == (__u32)entry;
}

enum port_step {
	PORT_LOOK, /* may it be taken? */
	PORT_TAKE,
	PORT_CHECK, /* it was taken: by nobody else? */
};

/* A step of taking a port, which has this hash, for the claimed flow with this index. A port is
 * free as soon as the flow no longer says that it is its own. */
__noinline int weir_port(__u32 hash, __u32 index, __u32 port, __u32 step)
{
	__u64 mine = (__u64)hash | ((__u64)index + 1) << 32, seen = 0;
	__u32 key, now, place = WEIR_NAT_PORT_WAYS;
	const struct weir_service_head *t;
	struct weir_nat_ports *ports;
	struct weir_nat_flow *flow;

	if (!MODES_NAT)
		return 0;
	t = service_table();
	flow = nat_flow_at(index);
	if (!t || !flow)
		return 0;
	key = hash & t->nat_port_mask;
	now = ticks();
	ports = bpf_map_lookup_elem(&nat_ports, &key);
	if (!ports)
		return 0;
	for (__u32 i = 0; i < WEIR_NAT_PORT_WAYS; i++) {
		__u64 entry = *(volatile __u64 *)&ports->way[i];

		/* Its own are left over from the record's life before. */
		if (entry >> 32 && entry >> 32 != mine >> 32 && holds_port(t, entry, now)) {
			if ((__u32)entry != hash)
				continue;
			if (step == PORT_CHECK)
				flow->nat_port = 0;
			return 0;
		} else if (place == WEIR_NAT_PORT_WAYS || entry == mine) {
			place = i;
			seen = entry;
		}
	}
	if (step == PORT_CHECK)
		return 1;
	if (place >= WEIR_NAT_PORT_WAYS)
		return 0;
	if (step == PORT_LOOK)
		return 1;
	flow->nat_port = port;
	if (__sync_val_compare_and_swap(&ports->way[place], seen, mine) == seen)
		return 1;
	flow->nat_port = 0;
	return 0;
}

/* Whether a socket of this host speaks with the backend from that port: its packets would be taken
 * for the flow's. A listener is none: the backend does not call. */
__noinline int weir_is_sockets(struct xdp_md *ctx, __u32 backend, __u64 who, __u32 port)
{
	const struct weir_service_head *t;
	const struct weir_backend *b;
	struct socket_ends ends;

	if (!MODES_NAT)
		return 0;
	b = bpf_map_lookup_elem(&backends, &backend);
	t = service_table();
	if (!b || !t)
		return 0;
	ends = (struct socket_ends){
		.source = be64_at(&b->address[0]),
		.source_low = be64_at(&b->address[2]),
		.dest = be64_at(&b->source[0]),
		.dest_low = be64_at(&b->source[2]),
		.sport = backend_port(b, who),
		.dport = port,
		.family = b->flags & WEIR_B_V6 ? 6 : 4,
		.udp = service_at(t, WEIR_WHO_SERVICE(who))->proto == IPPROTO_UDP,
	};
	return has_socket(ctx, &ends, false);
}

/* What hash_port() says of a flow that is yet to be written. */
__noinline __u32 weir_hash_port(__u32 backend, __u64 who, __u32 port)
{
	const struct weir_service_head *t;
	const struct weir_backend *b;

	if (!MODES_NAT)
		return 0;
	b = bpf_map_lookup_elem(&backends, &backend);
	t = service_table();
	if (!b || !t)
		return 0;
	return hash_port(b, who, port, service_at(t, WEIR_WHO_SERVICE(who))->proto);
}

/* Makes the port the claimed flow's, unless it is in use with the same backend. */
static __always_inline bool take_port(struct xdp_md *ctx, __u32 index, __u32 backend, __u64 who,
				      __u32 port)
{
	__u32 hash = weir_hash_port(backend, who, port);

	if (!weir_port(hash, index, port, PORT_LOOK) || weir_is_sockets(ctx, backend, who, port))
		return false;
	return config.explain || (weir_port(hash, index, port, PORT_TAKE) &&
				  weir_port(hash, index, port, PORT_CHECK));
}

/* The client's own port if it is free, else some of those that no local socket is given by
 * itself; `random` differs from try to try, so that a client that tries again does not meet the
 * same ones. 0: no port was found. */
__noinline __u32 weir_choose_port(struct xdp_md *ctx, __u32 index, __u32 backend, __u64 who,
				  __u32 random)
{
	const __u32 range = WEIR_NAT_LAST_PORT - WEIR_NAT_FIRST_PORT + 1;
	__u32 port = WEIR_WHO_PORT(who);

	if (!MODES_NAT)
		return 0;
	for (int i = 0; i <= PORT_TRIES; i++) {
		if (port && take_port(ctx, index, backend, who, port))
			return port;
		random = random * 1664525u + 1013904223u;
		port = WEIR_NAT_FIRST_PORT + (__u32)((__u64)random * range >> 32);
	}
	return 0;
}

#endif
