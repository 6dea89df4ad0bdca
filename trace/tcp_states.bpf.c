// SPDX-License-Identifier: GPL-2.0
/* Every change of a TCP socket's state, with the time it spent in the old one. */
#include <linux/bpf.h>
#include <stdbool.h>

#include "abi/states.h"
#include "events.h"

char _license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEIR_STATE_SOCKETS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct weir_state);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct weir_state_change);
	__type(value, struct weir_state_counts);
} changes SEC(".maps");

struct change {
	__u64 socket;
	__u64 now, lasted;
	struct weir_owner owner;
	__u8 from, to, timewait;
};

/* tcp_time_wait() closes the socket, and a mini-socket takes its place. Nothing else closes one in these
 * states without an error. */
static __always_inline __u8 left_behind(const struct sock *sk, const struct change *c)
{
	if (c->to != TCP_CLOSE || sk->sk_err)
		return 0;
	if (c->from == TCP_FIN_WAIT2)
		return TCP_TIME_WAIT;
	return c->from == TCP_CLOSING ? TCP_TIME_WAIT : 0;
}

/* Only these changes are made by the process that uses the socket. */
static __always_inline bool by_owner(const struct change *c)
{
	return c->to == TCP_SYN_SENT || c->to == TCP_LISTEN || c->to == TCP_FIN_WAIT1 ||
	       c->to == TCP_LAST_ACK;
}

static __always_inline void follow(struct change *c)
{
	struct weir_state *known = bpf_map_lookup_elem(&sockets, &c->socket), fresh;

	if (known)
		c->owner = known->owner;
	if (!c->owner.pid && by_owner(c))
		owner_here(&c->owner);
	if (known)
		c->lasted = c->now - known->since_ns;
	if (c->to == TCP_CLOSE) {
		bpf_map_delete_elem(&sockets, &c->socket);
	} else if (known) {
		known->since_ns = c->now;
		known->owner = c->owner;
	} else {
		fresh = (struct weir_state){.since_ns = c->now, .owner = c->owner};
		if (bpf_map_update_elem(&sockets, &c->socket, &fresh, BPF_ANY))
			tally_add(records_full);
	}
}

static __always_inline void tell(const struct change *c, const struct weir_ends *ends, __u8 error)
{
	struct weir_state_event *e = event_reserve(struct weir_state_event);

	if (!e)
		return;
	e->ns = c->now;
	e->socket = c->socket;
	e->lasted_ns = c->lasted;
	e->ends = *ends;
	e->owner = c->owner;
	e->from = c->from;
	e->to = c->to;
	e->timewait = c->timewait;
	e->error = error;
	event_submit(e);
}

static __always_inline void count(const struct change *c, __u8 family)
{
	struct weir_state_change key = {c->from, c->to, c->timewait, family};
	struct weir_state_counts *n = bpf_map_lookup_elem(&changes, &key);
	static const struct weir_state_counts none;

	if (!n) {
		bpf_map_update_elem(&changes, &key, &none, BPF_NOEXIST);
		n = bpf_map_lookup_elem(&changes, &key);
		if (!n) {
			tally_add(records_full);
			return;
		}
	}
	n->changes++;
	if (!c->lasted)
		return;
	n->timed++;
	n->total_ns += c->lasted;
	n->slot[log2_slot(c->lasted / 1000)]++;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(weir_states, struct sock *sk, int from, int to)
{
	struct change c = {.socket = (__u64)sk, .from = from, .to = to};
	struct weir_ends ends = {};
	struct tcp_sock *tp;

	if (!is_tcp(sk))
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	ends_of(&ends, sk, tp);
	if (!wanted(sk, &ends))
		return 0;
	c.now = bpf_ktime_get_ns();
	c.timewait = left_behind(sk, &c);
	follow(&c);
	if (!wanted_pid(c.owner.pid) || c.lasted < config.filter.min_ns)
		return 0;
	if (config.lines)
		tell(&c, &ends, sk->sk_err);
	if (config.counted)
		count(&c, ends.family);
	return 0;
}
