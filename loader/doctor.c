// SPDX-License-Identifier: GPL-2.0
#include "doctor.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "loader/rules/redirects.h"
#include "loader/base/error.h"
#include "loader/host/ethtool.h"
#include "loader/host/features.h"
#include "loader/out/out.h"

/* A page less XDP's headroom, skb_shared_info, the Ethernet header and two VLAN tags. */
#define SINGLE_BUFFER_MTU 3498

enum level {
	OK,
	WARN,
	FAIL,
};

/* ---- findings ---- */

static json_t *text(const char *format, va_list args)
{
	char *line;
	json_t *json;

	if (vasprintf(&line, format, args) < 0)
		return json_null();
	json = out_string(line);
	free(line);
	return json;
}

__attribute__((format(printf, 4, 5))) static void report(struct doctor *d, const char *check,
							 enum level level, const char *format, ...)
{
	static const char *const names[] = {"ok", "warn", "fail"};
	va_list args;

	d->last = NULL;
	if (level == OK && d->problems_only)
		return;
	d->failed += level == FAIL;
	d->warned += level == WARN;
	va_start(args, format);
	d->last = json_pack("{s:s,s:o,s:s,s:o,s:n}", "level", names[level], "subject",
			    out_string(d->subject), "check", check, "found", text(format, args),
			    "remedy");
	va_end(args);
	json_array_append_new(d->findings, d->last);
}

/* The remedy of the finding reported last, if that was not left out. */
__attribute__((format(printf, 2, 3))) static void advise(struct doctor *d, const char *format, ...)
{
	va_list args;

	if (!d->last)
		return;
	va_start(args, format);
	json_object_set_new(d->last, "remedy", text(format, args));
	va_end(args);
}

/* What has to stand before a command that changes a device of the namespace looked at. */
static const char *inside(const struct doctor *d)
{
	static char prefix[128];

	if (!d->netns)
		return "";
	if (strchr(d->netns, '/'))
		snprintf(prefix, sizeof(prefix), "nsenter --net=%s ", d->netns);
	else
		snprintf(prefix, sizeof(prefix), "ip netns exec %s ", d->netns);
	return prefix;
}

/* How weir is called for that namespace. */
static const char *weir(const struct doctor *d)
{
	static char command[128];

	if (!d->netns)
		return "weir";
	snprintf(command, sizeof(command), "weir -n %s", d->netns);
	return command;
}

/* ---- host ---- */

/* The first number in a file below /proc/sys; -1 when it cannot be read. */
static int read_sysctl(const char *format, const char *name)
{
	char path[128];
	int value = -1;
	FILE *f;

	snprintf(path, sizeof(path), format, name);
	f = fopen(path, "re");
	if (!f)
		return -1;
	if (fscanf(f, "%d", &value) != 1)
		value = -1;
	fclose(f);
	return value;
}

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
	if (libbpf_probe_bpf_map_type(BPF_MAP_TYPE_RINGBUF, NULL) == 1)
		report(d, "ring-buffer", OK, "single handshakes can be watched");
	else
		report(d, "ring-buffer", FAIL, "the kernel has no ring buffers (Linux 5.8)");
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

/* ---- devices ---- */

static void check_up(struct doctor *d, const struct netdev *dev)
{
	if (dev->up) {
		report(d, "up", OK, "yes");
		return;
	}
	report(d, "up", WARN, "the device is down: no packet reaches it");
	advise(d, "%sip link set dev %s up", inside(d), dev->name);
}

static void advise_far_end(struct doctor *d, const struct netdev *dev, const char *option,
			   const char *what)
{
	struct netdev peer;

	if (dev->peer_here && !netdev_by_index(dev->peer, &peer))
		advise(d, "%sethtool %s %s %s", inside(d), option, peer.name, what);
	else
		advise(d, "in the far end's namespace: ethtool %s <device with index %u> %s",
		       option, dev->peer, what);
}

static void check_native(struct doctor *d, const struct netdev *dev)
{
	const char *driver = *dev->driver ? dev->driver : "the driver";

	if (!dev->xdp_known) {
		report(d, "native-xdp", OK, "this kernel does not tell before it is tried");
		return;
	}
	if (dev->xdp_native) {
		report(d, "native-xdp", OK, "%s supports it", driver);
		return;
	}
	if (!strcmp(dev->kind, "veth")) {
		report(d, "native-xdp", WARN,
		       "refused: fewer receive queues than the far end has transmit queues");
		advise_far_end(d, dev, "-L", "tx 1");
		return;
	}
	report(d, "native-xdp", WARN,
	       "%s has none: attach takes generic mode, which is several times slower", driver);
}

static void check_mtu(struct doctor *d, const struct netdev *dev)
{
	if (dev->mtu <= SINGLE_BUFFER_MTU || (dev->xdp_known && !dev->xdp_native)) {
		report(d, "mtu", OK, "%u", dev->mtu);
		return;
	}
	if (dev->xdp_frags) {
		report(d, "mtu", OK, "%u: frames of several buffers, which the driver supports",
		       dev->mtu);
		return;
	}
	report(d, "mtu", WARN, "%u is above %u: the driver refuses native XDP or cuts frames",
	       dev->mtu, SINGLE_BUFFER_MTU);
	advise(d, "%sip link set dev %s mtu %u", inside(d), dev->name, SINGLE_BUFFER_MTU);
}

