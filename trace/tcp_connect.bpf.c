// SPDX-License-Identifier: GPL-2.0
/*
 * How long connections take to be made. Who connects: the search for a local port, then the handshake.
 * Who listens: the handshake, then the wait until accept() returns.
 */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <stdbool.h>

#include "abi/connect.h"
#include "connect/outcome.h"

char _license[] SEC("license") = "GPL";

const volatile struct weir_connect_settings settings;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEIR_CONNECT_SOCKETS);
	__type(key, __u64);
	__type(value, struct weir_connect);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEIR_CONNECT_ATTEMPTS);
	__type(key, __u64);
	__type(value, struct weir_connect_attempt);
} attempts SEC(".maps");

static __always_inline bool active(void)
{
	return settings.role != WEIR_CONNECT_PASSIVE;
}

static __always_inline bool passive(void)
{
	return settings.role != WEIR_CONNECT_ACTIVE;
}

/* False: somebody else has told of this socket just now. */
static __always_inline bool take(__u64 socket, const struct weir_connect *record, struct outcome *o)
{
	o->now = bpf_ktime_get_ns();
	o->role = record->role;
	o->owner = record->owner;
	o->retransmits = record->retransmits;
	return !bpf_map_delete_elem(&sockets, &socket);
}

/* ---- who connects ---- */

static __always_inline void remember(__u64 socket, const struct weir_connect *fresh)
{
	if (bpf_map_update_elem(&sockets, &socket, fresh, BPF_ANY))
		tally_add(records_full);
}

/* A worker of the kernel adds further subflows to an MPTCP connection: it is not who connects. */
static __always_inline bool is_subflow(const struct tcp_sock *tp)
{
	return bpf_core_field_exists(tp->is_mptcp) && tp->is_mptcp;
}

static __always_inline void connecting(struct sock *sk)
{
	struct weir_connect fresh = {.role = WEIR_CONNECT_ACTIVE};
	__u64 thread = bpf_get_current_pid_tgid();
	struct tcp_sock *tp = tcp_of(sk);

	if (passive())
		bpf_map_delete_elem(&attempts, &thread);
	if (!tp)
		return;
	common_ends(&fresh.ends, &sk->__sk_common);
	if (!wanted(sk, &fresh.ends))
		return;
	owner_here(&fresh.owner);
	if (!wanted_pid(fresh.owner.pid))
		return;
	if (is_subflow(tp) && BPF_CORE_READ(bpf_get_current_task_btf(), flags) & PF_KTHREAD)
		fresh.owner = (struct weir_owner){};
	fresh.bound = fresh.ends.local_port != 0;
	fresh.began_ns = bpf_ktime_get_ns();
	remember((__u64)sk, &fresh);
}

/* The port is found, and the SYN about to be sent. */
SEC("sockops")
int weir_port_found(struct bpf_sock_ops *ops)
{
	struct weir_connect *record;
	__u64 socket;

	if (ops->op != BPF_SOCK_OPS_TCP_CONNECT_CB)
		return 1;
	socket = (__u64)ops->sk;
	record = bpf_map_lookup_elem(&sockets, &socket);
	if (record)
		record->port_ns = bpf_ktime_get_ns();
	return 1;
}

/* A socket that was bound has no port to be searched for. Otherwise the phases are known only when
 * somebody said where one ends. */
static __always_inline void split(struct outcome *o, const struct weir_connect *record)
{
	if (record->port_ns && !record->bound)
		know(o, WEIR_CONNECT_PORT_SEARCH, record->port_ns - record->began_ns);
	if (o->result)
		return;
	if (record->port_ns)
		know(o, WEIR_CONNECT_HANDSHAKE, o->now - record->port_ns);
	else if (record->bound)
		know(o, WEIR_CONNECT_HANDSHAKE, o->now - record->began_ns);
}

static __always_inline __u8 result_of(int error)
{
	switch (error) {
	case ECONNREFUSED: return WEIR_CONNECT_REFUSED;
	case ETIMEDOUT: return WEIR_CONNECT_TIMED_OUT;
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EHOSTDOWN:
	case ENETDOWN:
	case ENONET: return WEIR_CONNECT_UNREACHABLE;
	case EACCES:
	case EPERM: return WEIR_CONNECT_FORBIDDEN;
	case ECONNRESET:
	case EPIPE: return WEIR_CONNECT_RESET;
	default: return WEIR_CONNECT_FAILED;
	}
}

#define SHUTDOWN_MASK 3

