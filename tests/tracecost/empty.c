// SPDX-License-Identifier: GPL-2.0
/* Holds empty programs where weir's tracers are, until it is killed. */
#include <stdio.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#include "loader/base/error.h"
#include "loader/host/cgroup.h"
#include "loader/kernel/hooks.h"
#include "trace_empty.skel.h"

static int hold(struct trace_empty_bpf *skel, int cgroup)
{
	struct bpf_program *program;

	bpf_object__for_each_program (program, skel->obj)
		if (hook_lacks(bpf_program__section_name(program)))
			bpf_program__set_autoload(program, false);
	if (trace_empty_bpf__load(skel))
		return -1;
	bpf_object__for_each_program (program, skel->obj)
		if (bpf_program__autoload(program) && !hook_attach(program, cgroup))
			return -1;
	puts("ready");
	fflush(stdout);
	return pause();
}

int main(void)
{
	struct trace_empty_bpf *skel = trace_empty_bpf__open();
	struct cgroup root;

	if (!cgroup_open(&root, "/") && skel)
		hold(skel, root.fd);
	fprintf(stderr, "empty: %s\n", failure() ?: "the programs do not load");
	return 1;
}
