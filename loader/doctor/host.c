// SPDX-License-Identifier: GPL-2.0
#include "findings.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "loader/host/features.h"

static int load_pass(enum bpf_prog_type type, enum bpf_attach_type attach)
{
	const struct bpf_insn pass[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = attach);

	return bpf_prog_load(type, "weir_probe", "GPL", pass, 2, &opts);
}

/* Returns false when nothing else about BPF can be found out. */
static bool check_bpf(struct doctor *d)
{
	struct bpf_prog_info info = {0};
	__u32 size = sizeof(info);
	int fd = load_pass(BPF_PROG_TYPE_XDP, BPF_XDP);

	if (fd == -EPERM || fd == -EACCES) {
		report(d, "bpf", FAIL, "loading a program is not permitted");
		advise(d, "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON");
		return false;
	}
	if (fd < 0) {
		report(d, "bpf", FAIL, "loading a program: %s", strerror(-fd));
		advise(d, "use a kernel with CONFIG_BPF_SYSCALL");
		return false;
	}
	report(d, "bpf", OK, "programs load");
	if (!bpf_obj_get_info_by_fd(fd, &info, &size) && !info.jited_prog_len) {
		report(d, "jit", WARN, "off: programs are interpreted and several times slower");
		advise(d, "sysctl -w net.core.bpf_jit_enable=1");
	} else {
		report(d, "jit", OK, "on");
	}
	close(fd);
	return true;
}

static void check_tracers(struct doctor *d)
{
	struct tracing_view view = {};

	tracing_ask(&view);
	doctor_tracers(d, &view);
}

static void check_features(struct doctor *d)
{
	if (features_dispatcher())
		report(d, "dispatcher", OK, "libxdp can run several XDP programs on one device");
	else
		report(d, "dispatcher", OK,
		       "the kernel has no program extensions: weir's XDP program is alone on its device");
	if (features_tcx())
		report(d, "tcx", OK, "TC programs are held by TCX links");
	else
		report(d, "tcx", OK,
		       "the kernel has no TCX (Linux 6.6): TC filters in clsact instead");
	if (features_listener())
		report(d, "listeners", OK, "TC programs can look at listening sockets");
	else {
		report(d, "listeners", WARN,
		       "TC programs cannot look at listening sockets: full queues are not named");
		advise(d, "use a kernel with CONFIG_DEBUG_INFO_BTF");
	}
	check_socket_programs(d);
	if (libbpf_probe_bpf_map_type(BPF_MAP_TYPE_RINGBUF, NULL) == 1)
		report(d, "ring-buffer", OK, "single handshakes can be watched");
	else
		report(d, "ring-buffer", FAIL, "the kernel has no ring buffers (Linux 5.8)");
	check_tracers(d);
}

static void check_bpffs(struct doctor *d)
{
	struct statfs fs;

	if (!statfs(WEIR_BPFFS, &fs) && fs.f_type == BPF_FS_MAGIC) {
		report(d, "bpffs", OK, "mounted on %s", WEIR_BPFFS);
		return;
	}
	report(d, "bpffs", WARN, "not mounted on %s; 'weir attach' mounts it", WEIR_BPFFS);
	advise(d, "mount -t bpf bpf %s", WEIR_BPFFS);
}

static void check_sysctls(struct doctor *d)
{
	if (read_sysctl("/proc/sys/%s", "kernel/bpf_stats_enabled") > 0) {
		report(d, "bpf-stats", WARN,
		       "on: the kernel reads the clock around every program, 50-70 ns a packet");
		advise(d, "sysctl -w kernel.bpf_stats_enabled=0");
	} else {
		report(d, "bpf-stats", OK, "off");
	}
	if (read_sysctl("/proc/sys/%s", "net/core/bpf_jit_harden") > 1) {
		report(d, "jit-harden", WARN,
		       "2: constants are blinded in root's programs too, "
		       "which makes them slower");
		advise(d, "sysctl -w net.core.bpf_jit_harden=1");
	}
}

static void check_release(struct doctor *d)
{
	struct utsname name;
	int major = 0, minor = 0;

	uname(&name);
	sscanf(name.release, "%d.%d", &major, &minor);
	if (major < 6 || (major == 6 && minor < 1)) {
		report(d, "kernel", WARN,
		       "Linux %s is older than 6.1, the oldest weir is tested on", name.release);
		advise(d, "upgrade the kernel");
	} else {
		report(d, "kernel", OK, "Linux %s", name.release);
	}
}

void doctor_host(struct doctor *d)
{
	libbpf_print_fn_t print = libbpf_set_print(NULL);

	d->subject = "host";
	check_release(d);
	if (check_bpf(d))
		check_features(d);
	check_bpffs(d);
	check_sysctls(d);
	libbpf_set_print(print);
}
