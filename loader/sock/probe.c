// SPDX-License-Identifier: GPL-2.0
#include "probe.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "loader/base/error.h"
#include "sock_probe.skel.h"
#include "sockops/sock_probe.h"

#define BYTES	 100  /* of one message */
#define PATIENCE 2000 /* ms for what is there at once if it comes at all */
#define LIFE	 20   /* s after which the process that tries is given up */

/* A direction of a connection. */
struct way {
	int from, to;
	__u64 arrived; /* bytes that came to `to` by TCP */
};

static __u64 cookie_of(int fd)
{
	socklen_t size = sizeof(__u64);
	__u64 cookie = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size))
		return 0;
	return cookie;
}

static __u64 arrived_at(int fd)
{
	struct tcp_info info = {0};
	socklen_t size = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size))
		return 0;
	return info.tcpi_bytes_received;
}

static __u32 charged_to(int fd)
{
	__u32 info[SK_MEMINFO_VARS] = {0};
	socklen_t size = sizeof(info);

	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &size))
		return 0;
	return info[SK_MEMINFO_RMEM_ALLOC];
}

/* What came by TCP may be on its way from one queue of the reader to the other, and the CPU that brings
 * it may be taken away just then. */
static bool counts(int fd, int bytes)
{
	int unread = -1;

	for (int i = 0; i < 100; i++) {
		if (!ioctl(fd, FIONREAD, &unread) && unread == bytes)
			return true;
		usleep(1000);
	}
	return false;
}

static bool send_some(struct way *w, char letter)
{
	char bytes[BYTES];

	memset(bytes, letter, sizeof(bytes));
	return send(w->from, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(bytes);
}

static bool send_by_tcp(struct way *w, char letter)
{
	if (!send_some(w, letter))
		return false;
	w->arrived += BYTES;
	for (int i = 0; i < PATIENCE && arrived_at(w->to) < w->arrived; i++)
		usleep(1000);
	return arrived_at(w->to) == w->arrived;
}

/* Whether exactly these letters can be read, BYTES of each. */
static bool reads(const struct way *w, const char *letters)
{
	size_t wanted = strlen(letters) * BYTES, got = 0;
	struct pollfd pollfd = {.fd = w->to, .events = POLLIN};
	char bytes[4 * BYTES];
	ssize_t length;

	while (got < wanted && poll(&pollfd, 1, PATIENCE) == 1) {
		length = recv(w->to, bytes + got, sizeof(bytes) - got, MSG_DONTWAIT);
		if (length <= 0)
			return false;
		got += length;
	}
	if (got != wanted)
		return false;
	for (size_t i = 0; i < wanted; i++)
		if (bytes[i] != letters[i / BYTES])
			return false;
	return true;
}

static int connect_to(int listener, struct way *w)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t size = sizeof(address);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (void *)&address, size) || listen(listener, 1) ||
	    getsockname(listener, (void *)&address, &size))
		return -errno;
	w->from = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (w->from < 0 || connect(w->from, (void *)&address, size))
		return -errno;
	w->to = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	return w->to < 0 ? -errno : 0;
}

static int describe(const struct sock_probe_bpf *skel, int fd, int peer, bool adopt)
{
	struct probe_sock s = {
		.cookie = cookie_of(fd),
		.peer = cookie_of(peer),
		.adopt = adopt,
	};

	return bpf_map_update_elem(bpf_map__fd(skel->maps.probe_sockets), &fd, &s, BPF_NOEXIST);
}

/* A connection whose ends the programs know; it is closed with the process. */
static int open_way(const struct sock_probe_bpf *skel, struct way *w, bool adopt)
{
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int err;

	*w = (struct way){.from = -1, .to = -1};
	if (listener < 0)
		return -errno;
	err = connect_to(listener, w);
	close(listener);
	if (!err)
		err = describe(skel, w->from, w->to, adopt);
	return err ? err : describe(skel, w->to, w->from, adopt);
}

static int join(const struct sock_probe_bpf *skel, int fd)
{
	__u64 cookie = cookie_of(fd), value = fd;

	return bpf_map_update_elem(bpf_map__fd(skel->maps.probe_ends), &cookie, &value,
				   BPF_NOEXIST);
}

static bool is_joined(const struct sock_probe_bpf *skel, int fd)
{
	__u64 cookie = cookie_of(fd), value = 0;

	return !bpf_map_lookup_elem(bpf_map__fd(skel->maps.probe_ends), &cookie, &value) &&
	       value == cookie;
}

