// SPDX-License-Identifier: GPL-2.0
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "loader/kernel/iterator.h"
#include "loader/base/error.h"
#include "loader/host/clock.h"
#include "loader/program/program.h"

/* ---- before loading ---- */

static int open_object(struct trace_run *run)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = run->tracer->name);
	size_t size;
	const void *elf = run->tracer->elf(&size);

	run->object = bpf_object__open_mem(elf, size, &options);
	return run->object ? 0 : fail(-errno, "cannot open the tracing programs: %m");
}

void *trace_rodata(const struct trace_run *run)
{
	size_t size;

	return (void *)bpf_map__initial_value(bpf_object__find_map_by_name(run->object, ".rodata"),
					      &size);
}

void trace_want(const struct trace_run *run, const char *program, bool wanted)
{
	bpf_program__set_autoload(bpf_object__find_program_by_name(run->object, program), wanted);
}

int trace_resize(const struct trace_run *run, const char *map, __u32 entries)
{
	int err = bpf_map__set_max_entries(bpf_object__find_map_by_name(run->object, map), entries);

	return err ? fail(err, "cannot make the map '%s' hold %u entries: %s", map, entries,
			  strerror(-err))
		   : 0;
}

__u32 trace_room(__u32 wanted, __u32 bytes, int cpus)
{
	__u64 entry = ((__u64)bytes + 7) / 8 * 8 * cpus, most = entry ? TRACE_ROOM / entry : wanted;

	return most < 1 ? 1 : most < wanted ? most : wanted;
}

static int bound_maps(const struct trace_run *run)
{
	int cpus = libbpf_num_possible_cpus(), err = cpus < 0 ? cpus : 0;
	struct bpf_map *map;

	bpf_object__for_each_map (map, run->object)
		if (!err && bpf_map__type(map) == BPF_MAP_TYPE_PERCPU_HASH)
			err = trace_resize(run, bpf_map__name(map),
					   trace_room(bpf_map__max_entries(map),
						      bpf_map__value_size(map), cpus));
	return err;
}

/* ---- begin ---- */

static const struct trace_hook *hook_of(const struct tracer *tracer, const char *section)
{
	for (int i = 0; i < tracer->hook_count; i++)
		if (!strcmp(tracer->hooks[i].section, section))
			return &tracer->hooks[i];
	return NULL;
}

/* What this kernel has not is not loaded. */
static int leave_out(const struct tracer *tracer, struct bpf_object *object)
{
	struct bpf_program *program;

	for (int i = 0; i < tracer->hook_count; i++) {
		const struct trace_hook *hook = &tracer->hooks[i];
		const char *lacks = hook_lacks(hook->section);

		if (!lacks)
			continue;
		if (hook->needed)
			return fail(-EOPNOTSUPP, "%s: %s; without it there is no %s", hook->section,
				    lacks, hook->gives);
		notice("%s: %s; %s cannot be told", hook->section, lacks, hook->gives);
	}
	bpf_object__for_each_program (program, object) {
		const char *section = bpf_program__section_name(program);

		if (hook_of(tracer, section) && hook_lacks(section))
			bpf_program__set_autoload(program, false);
	}
	return 0;
}

static int load(struct trace_run *run)
{
	struct weir_trace_config *config = trace_rodata(run);
	int err;

	*config = run->about.config;
	err = bound_maps(run);
	if (!err && !config->lines)
		err = trace_resize(run, "events", sysconf(_SC_PAGESIZE));
	if (err)
		return err;
	err = bpf_object__load(run->object);
	return err ? fail(err, "the kernel refuses the tracing programs: %s; -vv shows why",
			  strerror(-err))
		   : 0;
}

static int write_about(struct trace_run *run)
{
	int fd = trace_map(run, "about"), err;
	struct bpf_program *program;
	__u32 zero = 0;

	if (fd < 0)
		return fd;
	run->about.schema = WEIR_TRACE_SCHEMA;
	bpf_object__for_each_program (program, run->object)
		run->about.programs += bpf_program__autoload(program);
	run->about.started_ns = clock_now_ns();
	err = bpf_map_update_elem(fd, &zero, &run->about, BPF_ANY);
	return err ? fail(err, "cannot write the tracer's record: %s", strerror(-err)) : 0;
}

static __u32 program_id(int fd)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &size) ? 0 : info.id;
}

static int attach(struct trace_run *run, int cgroup)
{
	struct bpf_program *program;

	bpf_object__for_each_program (program, run->object) {
		int n = run->program_count;

		if (!bpf_program__autoload(program))
			continue;
		if (n == TRACE_PROGRAMS)
			return fail(-E2BIG, "a tracer with more than %d programs", TRACE_PROGRAMS);
		run->links[n] = hook_attach(program, cgroup);
		if (!run->links[n])
			return -errno;
		snprintf(run->programs[n], sizeof(run->programs[n]), "%s",
			 bpf_program__name(program));
		run->program_ids[n] = program_id(bpf_program__fd(program));
		run->program_count++;
	}
	return 0;
}

/* Programs of cgroups see the one that the user named, or all of them. */
static int attach_all(struct trace_run *run, const struct cgroup *named)
{
	struct cgroup root = {.fd = -1};
	bool wants = false;
	int err = 0;

	for (int i = 0; i < run->tracer->hook_count; i++)
		wants |= hook_wants_cgroup(run->tracer->hooks[i].section) &&
			 !hook_lacks(run->tracer->hooks[i].section);
	if (wants && !named)
		err = cgroup_open(&root, "/");
	if (!err)
		err = attach(run, named ? named->fd : root.fd);
	if (root.fd >= 0)
		close(root.fd);
	return err;
}