static void check_offload(struct doctor *d, const struct netdev *dev, const char *feature,
			  const char *check)
{
	struct offload offload;

	if (ethtool_offload(dev->name, feature, &offload) || !offload.on) {
		report(d, check, OK, "off");
		return;
	}
	report(d, check, WARN,
	       "on: the device merges packets before XDP sees them; drivers then refuse native XDP");
	if (!offload.fixed)
		advise(d, "%sethtool -K %s %s off", inside(d), dev->name, feature);
	else if (!strcmp(dev->driver, "virtio_net"))
		advise(d,
		       "set by the hypervisor: start the guest with guest_tso4=off,guest_tso6=off,"
		       "guest_ecn=off,guest_ufo=off, or attach with --mode generic");
	else
		advise(d, "the driver does not let it be changed: attach with --mode generic");
}

static void check_target(struct doctor *d, const struct netdev *dev)
{
	if (!dev->xdp_known || dev->xdp_target) {
		report(d, "redirect-target", OK, "%s",
		       dev->xdp_known ? "frames redirected to it are sent by the driver"
				      : "this kernel does not tell before it is tried");
		return;
	}
	if (!dev->peer || !dev->up) {
		report(d, "redirect-target", OK,
		       "packets redirected to it are sent by the TC program, not by the driver");
		return;
	}
	/* Bad only if something is redirected there; doctor_rules() knows. */
	report(d, "redirect-target", d->problems_only ? OK : WARN,
	       "its far end does not poll (no NAPI): packets redirected to it take the slower way "
	       "through TC");
	advise_far_end(d, dev, "-K", "gro on");
}

static void check_routing(struct doctor *d, const struct netdev *dev)
{
	int all = read_sysctl("/proc/sys/net/ipv4/conf/%s/rp_filter", "all");
	int own = read_sysctl("/proc/sys/net/ipv4/conf/%s/rp_filter", dev->name);
	int forwarding = read_sysctl("/proc/sys/net/ipv4/conf/%s/forwarding", dev->name);

	if ((own > all ? own : all) == 1) {
		report(d, "rp-filter", WARN,
		       "strict: packets that came another way than their answers go are dropped");
		advise(d, "%ssysctl -w net/ipv4/conf/%s/rp_filter=2", inside(d), dev->name);
	} else {
		report(d, "rp-filter", OK, "not strict");
	}
	if (forwarding == 0) {
		report(d, "forwarding", OK, "off: needed only where this host routes");
		advise(d, "only if it shall route: %ssysctl -w net/ipv4/conf/%s/forwarding=1",
		       inside(d), dev->name);
	} else if (forwarding > 0) {
		report(d, "forwarding", OK, "on");
	}
}

static void check_program(struct doctor *d, const struct netdev *dev, const struct device *attached)
{
	if (!attached) {
		if (!dev->xdp_prog)
			return;
		report(d, "xdp-program", WARN,
		       "a program that is not weir's is attached (id %u); weir can join it only "
		       "through libxdp's dispatcher",
		       dev->xdp_prog);
		advise(d, "bpftool prog show id %u", dev->xdp_prog);
		return;
	}
	if (attached->attachment.mode == MODE_GENERIC && dev->xdp_native) {
		report(d, "mode", WARN,
		       "attached in generic mode although the driver has native XDP");
		advise(d, "%s detach %s && %s attach %s --mode native", weir(d), dev->name, weir(d),
		       dev->name);
		return;
	}
	report(d, "mode", OK, "attached, %s", attach_mode_name(attached->attachment.mode));
}

void doctor_device(struct doctor *d, const struct netdev *dev, const struct device *attached)
{
	size_t before = json_array_size(d->findings);

	d->subject = dev->name;
	check_up(d, dev);
	check_program(d, dev, attached);
	check_native(d, dev);
	check_mtu(d, dev);
	check_offload(d, dev, "rx-lro", "lro");
	check_offload(d, dev, "rx-gro-hw", "gro-hw");
	check_target(d, dev);
	check_routing(d, dev);
	if (json_array_size(d->findings) == before) {
		d->problems_only = false;
		report(d, "device", OK, "nothing stands in the way");
		d->problems_only = true;
	}
}

/* ---- rules ---- */

static void check_rule_device(struct doctor *d, const struct rule *rule, const char *name,
			      bool target)
{
	struct netdev dev;

	if (!*name)
		return;
	if (netdev_by_name(name, &dev)) {
		forget_failure();
		report(d, "rule", WARN, "rule %u names device %s, which does not exist", rule->id,
		       name);
		advise(d, "%s rule del %u", weir(d), rule->id);
		return;
	}
	if (!target)
		return;
	if (!dev.up) {
		report(d, "rule", WARN, "rule %u redirects to %s, which is down", rule->id, name);
		advise(d, "%sip link set dev %s up", inside(d), name);
	} else if (redirects_outdated(rule) && !rule->via_tc) {
		report(d, "rule", FAIL,
		       "rule %u redirects to %s, which has ceased to take XDP frames: they are lost",
		       rule->id, name);
		advise(d, "%s attach %s", weir(d), *rule->dev ? rule->dev : "DEV");
	} else if (dev.xdp_known && !dev.xdp_target) {
		report(d, "rule", WARN,
		       "rule %u redirects to %s, which takes no XDP frames: they take the slower way "
		       "through TC",
		       rule->id, name);
		if (dev.peer)
			advise_far_end(d, &dev, "-K", "gro on");
	}
}

void doctor_rules(struct doctor *d, const struct rule_set *rules)
{
	d->subject = "rules";
	for (size_t i = 0; i < rules->count; i++) {
		check_rule_device(d, &rules->rules[i], rules->rules[i].dev, false);
		check_rule_device(d, &rules->rules[i], rules->rules[i].target, true);
	}
}

void doctor_leftover(struct doctor *d, const struct device *attached)
{
	d->subject = attached->name;
	report(d, "attachment", WARN, "the device is gone, its programs and maps are not");
	advise(d, "%s detach %s", weir(d), attached->name);
}