struct counted {
	bool tcp;      /* bytes that came by TCP, alone */
	bool shortcut; /* short-cut ones alone, and before some of TCP */
};

/* What is short-cut must reach the reader without TCP's knowledge. */
static bool try_shortcut(struct sock_probe_bpf *skel, struct way *w, struct counted *counted,
			 bool *rmem)
{
	bool whole;

	skel->bss->shortcut = 1;
	whole = send_some(w, 'b');
	counted->shortcut = counts(w->to, BYTES);
	*rmem = charged_to(w->to) >= BYTES;
	whole = reads(w, "b") && whole && arrived_at(w->to) == w->arrived;
	counted->shortcut = counts(w->to, 0) && counted->shortcut;
	*rmem = !charged_to(w->to) && *rmem;

	whole = send_some(w, 'c') && whole;
	skel->bss->shortcut = 0;
	whole = send_by_tcp(w, 'd') && whole;
	counted->shortcut = counts(w->to, 2 * BYTES) && counted->shortcut;
	return reads(w, "cd") && whole;
}

/* Tries it with the programs that are attached now: a socket keeps those it was joined with. */
static int try_counts(struct sock_probe_bpf *skel, struct sock_probe *probe,
		      struct counted *counted)
{
	struct way w;
	int err = open_way(skel, &w, false);

	if (!err)
		err = join(skel, w.from);
	if (!err)
		err = join(skel, w.to);
	if (err)
		return err;
	if (!send_by_tcp(&w, 'a'))
		return -EIO;
	counted->tcp = counts(w.to, BYTES);
	if (!reads(&w, "a"))
		return -EIO;
	if (counted->tcp || probe->verdict)
		probe->shortcut = try_shortcut(skel, &w, counted, &probe->rmem);
	return 0;
}

static int attach(struct bpf_program *program, const struct bpf_map *map, enum bpf_attach_type type)
{
	return bpf_prog_attach(bpf_program__fd(program), bpf_map__fd(map), type, 0);
}

static int try_sockmap(struct sock_probe_bpf *skel, struct sock_probe *probe)
{
	struct counted alone = {0}, both = {0};
	int err = attach(skel->progs.probe_message, skel->maps.probe_ends, BPF_SK_MSG_VERDICT);

	if (!err)
		err = try_counts(skel, probe, &alone);
	probe->fionread_tcp = alone.tcp;
	probe->fionread_shortcut = alone.shortcut;
	if (err || (alone.tcp && alone.shortcut))
		return err;
	probe->verdict = true;
	err = attach(skel->progs.probe_received, skel->maps.probe_ends, BPF_SK_SKB_STREAM_VERDICT);
	if (!err)
		err = try_counts(skel, probe, &both);
	probe->fionread_tcp_verdict = both.tcp;
	probe->fionread_shortcut = both.shortcut;
	return err;
}

/* The iterators' programs do their work while they are read, and say nothing. */
static int iterate(struct bpf_program *program, const struct bpf_map *map)
{
	union bpf_iter_link_info info = {.map.map_fd = map ? bpf_map__fd(map) : 0};
	LIBBPF_OPTS(bpf_iter_attach_opts, opts, .link_info = &info, .link_info_len = sizeof(info));
	struct bpf_link *link = bpf_program__attach_iter(program, map ? &opts : NULL);
	int fd, err;
	char byte;

	if (!link)
		return -errno;
	fd = bpf_iter_create(bpf_link__fd(link));
	err = fd < 0 || read(fd, &byte, sizeof(byte)) < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	bpf_link__destroy(link);
	return err;
}

static int try_iterators(const struct sock_probe_bpf *skel, bool *iterators)
{
	struct way w;
	int err = open_way(skel, &w, true);

	if (err)
		return err;
	*iterators = !iterate(skel->progs.probe_adopt, skel->maps.probe_sockets) &&
		     is_joined(skel, w.from) && is_joined(skel, w.to) &&
		     !iterate(skel->progs.probe_release, NULL) && !is_joined(skel, w.from) &&
		     !is_joined(skel, w.to);
	return 0;
}