/* Without an error either connect() itself gave up, before anything was sent, or the process did. */
static __always_inline void why_not(struct outcome *o, const struct sock *sk,
				    const struct tcp_sock *tp, const struct weir_connect *record)
{
	o->error = sk->sk_err;
	if (o->error) {
		o->result = result_of(o->error);
	} else if (tp->segs_out || record->port_ns || sk->sk_shutdown == SHUTDOWN_MASK) {
		o->result = WEIR_CONNECT_CLOSED;
		o->error = sk->sk_err_soft;
	} else {
		o->error = EADDRNOTAVAIL;
		o->result = record->bound ? WEIR_CONNECT_IN_USE : WEIR_CONNECT_NO_PORT;
	}
}

static __always_inline void connected(struct sock *sk, const struct weir_connect *found, int to)
{
	struct tcp_sock *tp = tcp_of(sk);
	struct weir_connect record = *found;
	struct outcome o = {};

	if (!tp || !take((__u64)sk, &record, &o))
		return;
	/* A connection that is restored (TCP_REPAIR) sends none. */
	if (to == TCP_ESTABLISHED && !tp->segs_out)
		return;
	ends_of(&o.ends, sk, tp);
	o.retransmits = tp->total_retrans;
	o.total = o.now - record.began_ns;
	if (to == TCP_CLOSE)
		why_not(&o, sk, tp, &record);
	split(&o, &record);
	if (o.result == WEIR_CONNECT_NO_PORT) {
		o.ends.local_port = 0; /* may be that of a connection before */
		know(&o, WEIR_CONNECT_PORT_SEARCH, o.total);
	}
	conclude(&o);
}

/* ---- connect() that ends before the first SYN: no route to there, forbidden ---- */

struct socket_call {
	__u64 common;
	long id;
	union {
		long returned;
		__u64 argument[6];
	};
};

static __always_inline struct socket *socket_of(__u64 fd)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file **files = task->files->fdt->fd, *file = NULL;

	if (bpf_probe_read_kernel(&file, sizeof(file), &files[(__u32)fd]) || !file)
		return NULL;
	return BPF_CORE_READ(file, private_data);
}

static __always_inline bool looks_like_tcp(struct sock *sk)
{
	unsigned short family = BPF_CORE_READ(sk, __sk_common.skc_family);

	return (family == AF_INET || family == AF_INET6) &&
	       BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP;
}

/* What is connected here was made by this process, or by one like it. */
static __always_inline bool in_wanted_cgroup(void)
{
	if (!config.filter.cgroup)
		return true;
	for (int level = 0; level < WEIR_CGROUP_LEVELS; level++)
		if (bpf_get_current_ancestor_cgroup_id(level) == config.filter.cgroup)
			return true;
	return false;
}

/* Costs every connect(), of whatever protocol: what can be read at the end of one that failed is. */
SEC("tp/syscalls/sys_enter_connect")
int weir_connect_enter(struct socket_call *call)
{
	struct socket *socket = socket_of(call->argument[0]);
	__u64 thread = bpf_get_current_pid_tgid();
	struct weir_connect_attempt fresh = {
		.socket = (__u64)socket,
		.address = call->argument[1],
	};

	if (!wanted_pid(thread >> 32))
		return 0;
	/* Else a connect() is under way, and this call asks what came of it. */
	if (BPF_CORE_READ(socket, state) != SS_UNCONNECTED)
		return 0;
	fresh.began_ns = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&attempts, &thread, &fresh, BPF_ANY))
		tally_add(records_full);
	return 0;
}

/* What the socket was bound to. */
static __always_inline bool read_local(struct weir_ends *ends, __u64 socket)
{
	struct sock *sk = BPF_CORE_READ((struct socket *)socket, sk);

	if (!sk || !looks_like_tcp(sk))
		return false;
	ends->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	ends->netns_cookie = BPF_CORE_READ(sk, __sk_common.skc_net.net, net_cookie);
	ends->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET)
		map_address(ends->local, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
	else
		BPF_CORE_READ_INTO(&ends->local, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32);
	return true;
}

struct internet_address {
	__u16 family;
	__be16 port;
	union {
		__be32 four;
		struct {
			__be32 flow;
			struct in6_addr six;
		};
	};
};

