// SPDX-License-Identifier: GPL-2.0
#include "hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "loader/base/error.h"
#include "loader/host/cgroup.h"
#include "kernel_names.h"

/* tracefs need not be mounted anywhere: this mount is seen by nobody else. */
static int tracefs(void)
{
	static int root = -1;
	int fs;

	if (root >= 0)
		return root;
	fs = fsopen("tracefs", FSOPEN_CLOEXEC);
	if (fs < 0)
		return -errno;
	if (!fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		root = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	close(fs);
	return root;
}

/* Of "tp/syscalls/sys_exit_accept4": the number that perf knows it by. */
static int tracepoint_id(const char *section)
{
	char path[128], text[16] = "";
	int root = tracefs(), fd;
	ssize_t n;

	if (root < 0)
		return -ENOENT;
	snprintf(path, sizeof(path), "events/%s/id", section + strlen("tp/"));
	fd = openat(root, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	return n > 0 ? atoi(text) : -ENOENT;
}

static bool starts(const char *section, const char *with)
{
	return !strncmp(section, with, strlen(with));
}

int hook_arguments(const char *tracepoint)
{
	const struct btf *btf = kernel_types();
	const struct btf_type *t;
	char name[96];
	int id;

	snprintf(name, sizeof(name), "btf_trace_%s", tracepoint);
	id = btf ? btf__find_by_name_kind(btf, name, BTF_KIND_TYPEDEF) : -ENOENT;
	if (id < 0)
		return id;
	t = btf__type_by_id(btf, btf__type_by_id(btf, id)->type); /* the pointer... */
	t = btf__type_by_id(btf, t->type);			  /* ...and the function */
	return btf_is_func_proto(t) ? btf_vlen(t) - 1 : -ENOENT;
}

static bool has_iterator(const char *name)
{
	const struct btf *btf = kernel_types();
	char function[64];

	snprintf(function, sizeof(function), "bpf_iter_%s", name);
	return btf && btf__find_by_name_kind(btf, function, BTF_KIND_FUNC) >= 0;
}

static const char *lacks_cgroup(void)
{
	struct cgroup root;
	int err = cgroup_open(&root, "/");

	if (!err) {
		close(root.fd);
		return NULL;
	}
	forget_failure();
	return "no cgroup2 file system is mounted";
}

bool hook_wants_cgroup(const char *section)
{
	return starts(section, "sockops") || starts(section, "cgroup");
}

const char *hook_lacks(const char *section)
{
	if (!kernel_types())
		return "the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)";
	if (starts(section, "tp_btf/"))
		return hook_arguments(section + strlen("tp_btf/")) < 0
			       ? "the kernel has no such tracepoint"
			       : NULL;
	if (starts(section, "iter/"))
		return has_iterator(section + strlen("iter/")) ? NULL
							       : "the kernel has no such iterator";
	if (starts(section, "tp/"))
		return tracepoint_id(section) < 0
			       ? "the kernel has no such tracepoint (CONFIG_FTRACE_SYSCALLS)"
			       : NULL;
	return hook_wants_cgroup(section) ? lacks_cgroup() : NULL;
}

const char *hook_remedy(const char *section, const char *lacks)
{
	if (strstr(lacks, "CONFIG_DEBUG_INFO_BTF"))
		return "use a kernel with CONFIG_DEBUG_INFO_BTF";
	if (strstr(lacks, "CONFIG_FTRACE_SYSCALLS"))
		return "use a kernel with CONFIG_FTRACE_SYSCALLS";
	return hook_wants_cgroup(section) ? "mount -t cgroup2 cgroup2 /sys/fs/cgroup" : NULL;
}

static struct bpf_link *attach_tracepoint(struct bpf_program *program, const char *section)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT,
		.size = sizeof(attr),
		.config = tracepoint_id(section),
	};
	int fd = syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
	struct bpf_link *link;

	if (fd < 0)
		return NULL;
	link = bpf_program__attach_perf_event(program, fd);
	if (!link)
		close(fd);
	return link;
}

struct bpf_link *hook_attach(struct bpf_program *program, int cgroup)
{
	const char *section = bpf_program__section_name(program);
	struct bpf_link *link;

	if (starts(section, "tp/"))
		link = attach_tracepoint(program, section);
	else if (hook_wants_cgroup(section))
		link = bpf_program__attach_cgroup(program, cgroup);
	else
		link = bpf_program__attach(program);
	if (!link)
		fail(-errno, "the kernel refuses to attach to %s: %m", section);
	return link;
}
