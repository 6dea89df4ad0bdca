// SPDX-License-Identifier: GPL-2.0
/*
 * Sockets of the two sides. Each side may be in a network namespace and a cgroup of its own: a
 * socket belongs to those that its process was in when it was made.
 */
#include "sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char *const families[] = {"4", "6", "mapped", NULL};

struct net net = {.family = FAMILY_4};

const struct option_line net_options[] = {
	{"--family", OPTION_WORD, &net.family, 0, 0, families,
	 "mapped: an IPv4 client of a dual-stack listener"},
	{"--listen", OPTION_TEXT, &net.listen, 0, 0, NULL,
	 "address of the listener (127.0.0.1, ::1, :: for mapped)"},
	{"--port", OPTION_NUMBER, &net.port, 0, 65535, NULL, "port of the listener; 0: any"},
	{"--to", OPTION_TEXT, &net.connect, 0, 0, NULL,
	 "ADDRESS or ADDRESS,PORT the client connects to, if it is another"},
	{"--source-port", OPTION_NUMBER, &net.source_port, 0, 65535, NULL,
	 "of the first client socket, the next ones follow; 0: any"},
	{"--server-netns", OPTION_TEXT, &net.netns[SERVER], 0, 0, NULL, "as ip netns names it"},
	{"--client-netns", OPTION_TEXT, &net.netns[CLIENT], 0, 0, NULL, "as ip netns names it"},
	{"--server-cgroup", OPTION_TEXT, &net.cgroup[SERVER], 0, 0, NULL, "path of the directory"},
	{"--client-cgroup", OPTION_TEXT, &net.cgroup[CLIENT], 0, 0, NULL, "path of the directory"},
	{"--sndbuf", OPTION_NUMBER, &net.send_buffer, 0, 1 << 30, NULL, "SO_SNDBUF; 0: automatic"},
	{"--rcvbuf", OPTION_NUMBER, &net.receive_buffer, 0, 1 << 30, NULL,
	 "SO_RCVBUF; 0: automatic"},
	{"--congestion", OPTION_TEXT, &net.congestion, 0, 0, NULL, "TCP_CONGESTION of both ends"},
	{"--nagle", OPTION_FLAG, &net.nagle, 0, 0, NULL, "without TCP_NODELAY"},
	{},
};

void die(const char *what)
{
	fprintf(stderr, "sock: %s: %s\n", what, errno ? strerror(errno) : "not understood");
	exit(2);
}

double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

double cpu_used(void)
{
	struct rusage used;

	getrusage(RUSAGE_SELF, &used);
	return used.ru_utime.tv_sec + used.ru_utime.tv_usec / 1e6 + used.ru_stime.tv_sec +
	       used.ru_stime.tv_usec / 1e6;
}

void pause_ms(double ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms * 1e6) % 1000000000};

	nanosleep(&t, NULL);
}

void pin_to(long cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

void allow_files(long count)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur >= (rlim_t)count)
		return;
	limit.rlim_cur = count;
	if (limit.rlim_max < (rlim_t)count)
		limit.rlim_max = count;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		die("setrlimit");
}

static void enter_netns(const char *name)
{
	static int original = -1;
	char path[256];
	int fd;

	if (original < 0)
		original = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (!name) {
		if (setns(original, CLONE_NEWNET))
			die("setns");
		return;
	}
	snprintf(path, sizeof(path), "/run/netns/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET))
		die(path);
	close(fd);
}

/* The process's own cgroup, below where cgroup2 is mounted. */
static void own_cgroup(char *path, size_t size)
{
	char line[4096], mount[1024] = "", own[2048] = "";
	FILE *mounts = fopen("/proc/mounts", "r"), *cgroups = fopen("/proc/self/cgroup", "r");

	while (mounts && fgets(line, sizeof(line), mounts))
		if (sscanf(line, "%*s %1023s cgroup2 ", mount) == 1 && strstr(line, " cgroup2 "))
			break;
	while (cgroups && fgets(line, sizeof(line), cgroups))
		if (!strncmp(line, "0::", 3))
			sscanf(line, "0::%2047[^\n]", own);
	if (!mounts || !cgroups || !*mount || !*own)
		die("cgroup2");
	fclose(mounts);
	fclose(cgroups);
	snprintf(path, size, "%s%s", mount, own);
}

static void enter_cgroup(const char *path)
{
	static char original[3072];
	char procs[4096];
	int fd;

	if (!*original)
		own_cgroup(original, sizeof(original));
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", path ? path : original);
	fd = open(procs, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		die(procs);
	close(fd);
}

void enter(enum side side)
{
	static int entered = -1;

	if (entered == (int)side)
		return;
	entered = side;
	if (net.netns[CLIENT] || net.netns[SERVER])
		enter_netns(net.netns[side]);
	if (net.cgroup[CLIENT] || net.cgroup[SERVER])
		enter_cgroup(net.cgroup[side]);
}

static struct address address_of(bool v6, const char *text, long port)
{
	struct address a = {};

	if (v6) {
		a.at.v6.sin6_family = AF_INET6;
		a.at.v6.sin6_port = htons(port);
		a.size = sizeof(a.at.v6);
	} else {
		a.at.v4.sin_family = AF_INET;
		a.at.v4.sin_port = htons(port);
		a.size = sizeof(a.at.v4);
	}
	errno = 0;
	if (inet_pton(a.at.any.sa_family, text,
		      v6 ? (void *)&a.at.v6.sin6_addr : (void *)&a.at.v4.sin_addr) != 1)
		die(text);
	return a;
}

const char *name_of(const struct address *address, char *text, size_t size)
{
	char host[INET6_ADDRSTRLEN] = "?";
	bool v6 = address->at.any.sa_family == AF_INET6;

	inet_ntop(address->at.any.sa_family,
		  v6 ? (const void *)&address->at.v6.sin6_addr
		     : (const void *)&address->at.v4.sin_addr,
		  host, sizeof(host));
	snprintf(text, size, v6 ? "[%s]:%d" : "%s:%d", host,
		 ntohs(v6 ? address->at.v6.sin6_port : address->at.v4.sin_port));
	return text;
}

struct address end_of(int fd, bool peer)
{
	struct address a = {.size = sizeof(a.at)};

	if (peer ? getpeername(fd, &a.at.any, &a.size) : getsockname(fd, &a.at.any, &a.size))
		a.at.any.sa_family = AF_INET;
	return a;
}

uint64_t cookie_of(int fd)
{
	socklen_t size = sizeof(uint64_t);
	uint64_t cookie = 0;

	getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size);
	return cookie;
}

uint64_t tcp_bytes_sent(int fd)
{
	struct tcp_info info = {};
	socklen_t size = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size))
		return 0;
	return info.tcpi_bytes_sent - info.tcpi_bytes_retrans + info.tcpi_notsent_bytes;
}

