/* SPDX-License-Identifier: GPL-2.0 */
/* The kernel's structures, as far as they are read here; where fields lie is found at load. */
#ifndef WEIR_SOCK_KERNEL_H
#define WEIR_SOCK_KERNEL_H

#include <linux/types.h>
#include <stdbool.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct user_namespace {
	int level;
};

struct net {
	struct user_namespace *user_ns;
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	__s64 counter;
} atomic64_t;

typedef struct refcount_struct {
	atomic_t refs;
} refcount_t;

struct in6_addr {
	union {
		__be32 u6_addr32[4];
	} in6_u;
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
	unsigned long skc_flags;
};

struct file {
	unsigned int f_flags;
};

struct socket {
	struct file *file;
};

struct list_head {
	struct list_head *next;
};

struct sk_buff_head {
	__u32 qlen;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	int level;
	struct kernfs_node *kn;
	struct cgroup *ancestors[0];
};

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

struct sk_filter;

struct mem_cgroup {
	__u64 socket_pressure; /* jiffies until which it lasts; unsigned long before 6.16 */
	int tcpmem_pressure;   /* version 1 */
};

typedef struct {
	int owned;
} socket_lock_t;

struct sock {
	struct sock_common __sk_common;
	struct {
		atomic_t rmem_alloc;
	} sk_backlog;
	struct sk_buff_head sk_receive_queue;
	socket_lock_t sk_lock;
	struct mem_cgroup *sk_memcg;
	unsigned int sk_ll_usec;
	int sk_rcvlowat;
	int sk_rcvbuf;
	int sk_sndbuf;
	int sk_peek_off;
	__u32 sk_tsflags;
	unsigned long sk_max_pacing_rate;
	struct sk_filter *sk_filter;
	struct socket *sk_socket;
	void *sk_user_data;
	struct sock_cgroup_data sk_cgrp_data;
};

struct inet_sock {
	struct sock sk;
};

struct tcp_ulp_ops;

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	const struct tcp_ulp_ops *icsk_ulp_ops;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 copied_seq;
	__u32 rcv_nxt;
	__u32 snd_nxt;
	__u32 snd_una;
	__u32 write_seq;
	__u16 urg_data;
	__u8 recvmsg_inq : 1;
	__u8 repair : 1;
	__u64 bytes_sent;
	__u64 bytes_received;
	__u64 bytes_acked;
	__u32 data_segs_in;
	__u32 data_segs_out;
};

struct sk_psock {
	struct sk_buff_head ingress_skb;
	struct list_head ingress_msg;
	refcount_t refcnt;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
	__u64 seq_num;
};

struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	struct sock *sk;
	void *value;
};

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
	unsigned int uid;
};

#pragma clang attribute pop

/* include/net/tcp_states.h */
enum {
	TCP_ESTABLISHED = 1,
	TCP_FIN_WAIT1 = 4,
	TCP_FIN_WAIT2 = 5,
	TCP_CLOSE_WAIT = 8,
};

/* Constants of the kernel it runs on. */
enum sock_flags {
	SOCK_RCVTSTAMP = 7,
	SOCK_ZEROCOPY = 18,
};

#endif
