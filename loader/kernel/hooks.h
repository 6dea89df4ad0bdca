/* SPDX-License-Identifier: GPL-2.0 */
/* Where the programs of trace/ hang, whether this kernel has it, and what is lost where it has not. */
#ifndef WEIR_TRACE_HOOKS_H
#define WEIR_TRACE_HOOKS_H

#include <stdbool.h>
#include <stddef.h>

struct bpf_link;
struct bpf_program;

struct trace_hook {
	const char *section; /* as in SEC(): "tp_btf/tcp_probe", "tp/syscalls/sys_exit_accept4" */
	const char *gives;   /* what is lost without it: "the time in the accept queue" */
	bool needed;	     /* the tracer does not run without it */
};

/* NULL: it is there. Else why it is not, in words that stay valid. */
const char *hook_lacks(const char *section);
/* A command or advice that gives what hook_lacks() said; NULL: only another kernel has it. */
const char *hook_remedy(const char *section, const char *lacks);

/* How many arguments this kernel's tracepoint has, without the first that BPF hides; < 0: no such
 * tracepoint. Newer kernels append arguments, and a program that reads one more is refused. */
int hook_arguments(const char *tracepoint);

/* Attaches a program by its section: what concerns cgroups to that one. NULL with a fail() line. */
struct bpf_link *hook_attach(struct bpf_program *program, int cgroup);
bool hook_wants_cgroup(const char *section);

#endif
