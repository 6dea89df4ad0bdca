// SPDX-License-Identifier: GPL-2.0
#include "overhead.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "loader/base/error.h"

#define FLOOR_RUNS 20000

static int read_info(int fd, struct bpf_prog_info *info)
{
	__u32 size = sizeof(*info);

	memset(info, 0, sizeof(*info));
	return bpf_obj_get_info_by_fd(fd, info, &size);
}

/* What a run of nothing is said to take while the kernel measures. */
static double measure_floor(void)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K},
		{.code = BPF_JMP | BPF_EXIT},
	};
	char frame[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = sizeof(frame),
		    .repeat = FLOOR_RUNS);
	struct bpf_prog_info info;
	double ns = 0;
	int fd = bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "weir_floor", "GPL", insns, 2, NULL);

	if (fd < 0)
		return 0;
	if (!bpf_prog_test_run_opts(fd, &run) && !read_info(fd, &info) && info.run_cnt)
		ns = (double)info.run_time_ns / info.run_cnt;
	close(fd);
	return ns;
}

/* As it was where the program is gone. */
static void read_runs(__u32 program, __u64 *runs, __u64 *ns)
{
	int fd = bpf_prog_get_fd_by_id(program);
	struct bpf_prog_info info;

	if (fd < 0)
		return;
	if (!read_info(fd, &info)) {
		*runs = info.run_cnt;
		*ns = info.run_time_ns;
	}
	close(fd);
}

int overhead_begin(struct overhead *o, const struct trace_run *run)
{
	*o = (struct overhead){.stats = bpf_enable_stats(BPF_STATS_RUN_TIME)};
	if (o->stats < 0)
		return fail(o->stats, "the kernel does not measure BPF programs: %s",
			    strerror(-o->stats));
	o->floor_ns = measure_floor();
	for (int i = 0; i < run->program_count; i++)
		read_runs(run->program_ids[i], &o->before[i].runs, &o->before[i].ns);
	return 0;
}

void overhead_end(struct overhead *o)
{
	if (o->stats >= 0)
		close(o->stats);
	o->stats = -1;
}

double overhead_ns_per_run(__u64 runs, __u64 ns, double floor_ns)
{
	double each = runs ? (double)ns / runs - floor_ns : 0;

	return each > 0 ? each : 0;
}

static json_t *program_json(const struct overhead *o, const struct trace_run *run, int i,
			    double seconds)
{
	__u64 runs = o->before[i].runs, ns = o->before[i].ns;
	double each, a_second;

	read_runs(run->program_ids[i], &runs, &ns);
	runs -= o->before[i].runs;
	ns -= o->before[i].ns;
	each = overhead_ns_per_run(runs, ns, o->floor_ns);
	a_second = seconds > 0 ? runs / seconds : 0;
	return json_pack("{s:s,s:I,s:f,s:f,s:f}", "program", run->programs[i], "runs",
			 (json_int_t)runs, "runs_per_second", a_second, "ns_per_run", each,
			 "cpu_percent", each * a_second / 1e7);
}

json_t *overhead_json(const struct overhead *o, const struct trace_run *run, double seconds)
{
	json_t *programs = json_array();

	for (int i = 0; i < run->program_count; i++)
		json_array_append_new(programs, program_json(o, run, i, seconds));
	return json_pack("{s:f,s:f,s:o}", "seconds", seconds, "floor_ns", o->floor_ns, "programs",
			 programs);
}