/* Where the process wanted to go; what the kernel has read is there to be read again. */
static __always_inline bool read_remote(struct weir_ends *ends, __u64 address)
{
	struct internet_address to = {};

	if (bpf_probe_read_user(&to, sizeof(to.family) + sizeof(to.port) + sizeof(to.four),
				(void *)address))
		return false;
	ends->remote_port = bpf_ntohs(to.port);
	ends->family = 4;
	if (to.family == AF_INET) {
		map_address(ends->remote, to.four);
	} else {
		if (to.family != AF_INET6 || bpf_probe_read_user(&to, sizeof(to), (void *)address))
			return false;
		copy_address(ends->remote, &to.six);
		ends->family = is_mapped(&to.six) ? 4 : 6;
	}
	if (ends->family == 4 && !ends->local[2])
		map_address(ends->local, 0);
	return true;
}

/* What got as far as a SYN is no attempt any more, see connecting(). */
SEC("tp/syscalls/sys_exit_connect")
int weir_connect_exit(struct socket_call *call)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct weir_connect_attempt *found = bpf_map_lookup_elem(&attempts, &thread), attempt;
	struct outcome o = {.role = WEIR_CONNECT_ACTIVE};

	if (!found)
		return 0;
	attempt = *found;
	bpf_map_delete_elem(&attempts, &thread);
	if (call->returned >= 0 || call->returned < -WEIR_ERRNO_MAX)
		return 0;
	o.error = -call->returned;
	if (o.error == EINPROGRESS || o.error == EISCONN || !in_wanted_cgroup())
		return 0;
	if (!read_local(&o.ends, attempt.socket) || !read_remote(&o.ends, attempt.address))
		return 0;
	o.result = result_of(o.error);
	o.now = bpf_ktime_get_ns();
	o.total = o.now - attempt.began_ns;
	owner_here(&o.owner);
	conclude(&o);
	return 0;
}

/* ---- who listens ---- */

/* The kernel measures from the SYN-ACK to its answer, on any but a retransmitted one and a cookie: there
 * it has whole milliseconds from timestamps, whose low bits do not mean time in a cookie. */
static __always_inline bool synack_rtt(const struct tcp_sock *tp, __u64 *ns)
{
	__u32 us = tp->srtt_us >> 3;

	if (!tp->srtt_us || tp->total_retrans || us % 1000 == 0 ||
	    BPF_CORE_READ_BITFIELD_PROBED(tp, syn_data_acked))
		return false;
	*ns = us * 1000ull;
	return true;
}

/* What is accepted of MPTCP is another socket than the one that got established. */
static __always_inline void queued(struct sock *sk)
{
	struct weir_connect fresh = {.role = WEIR_CONNECT_PASSIVE};
	struct tcp_sock *tp = tcp_of(sk);

	if (!tp || is_subflow(tp))
		return;
	common_ends(&fresh.ends, &sk->__sk_common);
	if (!wanted(sk, &fresh.ends))
		return;
	fresh.retransmits = tp->total_retrans;
	fresh.handshake = synack_rtt(tp, &fresh.handshake_ns);
	fresh.began_ns = bpf_ktime_get_ns();
	remember((__u64)sk, &fresh);
}

static __always_inline bool begin_passive(__u64 socket, const struct weir_connect *record,
					  struct outcome *o)
{
	if (!take(socket, record, o))
		return false;
	o->ends = record->ends;
	o->total = o->now - record->began_ns;
	if (record->handshake) {
		know(o, WEIR_CONNECT_HANDSHAKE, record->handshake_ns);
		o->total += record->handshake_ns;
	}
	return true;
}

enum seen {
	IN_ACCEPT,
	BY_OWNER, /* it was accepted before, nobody knows when */
	BY_KERNEL,
};

static __always_inline void accepted(__u64 socket, const struct weir_connect *found, enum seen seen)
{
	struct weir_connect record = *found;
	struct outcome o = {};

	if (!begin_passive(socket, &record, &o))
		return;
	know(&o, WEIR_CONNECT_ACCEPT_WAIT, o.now - record.began_ns);
	o.at_most = seen != IN_ACCEPT;
	if (seen != BY_KERNEL)
		owner_here(&o.owner);
	conclude(&o);
}

/* With Fast Open a connection may be accepted before its handshake has ended. */
static __always_inline void accepted_early(struct sock *sk)
{
	struct weir_connect fresh = {.role = WEIR_CONNECT_PASSIVE, .early = 1};

	if (!looks_like_tcp(sk) || BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_SYN_RECV)
		return;
	owner_here(&fresh.owner);
	remember((__u64)sk, &fresh);
}