/* Loaded, not attached: that would slow down the whole host for a moment. */
static bool can_trace(const struct btf *btf, const char *tracepoint)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	__s32 type = btf__find_by_name_kind(btf, tracepoint, BTF_KIND_TYPEDEF);
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_TRACE_RAW_TP,
		    .attach_btf_id = type > 0 ? type : 0);
	int fd = -1;

	if (type > 0)
		fd = bpf_prog_load(BPF_PROG_TYPE_TRACING, "weir_probe", "GPL", insns, 2, &opts);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static int try_tracepoints(bool *tracepoints)
{
	struct btf *btf = btf__load_vmlinux_btf();

	if (!btf)
		return fail(-ENOENT, "sockets: this kernel does not describe itself in "
				     "/sys/kernel/btf/vmlinux (CONFIG_DEBUG_INFO_BTF), which the "
				     "socket programs need; nothing was attached");
	*tracepoints = can_trace(btf, "btf_trace_sock_send_length") &&
		       can_trace(btf, "btf_trace_sock_recv_length");
	btf__free(btf);
	return 0;
}

static int enter_namespace(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd, err;

	if (unshare(CLONE_NEWNET))
		return -errno;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	err = ioctl(fd, SIOCSIFFLAGS, &request) ? -errno : 0;
	close(fd);
	return err;
}

static int cannot(const char *what, int err)
{
	return fail(err,
		    "sockets: whether this kernel can do it cannot be tried: %s: %s; nothing was "
		    "attached",
		    what, strerror(-err));
}

static int try_all(struct sock_probe *probe)
{
	struct sock_probe_bpf *skel;
	int err = try_tracepoints(&probe->tracepoints);

	if (err)
		return err;
	err = enter_namespace();
	if (err)
		return cannot("a network namespace", err);
	skel = sock_probe_bpf__open_and_load();
	if (!skel)
		return cannot("the socket programs", -errno);
	err = try_sockmap(skel, probe);
	if (!err)
		err = try_iterators(skel, &probe->iterators);
	sock_probe_bpf__destroy(skel);
	return err ? cannot("connections over loopback", err) : 0;
}

/* What the process that tries leaves in shared memory. */
struct report {
	struct sock_probe probe;
	int err;
	char why[512];
};

static void report(struct report *r, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	signal(SIGALRM, SIG_DFL);
	alarm(LIFE);
	r->err = try_all(&r->probe);
	if (r->err)
		snprintf(r->why, sizeof(r->why), "%s", failure());
	_exit(0);
}

static int try_in_child(struct report *r)
{
	pid_t parent = getpid(), child = fork();
	int status;

	if (!child)
		report(r, parent);
	if (child < 0)
		return cannot("a process", -errno);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return cannot("a process", -errno);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return cannot("the process that tried was killed", -EINTR);
	return r->err ? fail(r->err, "%s", r->why) : 0;
}

int sock_probe(struct sock_probe *probe)
{
	struct report *r =
		mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int err;

	*probe = (struct sock_probe){0};
	if (r == MAP_FAILED)
		return cannot("memory", -errno);
	err = try_in_child(r);
	*probe = r->probe;
	munmap(r, sizeof(*r));
	return err;
}

struct need {
	bool there;
	const char *what;
	const char *since; /* Linux */
};

void sock_probe_lacks(const struct sock_probe *probe, char text[SOCK_PROBE_TEXT])
{
	bool tcp = probe->verdict ? probe->fionread_tcp_verdict : probe->fionread_tcp;
	const struct need needs[] = {
		{probe->tracepoints, "tracepoints that show how programs read", "6.3"},
		{probe->iterators, "iterators that may change a map of sockets", "5.15"},
		{probe->shortcut, "a short cut that keeps bytes whole and in order", "5.15"},
		{probe->rmem, "short-cut bytes charged to their reader",
		 "6.13 and its stable kernels"},
		{tcp && probe->fionread_shortcut,
		 "a FIONREAD that is right for short-cut sockets, by which nginx, Java and .NET read",
		 "6.6.128, 6.12.75, 6.18.14 and 6.19"},
	};
	size_t length = 0;

	*text = '\0';
	for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++)
		if (!needs[i].there)
			length += snprintf(text + length, SOCK_PROBE_TEXT - length,
					   "%s%s (since Linux %s)", length ? ", " : "",
					   needs[i].what, needs[i].since);
}

int sock_probe_check(const struct sock_probe *probe)
{
	struct utsname name = {0};
	char text[SOCK_PROBE_TEXT];

	sock_probe_lacks(probe, text);
	if (!*text)
		return 0;
	uname(&name);
	return fail(-EOPNOTSUPP,
		    "sockets: this kernel, %s, lacks %s: nothing was attached, all goes by TCP",
		    name.release, text);
}
