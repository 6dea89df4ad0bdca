// SPDX-License-Identifier: GPL-2.0
/*
 * unseen TRACEPOINT:ID... -- COMMAND...: runs the command, and says how many hits of these tracepoints, as
 * perf counts them, no tracing program was run for. Kernels may keep processes from being traced, and
 * leave out what softirqs do in the time of such a process, too: no counter tells. Exit status: the
 * command's, or 75 where it failed and there were such hits.
 */
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRACEPOINTS 8
#define CPUS	    1024
#define UNSEEN	    75

struct watch {
	int program, map, cpus;
	int counter[CPUS];
};

static void die(const char *what)
{
	perror(what);
	exit(2);
}

/* *value += 1 */
static int load(int map)
{
	const struct bpf_insn code[] = {
		{.code = BPF_LD | BPF_IMM | BPF_DW,
		 .dst_reg = 1,
		 .src_reg = BPF_PSEUDO_MAP_VALUE,
		 .imm = map},
		{},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .imm = 1},
		{.code = BPF_STX | BPF_DW | BPF_ATOMIC, .dst_reg = 1, .src_reg = 2, .imm = BPF_ADD},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, "unseen", "GPL", code,
			     sizeof(code) / sizeof(code[0]), NULL);
}

/* Runs, and those that the kernel left out, and counted. */
static unsigned long long runs(const struct watch *w)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info), zero = 0;
	__u64 value;

	if (bpf_map_lookup_elem(w->map, &zero, &value) ||
	    bpf_obj_get_info_by_fd(w->program, &info, &size))
		die("a program");
	return value + info.recursion_misses;
}

static unsigned long long hits(const struct watch *w)
{
	unsigned long long sum = 0, value;

	for (int cpu = 0; cpu < w->cpus; cpu++)
		if (w->counter[cpu] >= 0) {
			if (read(w->counter[cpu], &value, sizeof(value)) != sizeof(value))
				die("a counter");
			sum += value;
		}
	return sum;
}

static void begin(struct watch *w, char *tracepoint)
{
	char *id = strchr(tracepoint, ':');
	struct perf_event_attr attr = {.type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr)};

	if (!id)
		exit(2);
	*id++ = '\0';
	attr.config = atoi(id);
	w->map =
		bpf_map_create(BPF_MAP_TYPE_ARRAY, "unseen", sizeof(__u32), sizeof(__u64), 1, NULL);
	w->program = w->map < 0 ? -1 : load(w->map);
	if (w->program < 0 || bpf_raw_tracepoint_open(tracepoint, w->program) < 0)
		die(tracepoint);
	w->cpus = sysconf(_SC_NPROCESSORS_CONF);
	for (int cpu = 0; cpu < w->cpus; cpu++)
		w->counter[cpu] =
			syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
	if (w->counter[0] < 0)
		die("perf_event_open");
}

static int run(char **command)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		signal(SIGINT, SIG_DFL);
		signal(SIGTERM, SIG_DFL);
		execvp(command[0], command);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		die(command[0]);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
	static struct watch watches[TRACEPOINTS];
	long long before[TRACEPOINTS], unseen = 0;
	int n = 0, status;

	for (argv++; argc > 1 && strcmp(*argv, "--") && n < TRACEPOINTS; argc--)
		begin(&watches[n++], *argv++);
	if (argc < 3)
		return 2;
	/* Who interrupts a test interrupts the command as well: its end is waited for. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	/* What comes between the two readings counts as unseen, not the reverse. */
	for (int i = 0; i < n; i++) {
		before[i] = hits(&watches[i]);
		before[i] -= runs(&watches[i]);
	}
	status = run(argv + 1);
	for (int i = 0; i < n; i++) {
		long long more = -(long long)runs(&watches[i]) - before[i];

		more += hits(&watches[i]);
		unseen += more > 0 ? more : 0;
	}
	fprintf(stderr, "unseen: %lld\n", unseen);
	return status && unseen > 0 ? UNSEEN : status;
}