static __always_inline int accept_returns(long fd)
{
	struct weir_connect *record;
	struct sock *sk;
	__u64 socket;

	if (fd < 0)
		return 0;
	sk = BPF_CORE_READ(socket_of(fd), sk);
	if (!sk)
		return 0;
	socket = (__u64)sk;
	record = bpf_map_lookup_elem(&sockets, &socket);
	if (!record)
		accepted_early(sk);
	else if (record->role == WEIR_CONNECT_PASSIVE && !record->early)
		accepted(socket, record, IN_ACCEPT);
	return 0;
}

SEC("tp/syscalls/sys_exit_accept")
int weir_accept(struct socket_call *call)
{
	return accept_returns(call->returned);
}

SEC("tp/syscalls/sys_exit_accept4")
int weir_accept4(struct socket_call *call)
{
	return accept_returns(call->returned);
}

/* A process reads: whoever accepted it did so without a system call (io_uring), or by a 32-bit one. */
SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(weir_first_read, struct sock *sk)
{
	__u64 socket = (__u64)sk;
	struct weir_connect *record = bpf_map_lookup_elem(&sockets, &socket);

	if (record && record->role == WEIR_CONNECT_PASSIVE && !record->early && sk->sk_socket)
		accepted(socket, record, BY_OWNER);
	return 0;
}

/* ---- changes of state ---- */

/* Whatever comes now, it was accepted. */
static __always_inline void tell_early(struct sock *sk, const struct weir_connect *found)
{
	struct tcp_sock *tp = tcp_of(sk);
	struct weir_connect record = *found;
	struct outcome o = {};

	if (!tp || !take((__u64)sk, &record, &o))
		return;
	ends_of(&o.ends, sk, tp);
	if (wanted_cgroup(sk))
		conclude(&o);
}

static __always_inline void established(struct sock *sk, int from)
{
	__u64 socket = (__u64)sk;
	struct weir_connect *record = bpf_map_lookup_elem(&sockets, &socket);

	if (!record && from == TCP_SYN_RECV && passive() && !sk->sk_socket)
		queued(sk);
	else if (record && record->role == WEIR_CONNECT_ACTIVE)
		connected(sk, record, TCP_ESTABLISHED);
	else if (record && record->early)
		tell_early(sk, record);
}

static __always_inline void never_accepted(struct sock *sk, const struct weir_connect *found)
{
	struct weir_connect record = *found;
	struct outcome o = {};

	if (!begin_passive((__u64)sk, &record, &o))
		return;
	o.error = sk->sk_err;
	o.result = o.error ? result_of(o.error) : WEIR_CONNECT_LISTENER;
	conclude(&o);
}

/* A run that the kernel left out may have been the one that would have taken the record away: it is of no
 * use when the socket comes from any other state. */
static __always_inline void closed(struct sock *sk, int from)
{
	__u64 socket = (__u64)sk;
	struct weir_connect *record = bpf_map_lookup_elem(&sockets, &socket);
	bool begins = from == TCP_SYN_SENT || from == TCP_SYN_RECV;
	bool waits = from == TCP_ESTABLISHED || from == TCP_CLOSE_WAIT;

	if (!record)
		return;
	if (record->role == WEIR_CONNECT_ACTIVE && begins)
		connected(sk, record, TCP_CLOSE);
	else if (record->early)
		tell_early(sk, record);
	else if (record->role == WEIR_CONNECT_ACTIVE || !waits)
		bpf_map_delete_elem(&sockets, &socket);
	else if (sk->sk_socket)
		accepted(socket, record, BY_KERNEL);
	else
		never_accepted(sk, record);
}

static __always_inline void left(struct sock *sk)
{
	__u64 socket = (__u64)sk;
	struct weir_connect *record = bpf_map_lookup_elem(&sockets, &socket);

	if (!record || record->role != WEIR_CONNECT_PASSIVE)
		return;
	if (record->early)
		tell_early(sk, record);
	else
		accepted(socket, record, BY_OWNER);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(weir_connect_state, struct sock *sk, int from, int to)
{
	if (!is_tcp(sk))
		return 0;
	switch (to) {
	case TCP_SYN_SENT:
		if (active())
			connecting(sk);
		break;
	case TCP_ESTABLISHED: established(sk, from); break;
	case TCP_FIN_WAIT1:
	case TCP_LAST_ACK:
		if (passive())
			left(sk);
		break;
	case TCP_CLOSE: closed(sk, from); break;
	}
	return 0;
}