const char *errno_name(int error)
{
	return error ? strerrorname_np(error) : "";
}

void set_option(int fd, int level, int name, int value)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)))
		die("setsockopt");
}

void set_blocking(int fd, bool blocking)
{
	int flags = fcntl(fd, F_GETFL);

	if (fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK))
		die("fcntl");
}

bool wait_for(int fd, short events, int wait_ms)
{
	struct pollfd p = {.fd = fd, .events = events};

	return poll(&p, 1, wait_ms) > 0;
}

static void tune(int fd)
{
	if (net.send_buffer)
		set_option(fd, SOL_SOCKET, SO_SNDBUF, net.send_buffer);
	if (net.receive_buffer)
		set_option(fd, SOL_SOCKET, SO_RCVBUF, net.receive_buffer);
	if (!net.nagle)
		set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (net.congestion &&
	    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, net.congestion, strlen(net.congestion)))
		die(net.congestion);
}

int net_listen(int backlog)
{
	static const char *const anywhere[] = {"127.0.0.1", "::1", "::"};
	const char *text = net.listen ? net.listen : anywhere[net.family];
	bool v6 = net.family != FAMILY_4;
	struct address a;
	char mapped[64];
	int fd;

	enter(SERVER);
	if (v6 && !strchr(text, ':')) {
		snprintf(mapped, sizeof(mapped), "::ffff:%s", text);
		text = mapped;
	}
	a = address_of(v6, text, net.port);
	fd = socket(a.at.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (v6)
		set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, net.family == FAMILY_6);
	tune(fd);
	if (bind(fd, &a.at.any, a.size) || listen(fd, backlog))
		die("listen");
	a = end_of(fd, false);
	net.port = ntohs(v6 ? a.at.v6.sin6_port : a.at.v4.sin_port);
	return fd;
}

struct address net_target(void)
{
	bool v6 = net.family == FAMILY_6;
	const char *text = net.connect;
	long port = net.port;
	char host[64];
	const char *comma;

	if (!text)
		text = net.listen && strcmp(net.listen, "::") && strcmp(net.listen, "0.0.0.0")
			       ? net.listen
		       : v6 ? "::1"
			    : "127.0.0.1";
	comma = strchr(text, ',');
	if (comma) {
		snprintf(host, sizeof(host), "%.*s", (int)(comma - text), text);
		port = strtol(comma + 1, NULL, 10);
		text = host;
	}
	if (!v6 && !strncmp(text, "::ffff:", 7))
		text += 7;
	return address_of(v6, text, port);
}

int net_socket(long index)
{
	bool v6 = net.family == FAMILY_6;
	int fd;

	enter(CLIENT);
	fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	tune(fd);
	if (net.source_port && index >= 0) {
		struct address a = address_of(v6, v6 ? "::" : "0.0.0.0", net.source_port + index);

		set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
		if (bind(fd, &a.at.any, a.size))
			die("bind");
	}
	return fd;
}

const char *net_connected(int fd)
{
	socklen_t size = sizeof(int);
	int error = 0;

	if (!wait_for(fd, POLLOUT, 5000))
		return "ETIMEDOUT";
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	return error ? errno_name(error) : NULL;
}

int net_connect(void)
{
	struct address to = net_target();
	int fd = net_socket(0);

	if (connect(fd, &to.at.any, to.size) && errno != EINPROGRESS)
		die("connect");
	if (net_connected(fd)) {
		errno = ECONNREFUSED;
		die("connect");
	}
	return fd;
}

int net_accept(int listener, int wait_ms)
{
	int fd;

	if (!wait_for(listener, POLLIN, wait_ms))
		return -1;
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0 && !net.nagle)
		set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	return fd;
}
