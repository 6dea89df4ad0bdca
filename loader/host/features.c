// SPDX-License-Identifier: GPL-2.0
#include "features.h"

#include <errno.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "probe.skel.h"
#include "probe_ext.skel.h"

enum answer {
	UNKNOWN,
	NO,
	YES,
};

/* libbpf tells of failures that are answers here. */
static int say_nothing(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

/* The replacement: one that may move the packet's data, or one that does not. */
static bool can_replace(bool moves)
{
	struct probe_bpf *whole = probe_bpf__open_and_load();
	struct probe_ext_bpf *part = NULL;
	struct bpf_program *program;
	int link = -1;

	if (!whole)
		return false;
	part = probe_ext_bpf__open();
	if (part) {
		program = moves ? part->progs.probe_mover : part->progs.probe_replacement;
		bpf_program__set_autoload(part->progs.probe_mover, moves);
		bpf_program__set_autoload(part->progs.probe_replacement, !moves);
		if (!bpf_program__set_attach_target(
			    program, bpf_program__fd(whole->progs.probe_whole), "probe_part") &&
		    !probe_ext_bpf__load(part))
			link = bpf_raw_tracepoint_open(NULL, bpf_program__fd(program));
	}
	if (link >= 0)
		close(link);
	probe_ext_bpf__destroy(part);
	probe_bpf__destroy(whole);
	return link >= 0;
}

static enum answer try_to_replace(bool moves)
{
	libbpf_print_fn_t print = libbpf_set_print(say_nothing);
	enum answer answer = can_replace(moves) ? YES : NO;

	libbpf_set_print(print);
	return answer;
}

bool features_dispatcher(void)
{
	static enum answer answer;

	if (answer == UNKNOWN)
		answer = try_to_replace(false);
	return answer == YES;
}

bool features_replaced_by_mover(void)
{
	static enum answer answer;

	if (answer == UNKNOWN)
		answer = try_to_replace(true);
	return answer == YES;
}

/* The loopback device takes TCX programs like any other, and this one is gone at once. */
static bool can_tcx(void)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = -1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int program, link;

	program = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "weir_probe", "GPL", insns, 2, NULL);
	if (program < 0)
		return false;
	link = bpf_link_create(program, 1, TCX_INGRESS, NULL);
	close(program);
	if (link < 0)
		return false;
	close(link);
	return true;
}

bool features_tcx(void)
{
	static enum answer answer;

	if (answer == UNKNOWN)
		answer = can_tcx() ? YES : NO;
	return answer == YES;
}

bool features_listener(void)
{
	return !access("/sys/kernel/btf/vmlinux", R_OK);
}

bool features_synq_full_at_max(void)
{
	unsigned int major = 0, minor = 0;
	struct utsname name;

	if (uname(&name) || sscanf(name.release, "%u.%u", &major, &minor) != 2)
		return false;
	return major < 6 || (major == 6 && minor < 14);
}
