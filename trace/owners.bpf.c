// SPDX-License-Identifier: GPL-2.0
/* Which process has which TCP socket open: a look at the files of all processes. */
#include <linux/bpf.h>
#include <stdbool.h>

#include "abi/owners.h"
#include "socket.h"

SEC("iter/task_file")
int weir_owners(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct weir_owned o = {};
	struct socket *socket;
	struct sock *sk;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || !is_tcp(sk))
		return 0;
	o.socket = (__u64)sk;
	o.inode = BPF_CORE_READ(file, f_inode, i_ino);
	o.owner.pid = task->tgid;
	BPF_CORE_READ_STR_INTO(&o.owner.comm, task, comm);
	bpf_seq_write(ctx->meta->seq, &o, sizeof(o));
	return 0;
}

char _license[] SEC("license") = "GPL";
