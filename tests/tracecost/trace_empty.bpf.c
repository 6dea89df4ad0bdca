// SPDX-License-Identifier: GPL-2.0
/* Programs that do nothing where weir's tracers are: what the kernel says that they take is what being
 * called and measured takes. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

#define EMPTY(section, name)        \
	SEC(section)                \
	int empty_##name(void *ctx) \
	{                           \
		(void)ctx;          \
		return 1;           \
	}

EMPTY("tp_btf/inet_sock_set_state", state)
EMPTY("tp_btf/tcp_probe", probe)
EMPTY("tp_btf/tcp_rcv_space_adjust", read)
EMPTY("tp_btf/tcp_destroy_sock", destroy)
EMPTY("tp_btf/tcp_retransmit_skb", retransmit)
EMPTY("tp_btf/tcp_retransmit_synack", synack)
EMPTY("tp_btf/tcp_send_reset", reset)
EMPTY("tp_btf/kfree_skb", kfree)
EMPTY("tp_btf/consume_skb", consume)
EMPTY("tp_btf/sock_send_length", send)
EMPTY("tp_btf/sock_recv_length", recv)
EMPTY("tp/syscalls/sys_exit_accept4", accept)
EMPTY("sockops", sockops)
EMPTY("cgroup_skb/ingress", ingress)
