// SPDX-License-Identifier: GPL-2.0
/* Round trips of a request and a response of equal size, one at a time. */
#include "sock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define LARGEST (1 << 20)
#define WAIT_MS 5000

static struct {
	long size, seconds, pause_us;
	const char *cpus;
} option = {.size = 1, .seconds = 2};

static const struct option_line options[] = {
	{"--size", OPTION_NUMBER, &option.size, 1, LARGEST, NULL, "bytes each way"},
	{"--seconds", OPTION_NUMBER, &option.seconds, 1, 600, NULL, "measured"},
	{"--pause", OPTION_NUMBER, &option.pause_us, 0, 1000000, NULL, "us between round trips"},
	{"--cpus", OPTION_TEXT, &option.cpus, 0, 0, NULL, "A,B: client on A, server on B"},
	{},
};

static struct {
	uint64_t rounds, wrong, by_tcp[2];
	double cpu[2], seconds, p50, p99;
} * result;

static char bytes[LARGEST];

void pingpong_help(void)
{
	printf(": round trips of a request and a response\n");
	show_options(options);
	show_options(warm_options);
}

static void pin(enum side side)
{
	const char *comma = option.cpus ? strchr(option.cpus, ',') : NULL;

	if (option.cpus)
		pin_to(strtol(side == SERVER && comma ? comma + 1 : option.cpus, NULL, 10));
}

static int epoll_of(int fd)
{
	struct epoll_event event = {.events = EPOLLIN};
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event))
		die("epoll_ctl");
	return epoll_fd;
}

static bool say(int fd)
{
	for (long at = 0; at < option.size;) {
		ssize_t done = send(fd, bytes, option.size - at, MSG_NOSIGNAL);

		if (done > 0)
			at += done;
		else if (errno != EAGAIN || !wait_for(fd, POLLOUT, WAIT_MS))
			return false;
	}
	return true;
}

/* False at the end of the stream. */
static bool hear(int epoll_fd, int fd)
{
	struct epoll_event event;

	for (long at = 0; at < option.size;) {
		ssize_t done;

		if (epoll_wait(epoll_fd, &event, 1, WAIT_MS) != 1)
			return false;
		done = recv(fd, bytes, option.size - at, 0);
		if (done > 0)
			at += done;
		else if (!done || errno != EAGAIN)
			return false;
	}
	return true;
}

static int serve(void *listener)
{
	int fd = net_accept(*(int *)listener, WAIT_MS), epoll_fd;
	uint64_t by_tcp;
	double cpu;

	if (fd < 0)
		return 1;
	pin(SERVER);
	warm_server(fd);
	epoll_fd = epoll_of(fd);
	cpu = cpu_used();
	by_tcp = tcp_bytes_sent(fd);
	while (hear(epoll_fd, fd) && say(fd))
		;
	result->cpu[SERVER] = cpu_used() - cpu;
	result->by_tcp[SERVER] = tcp_bytes_sent(fd) - by_tcp;
	return 0;
}

static int compare(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

static int ask(void *context)
{
	size_t room = 1 << 16, count = 0;
	uint32_t *times = malloc(room * sizeof(*times));
	int fd = net_connect(), epoll_fd = epoll_of(fd);
	double cpu, begun, before;
	uint64_t by_tcp;

	(void)context;
	pin(CLIENT);
	warm_client(fd);
	by_tcp = tcp_bytes_sent(fd);
	cpu = cpu_used();
	begun = before = now();
	while (before - begun < option.seconds && !stopped) {
		double after;

		if (!say(fd) || !hear(epoll_fd, fd)) {
			result->wrong++;
			break;
		}
		after = now();
		if (count == room)
			times = realloc(times, (room *= 2) * sizeof(*times));
		times[count++] = (after - before) * 1e9;
		before = after;
		if (option.pause_us) {
			pause_ms(option.pause_us / 1e3);
			before = now();
		}
	}
	result->seconds = now() - begun;
	result->cpu[CLIENT] = cpu_used() - cpu;
	result->by_tcp[CLIENT] = tcp_bytes_sent(fd) - by_tcp;
	result->rounds = count;
	qsort(times, count, sizeof(*times), compare);
	if (count) {
		result->p50 = times[count / 2] / 1e3;
		result->p99 = times[count * 99 / 100] / 1e3;
	}
	return result->wrong || !count;
}

int pingpong(int argc, char **argv)
{
	int listener;
	bool ran;

	parse_options(argc, argv, options, warm_options);
	result = shared_memory(sizeof(*result));
	listener = net_listen(1);
	ran = run_ends(serve, ask, &listener, option.seconds + warm.ms / 1e3 + 75);
	json_begin();
	json_whole("size", option.size);
	json_whole("rounds", result->rounds);
	json_real("rounds_per_second", result->rounds / (result->seconds + 1e-9));
	json_real("p50_us", result->p50);
	json_real("p99_us", result->p99);
	json_real("client_cpu_seconds", result->cpu[CLIENT]);
	json_real("server_cpu_seconds", result->cpu[SERVER]);
	json_real("cpu_us_per_round",
		  (result->cpu[CLIENT] + result->cpu[SERVER]) * 1e6 / (result->rounds + 1e-9));
	json_whole("bytes", 2 * result->rounds * option.size);
	json_whole("bytes_by_tcp", result->by_tcp[CLIENT] + result->by_tcp[SERVER]);
	json_real("seconds", result->seconds);
	json_truth("right", ran);
	json_end();
	return !ran;
}