static int begin(struct trace_run *run, const struct cgroup *cgroup)
{
	const struct tracer *tracer = run->tracer;
	int err = open_object(run);

	if (!err && tracer->choose)
		err = tracer->choose(run);
	if (!err)
		err = leave_out(tracer, run->object);
	if (!err)
		err = load(run);
	if (!err)
		err = write_about(run);
	if (!err && tracer->prepare)
		err = tracer->prepare(run);
	if (!err)
		err = attach_all(run, cgroup);
	if (!err && tracer->begun)
		err = tracer->begun(run);
	return err;
}

int trace_start(struct trace_run *run, const struct tracer *tracer,
		const struct weir_trace_config *config, const struct cgroup *cgroup,
		const void *settings)
{
	int err;

	*run = (struct trace_run){.tracer = tracer, .about.config = *config, .settings = settings};
	if (tracer->own_size) {
		run->own = calloc(1, tracer->own_size);
		if (!run->own)
			return fail(-ENOMEM, "out of memory");
	}
	err = begin(run, cgroup);
	if (err)
		trace_end(run);
	return err;
}

void trace_end(struct trace_run *run)
{
	if (run->own && run->tracer->forget)
		run->tracer->forget(run);
	for (int i = 0; i < TRACE_PROGRAMS; i++)
		bpf_link__destroy(run->links[i]);
	for (int i = 0; run->pinned && i < run->map_count; i++)
		close(run->maps[i].fd);
	bpf_object__close(run->object);
	free(run->own);
	*run = (struct trace_run){};
}

/* ---- maps ---- */

static int find_map(const struct trace_run *run, const char *name)
{
	char path[PATH_MAX + 32];

	if (!run->pinned)
		return bpf_object__find_map_fd_by_name(run->object, name);
	snprintf(path, sizeof(path), "%s/%s", run->pins, name);
	return pin_open(path);
}

int trace_map(struct trace_run *run, const char *name)
{
	int fd;

	for (int i = 0; i < run->map_count; i++)
		if (!strcmp(run->maps[i].name, name))
			return run->maps[i].fd;
	fd = run->map_count < TRACE_MAPS ? find_map(run, name) : -E2BIG;
	if (fd < 0)
		return fail(fd, "the tracer '%s' has no map '%s': %s", run->tracer->name, name,
			    strerror(-fd));
	snprintf(run->maps[run->map_count].name, sizeof(run->maps[0].name), "%s", name);
	run->maps[run->map_count++].fd = fd;
	return fd;
}

static int find_link(const struct trace_run *run, const char *program)
{
	char path[PATH_MAX + 32];

	if (run->pinned) {
		snprintf(path, sizeof(path), "%s/" TRACE_LINK "%s", run->pins, program);
		return pin_open(path);
	}
	for (int i = 0; i < run->program_count; i++)
		if (!strcmp(run->programs[i], program))
			return fcntl(bpf_link__fd(run->links[i]), F_DUPFD_CLOEXEC, 0);
	return -ENOENT;
}

static int nothing_to_read(void *arg, const void *record)
{
	(void)arg;
	(void)record;
	return 0;
}

int trace_walk(const struct trace_run *run, const char *program, const char *what)
{
	int link = find_link(run, program), err;

	if (link < 0)
		return fail(link, "the tracer '%s' has no iterator '%s': %s", run->tracer->name,
			    program, strerror(-link));
	err = iterator_read(link, what, 1, nothing_to_read, NULL);
	close(link);
	return err;
}

int trace_constants(const struct trace_run *run, __u32 offset, void *to, __u32 size)
{
	int err = run->program_count ? program_constants(run->program_ids[0], offset, to, size)
				     : -ENOENT;

	return err ? fail(err, "cannot read how the tracer '%s' is set up: %s", run->tracer->name,
			  strerror(-err))
		   : 0;
}

/* ---- what was lost ---- */

static __u64 missed_by(__u32 program)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(program);

	if (fd < 0)
		return 0;
	if (bpf_obj_get_info_by_fd(fd, &info, &size))
		info.recursion_misses = 0;
	close(fd);
	return info.recursion_misses;
}

int trace_lost_read(struct trace_run *run, struct trace_lost *lost)
{
	int cpus = libbpf_num_possible_cpus(), fd = trace_map(run, "tally"), err;
	struct weir_trace_tally *tally;
	__u32 zero = 0;

	*lost = (struct trace_lost){};
	if (fd < 0)
		return fd;
	tally = cpus > 0 ? calloc(cpus, sizeof(*tally)) : NULL;
	if (!tally)
		return fail(-ENOMEM, "out of memory");
	err = bpf_map_lookup_elem(fd, &zero, tally);
	for (int cpu = 0; !err && cpu < cpus; cpu++) {
		lost->events_lost += tally[cpu].events_lost;
		lost->records_full += tally[cpu].records_full;
		lost->unknown += tally[cpu].unknown;
	}
	free(tally);
	for (int i = 0; i < run->program_count && !run->tracer->misses_none; i++)
		lost->missed += missed_by(run->program_ids[i]);
	return err ? fail(err, "cannot read what was lost: %s", strerror(-err)) : 0;
}

json_t *trace_lost_json(const struct trace_lost *lost)
{
	return json_pack("{s:I,s:I,s:I,s:I}", "events_lost", (json_int_t)lost->events_lost,
			 "records_full", (json_int_t)lost->records_full, "unknown",
			 (json_int_t)lost->unknown, "missed_runs", (json_int_t)lost->missed);
}
