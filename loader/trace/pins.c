// SPDX-License-Identifier: GPL-2.0
#include "pins.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "loader/base/error.h"

static const char *directory(const struct instance *in, const struct tracer *tracer)
{
	return instance_path(in, "tcp/%s", tracer->name);
}

/* 0: whole; -ENOENT: not, or not there; else a fail() line. */
static int read_about(const struct instance *in, const struct tracer *tracer,
		      struct weir_trace_about *about)
{
	int err = in->exists ? pin_read(instance_path(in, "tcp/%s/about", tracer->name), about,
					sizeof(*about))
			     : -ENOENT;

	if (!err && about->schema != WEIR_TRACE_SCHEMA)
		return fail(-EPROTO,
			    "the pinned tracer '%s' has schema %u, this weir speaks %u; 'weir tcp "
			    "%s --unpin' with either ends it",
			    tracer->name, about->schema, WEIR_TRACE_SCHEMA, tracer->name);
	return err;
}

/* ---- pin ---- */

int trace_mend(struct instance *in)
{
	DIR *d = opendir(instance_path(in, "tcp"));
	struct dirent *entry;
	int err = 0;

	while (d && !err && (entry = readdir(d)))
		if (entry->d_name[0] != '.' &&
		    access(instance_path(in, "tcp/%s/about", entry->d_name), F_OK))
			err = pin_remove_tree(instance_path(in, "tcp/%s", entry->d_name));
	if (d)
		closedir(d);
	rmdir(instance_path(in, "tcp")); /* stays while others are in it */
	return err;
}

static int pin_as(int fd, const char *dir, const char *prefix, const char *name)
{
	char path[PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/%s%s", dir, prefix, name);
	return bpf_obj_pin(fd, path) ? fail(-errno, "cannot pin %s: %m", path) : 0;
}

static int pin_maps(struct trace_run *run, const char *dir)
{
	struct bpf_map *map;
	int err = 0;

	bpf_object__for_each_map (map, run->object) {
		const char *name = bpf_map__name(map);

		/* Constants and variables stay with the programs. */
		if (!err && strcmp(name, "about") && !strchr(name, '.'))
			err = pin_as(bpf_map__fd(map), dir, "", name);
	}
	return err;
}

static int pin_all(struct trace_run *run, const char *dir)
{
	int err = pin_maps(run, dir);

	for (int i = 0; !err && i < run->program_count; i++)
		err = pin_as(bpf_link__fd(run->links[i]), dir, TRACE_LINK, run->programs[i]);
	return err ? err : pin_as(trace_map(run, "about"), dir, "", "about");
}

int trace_not_pinned(const struct tracer *tracer, const struct instance *in)
{
	struct weir_trace_about about;
	int err = read_about(in, tracer, &about);

	if (!err)
		return fail(
			-EEXIST,
			"'%s' collects in the background already; 'weir tcp %s --unpin' ends it",
			tracer->name, tracer->name);
	return err == -ENOENT ? 0 : err;
}

int trace_pin(struct trace_run *run, struct instance *in)
{
	char dir[PATH_MAX];
	int err;

	snprintf(dir, sizeof(dir), "%s", directory(in, run->tracer));
	err = pin_mkdir(instance_path(in, "tcp"));
	if (!err)
		err = pin_mkdir(dir);
	if (!err)
		err = pin_all(run, dir);
	if (err)
		trace_unpin(run->tracer, in);
	return err;
}

/* ---- what is pinned ---- */

static int note_link(struct trace_run *run, const char *program)
{
	struct bpf_link_info info = {};
	__u32 size = sizeof(info);
	char path[PATH_MAX + 64];
	int fd, err;

	if (run->program_count == TRACE_PROGRAMS)
		return fail(-EPROTO, "%s has more links than this weir knows of", run->pins);
	snprintf(path, sizeof(path), "%s/" TRACE_LINK "%s", run->pins, program);
	fd = pin_open(path);
	if (fd < 0)
		return fail(fd, "cannot open %s: %s", path, strerror(-fd));
	err = bpf_obj_get_info_by_fd(fd, &info, &size);
	close(fd);
	if (err)
		return fail(err, "cannot read %s: %s", path, strerror(-err));
	snprintf(run->programs[run->program_count], sizeof(run->programs[0]), "%s", program);
	run->program_ids[run->program_count++] = info.prog_id;
	return 0;
}

static int note_links(struct trace_run *run)
{
	DIR *d = opendir(run->pins);
	struct dirent *entry;
	int err = d ? 0 : fail(-errno, "cannot read %s: %m", run->pins);

	while (!err && (entry = readdir(d)))
		if (!strncmp(entry->d_name, TRACE_LINK, strlen(TRACE_LINK)))
			err = note_link(run, entry->d_name + strlen(TRACE_LINK));
	if (d)
		closedir(d);
	if (!err && run->program_count != (int)run->about.programs)
		err = fail(
			-EPROTO,
			"'%s' has lost %d of its %u links, and does not count all since then; 'weir "
			"tcp %s --unpin' ends it, '--pin' begins anew",
			run->tracer->name, (int)run->about.programs - run->program_count,
			run->about.programs, run->tracer->name);
	return err;
}

int trace_open_pinned(struct trace_run *run, const struct tracer *tracer, const struct instance *in)
{
	int err;

	*run = (struct trace_run){.tracer = tracer, .pinned = true};
	err = read_about(in, tracer, &run->about);
	if (err)
		return err;
	snprintf(run->pins, sizeof(run->pins), "%s", directory(in, tracer));
	if (tracer->own_size) {
		run->own = calloc(1, tracer->own_size);
		if (!run->own)
			return fail(-ENOMEM, "out of memory");
	}
	err = note_links(run);
	if (err)
		trace_end(run);
	return err;
}

bool trace_is_half_pinned(const struct tracer *tracer, const struct instance *in)
{
	return in->exists && !access(directory(in, tracer), F_OK) &&
	       access(instance_path(in, "tcp/%s/about", tracer->name), F_OK);
}

bool trace_is_pinned(const struct trace_run *run)
{
	struct weir_trace_about about;
	char path[PATH_MAX + 16];
	int err;

	snprintf(path, sizeof(path), "%s/about", run->pins);
	err = pin_read(path, &about, sizeof(about));
	if (err && err != -ENOENT)
		forget_failure();
	return !err && about.started_ns == run->about.started_ns;
}

int trace_unpin(const struct tracer *tracer, struct instance *in)
{
	const char *dir = directory(in, tracer);
	int err;

	if (!in->exists || access(dir, F_OK))
		return -ENOENT;
	err = pin_remove_tree(dir);
	rmdir(instance_path(in, "tcp")); /* stays while others are in it */
	return err;
}
