/* SPDX-License-Identifier: GPL-2.0 */
/* The mini-socket that takes the place of a whole one: no tracepoint tells of it. */
#ifndef WEIR_TRACE_TIMEWAIT_H
#define WEIR_TRACE_TIMEWAIT_H

#include "socket.h"

#define CHAIN_MAX 64 /* far longer than the chains of a table that fits its machine */

struct mini {
	__u64 address; /* 0: there is none */
	__u8 state;    /* FIN_WAIT2 or TIME_WAIT */
};

static __always_inline bool is_mini_of(const struct sock_common *c, unsigned int hash,
				       const struct weir_ends *ends)
{
	return BPF_CORE_READ(c, skc_hash) == hash && BPF_CORE_READ(c, skc_state) == TCP_TIME_WAIT &&
	       BPF_CORE_READ(c, skc_num) == ends->local_port &&
	       BPF_CORE_READ(c, skc_dport) == bpf_htons(ends->remote_port);
}

/* While the kernel closes `sk`: tcp_time_wait() has put the mini-socket where the whole one was before, in the
 * same chain. Whether it did is not told by the states: FIN_WAIT2 may end without one, by a reset, by
 * TCP_LINGER2 or for lack of memory. The hash is of all four ends and of the namespace. */
static __always_inline bool find_mini(struct mini *mini, const struct sock *sk,
				      const struct weir_ends *ends)
{
	const struct inet_hashinfo *table =
		sk->__sk_common.skc_net.net->ipv4.tcp_death_row.hashinfo;
	unsigned int hash = sk->__sk_common.skc_hash;
	const struct inet_ehash_bucket *chains = BPF_CORE_READ(table, ehash);
	const struct hlist_nulls_node *node =
		BPF_CORE_READ(&chains[hash & table->ehash_mask], chain.first);

	for (int i = 0; i < CHAIN_MAX; i++) {
		const struct sock_common *c =
			(const void *)node -
			bpf_core_field_offset(struct sock_common, skc_nulls_node);

		if (!node || (__u64)node & 1)
			return true;
		if (is_mini_of(c, hash, ends)) {
			mini->address = (__u64)c;
			mini->state =
				BPF_CORE_READ((const struct inet_timewait_sock *)c, tw_substate);
			return true;
		}
		node = BPF_CORE_READ(node, next);
	}
	return false;
}

#endif
