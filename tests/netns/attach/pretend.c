// SPDX-License-Identifier: GPL-2.0
/*
 * What a test makes weir believe, by LD_PRELOAD:
 *
 *   PRETEND_NO_TCX=1     the kernel takes no TCX links
 *   PRETEND_LATER=S      the wall clock is S seconds ahead
 *   PRETEND_KILL=N       weir is killed after the Nth program it replaced
 *   PRETEND_LOG=FILE     gets one word for each program that weir replaced: xdp, tc
 */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <bpf/bpf.h>

int bpf_link_create(int program, int target, enum bpf_attach_type type,
		    const struct bpf_link_create_opts *opts)
{
	int (*create)(int, int, enum bpf_attach_type, const struct bpf_link_create_opts *) =
		dlsym(RTLD_NEXT, __func__);

	if (getenv("PRETEND_NO_TCX") && (type == 46 || type == 47)) {
		errno = EINVAL;
		return -EINVAL;
	}
	return create(program, target, type, opts);
}

static void tell(int program)
{
	const char *path = getenv("PRETEND_LOG");
	FILE *log = path ? fopen(path, "a") : NULL;
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);

	if (!log)
		return;
	if (!bpf_obj_get_info_by_fd(program, &info, &size))
		fprintf(log, "%s ", info.type == BPF_PROG_TYPE_XDP ? "xdp" : "tc");
	fclose(log);
}

int bpf_link_update(int link, int program, const struct bpf_link_update_opts *opts)
{
	int (*update)(int, int, const struct bpf_link_update_opts *) = dlsym(RTLD_NEXT, __func__);
	const char *last = getenv("PRETEND_KILL");
	int err = update(link, program, opts);
	static int updates;

	tell(program);
	if (last && ++updates == atoi(last))
		raise(SIGKILL);
	return err;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int (*get)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, __func__);
	const char *seconds = getenv("PRETEND_LATER");
	int err = get(clock, now);

	if (seconds && clock == CLOCK_REALTIME)
		now->tv_sec += atol(seconds);
	return err;
}
