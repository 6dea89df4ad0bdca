// SPDX-License-Identifier: GPL-2.0
/* Connections that live for one request and one response. */
#include "sock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define LARGEST 65536
#define EVENTS	256
#define FILES	8192

enum closer {
	CLOSE_CLIENT,
	CLOSE_SERVER,
	CLOSE_RESET,
};

static const char *const closers[] = {"client", "server", "reset", NULL};

static struct {
	long connections, seconds, size, closer;
} option = {.connections = 8, .seconds = 2, .size = 100};

static const struct option_line options[] = {
	{"--conns", OPTION_NUMBER, &option.connections, 1, 1000, NULL, "at the same time"},
	{"--seconds", OPTION_NUMBER, &option.seconds, 1, 600, NULL, "measured"},
	{"--size", OPTION_NUMBER, &option.size, 1, LARGEST, NULL, "bytes each way"},
	{"--close", OPTION_WORD, &option.closer, 0, 0, closers, "who closes first"},
	{},
};

static struct {
	uint64_t connections, failed, wrong;
	double cpu[2], seconds;
	volatile bool over;
} * result;

static unsigned char bytes[LARGEST];
static struct {
	uint32_t heard;
	bool said;
} files[FILES];
static int epoll_fd;

void short_help(void)
{
	printf(": connections of one exchange each\n");
	show_options(options);
}

static void watch(int fd, uint32_t what)
{
	struct epoll_event event = {.events = what, .data.fd = fd};

	if (fd >= FILES)
		die("too many files");
	files[fd].heard = 0;
	files[fd].said = false;
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event))
		die("epoll_ctl");
}

static bool say(int fd)
{
	fill(1, 0, bytes, option.size);
	files[fd].said = send(fd, bytes, option.size, MSG_NOSIGNAL) == option.size;
	return files[fd].said;
}

/* 1: a whole message, 0: not yet, -1: the end. */
static int hear(int fd)
{
	ssize_t done = recv(fd, bytes, option.size, 0);

	if (done < 0 && errno == EAGAIN)
		return 0;
	if (done <= 0)
		return -1;
	if (wrong_at(1, files[fd].heard, bytes, done) >= 0)
		result->wrong++;
	files[fd].heard += done;
	return files[fd].heard == option.size;
}

static void serve_one(int fd)
{
	int heard = hear(fd);

	if (heard > 0 && !say(fd))
		result->failed++;
	if (heard < 0 || (heard > 0 && option.closer == CLOSE_SERVER))
		close(fd);
}

static int serve(void *context)
{
	struct epoll_event events[EVENTS];
	int listener = *(int *)context;
	double cpu = cpu_used();

	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	watch(listener, EPOLLIN);
	while (!result->over) {
		int count = epoll_wait(epoll_fd, events, EVENTS, 50), fd;

		for (int i = 0; i < count; i++) {
			if (events[i].data.fd != listener) {
				serve_one(events[i].data.fd);
				continue;
			}
			while ((fd = net_accept(listener, 0)) >= 0)
				watch(fd, EPOLLIN);
		}
	}
	result->cpu[SERVER] = cpu_used() - cpu;
	return 0;
}

static bool begin(void)
{
	struct address to = net_target();
	int fd = net_socket(-1);

	if (connect(fd, &to.at.any, to.size) && errno != EINPROGRESS) {
		result->failed++;
		close(fd);
		pause_ms(10);
		return false;
	}
	watch(fd, EPOLLOUT);
	return true;
}

static void end(int fd)
{
	struct linger linger = {.l_onoff = 1};

	if (option.closer == CLOSE_RESET)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}

static bool ask_one(int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
	int heard;

	if (!files[fd].said) {
		if (say(fd) && !epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event))
			return false;
		result->failed++;
		end(fd);
		return true;
	}
	heard = hear(fd);
	if (!heard || (heard > 0 && option.closer == CLOSE_SERVER))
		return false;
	if (heard < 0 && files[fd].heard != option.size)
		result->failed++;
	else
		result->connections++;
	end(fd);
	return true;
}

static int ask(void *context)
{
	struct epoll_event events[EVENTS];
	double cpu = cpu_used(), begun = now();
	long open = 0;

	(void)context;
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	while (now() - begun < option.seconds && !stopped) {
		int count;

		while (open < option.connections && begin())
			open++;
		count = epoll_wait(epoll_fd, events, EVENTS, 50);
		for (int i = 0; i < count; i++)
			open -= ask_one(events[i].data.fd);
	}
	result->seconds = now() - begun;
	result->cpu[CLIENT] = cpu_used() - cpu;
	result->over = true;
	return 0;
}

int short_lived(int argc, char **argv)
{
	int listener;
	bool right;

	parse_options(argc, argv, options, NULL);
	result = shared_memory(sizeof(*result));
	allow_files(FILES);
	listener = net_listen(1024);
	right = run_ends(serve, ask, &listener, option.seconds + 10) && !result->failed &&
		!result->wrong && result->connections;
	json_begin();
	json_whole("connections", result->connections);
	json_real("connections_per_second", result->connections / (result->seconds + 1e-9));
	json_real("cpu_us_per_connection",
		  (result->cpu[CLIENT] + result->cpu[SERVER]) * 1e6 / (result->connections + 1e-9));
	json_real("client_cpu_seconds", result->cpu[CLIENT]);
	json_real("server_cpu_seconds", result->cpu[SERVER]);
	json_whole("failed", result->failed);
	json_whole("wrong", result->wrong);
	json_real("seconds", result->seconds);
	json_truth("right", right);
	json_end();
	return !right;
}
