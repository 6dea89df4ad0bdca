// SPDX-License-Identifier: GPL-2.0
/* One stream in one direction. What was sent must come, to the byte. */
#include "sock.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define LARGEST (16 << 20)
#define WAIT_MS 5000
#define KEY	0xb01cull

static struct {
	long write, read, seconds, ramp_ms;
	bool check;
	const char *cpus;
} option = {.write = 65536, .read = 262144, .seconds = 2, .ramp_ms = 300};

static const struct option_line options[] = {
	{"--write", OPTION_NUMBER, &option.write, 1, LARGEST, NULL, "bytes of each send"},
	{"--read", OPTION_NUMBER, &option.read, 1, LARGEST, NULL, "bytes asked for"},
	{"--seconds", OPTION_NUMBER, &option.seconds, 1, 600, NULL, "measured"},
	{"--ramp", OPTION_NUMBER, &option.ramp_ms, 0, 60000, NULL, "ms of the stream before these"},
	{"--check", OPTION_FLAG, &option.check, 0, 0, NULL, "every byte; costs time"},
	{"--cpus", OPTION_TEXT, &option.cpus, 0, 0, NULL, "A,B: sender on A, receiver on B"},
	{},
};

enum stage {
	RAMP,
	MEASURED,
	OVER,
};

static struct {
	_Atomic int stage;
	uint64_t sent, received, measured, by_tcp;
	double cpu[2], seconds;
	long long wrong_at;
	bool cut;
} * result;

static char bytes[LARGEST + 8];

void bulk_help(void)
{
	printf(": one stream from the client to the server\n");
	show_options(options);
	show_options(warm_options);
}

static void pin(enum side side)
{
	const char *comma = option.cpus ? strchr(option.cpus, ',') : NULL;

	if (option.cpus)
		pin_to(strtol(side == SERVER && comma ? comma + 1 : option.cpus, NULL, 10));
}

static bool take(int fd)
{
	ssize_t done = recv(fd, bytes, option.read, 0);

	if (done > 0 && option.check && result->wrong_at < 0) {
		ssize_t wrong = wrong_at(KEY, result->received, bytes, done);

		if (wrong >= 0)
			result->wrong_at = result->received + wrong;
	}
	if (done > 0)
		result->received += done;
	if (done < 0 && errno != EAGAIN)
		result->cut = true;
	return done > 0 || (done < 0 && errno == EAGAIN);
}

/* Notes where the measured time begins and ends, as the receiver sees it. */
static void note(int *stage)
{
	static uint64_t before;
	static double begun, cpu;
	int current = result->stage;

	if (*stage == RAMP && current >= MEASURED) {
		before = result->received;
		begun = now();
		cpu = cpu_used();
	}
	if (*stage < OVER && current == OVER) {
		result->measured = result->received - before;
		result->seconds = now() - begun;
		result->cpu[SERVER] = cpu_used() - cpu;
	}
	*stage = current;
}

static int serve(void *listener)
{
	int fd = net_accept(*(int *)listener, WAIT_MS), epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN};
	int stage = RAMP;

	if (fd < 0)
		return 1;
	pin(SERVER);
	warm_server(fd);
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event))
		die("epoll_ctl");
	do {
		note(&stage);
		if (epoll_wait(epoll_fd, &event, 1, WAIT_MS) != 1)
			return 1;
	} while (take(fd));
	note(&stage);
	return stage != OVER || result->cut;
}

static bool say(int fd)
{
	size_t left = option.write;

	if (option.check)
		fill(KEY, result->sent, bytes, left);
	while (left) {
		ssize_t done = send(fd, bytes + option.write - left, left, MSG_NOSIGNAL);

		if (done > 0) {
			left -= done;
			result->sent += done;
		} else if (errno != EAGAIN || !wait_for(fd, POLLOUT, WAIT_MS)) {
			return false;
		}
	}
	return true;
}

static bool say_for(int fd, double seconds)
{
	double end = now() + seconds;

	while (now() < end && !stopped)
		if (!say(fd))
			return false;
	return true;
}

static int give(void *context)
{
	int fd = net_connect();
	uint64_t by_tcp;
	bool good;
	double cpu;

	(void)context;
	pin(CLIENT);
	warm_client(fd);
	by_tcp = tcp_bytes_sent(fd);
	good = say_for(fd, option.ramp_ms / 1e3);
	cpu = cpu_used();
	result->stage = MEASURED;
	good = good && say_for(fd, option.seconds);
	result->cpu[CLIENT] = cpu_used() - cpu;
	result->stage = OVER;
	result->by_tcp = tcp_bytes_sent(fd) - by_tcp;
	shutdown(fd, SHUT_WR);
	good = good && wait_for(fd, POLLIN, 2 * WAIT_MS);
	return !good;
}

int bulk(int argc, char **argv)
{
	double gigabytes;
	bool right;
	int listener;

	parse_options(argc, argv, options, warm_options);
	result = shared_memory(sizeof(*result));
	result->wrong_at = -1;
	listener = net_listen(1);
	right = run_ends(serve, give, &listener, option.seconds + warm.ms / 1e3 + 140);
	right = right && result->sent == result->received && result->wrong_at < 0;
	gigabytes = result->measured / 1e9;
	json_begin();
	json_whole("write", option.write);
	json_real("gigabytes_per_second", gigabytes / (result->seconds + 1e-9));
	json_real("sender_cpu_seconds", result->cpu[CLIENT]);
	json_real("receiver_cpu_seconds", result->cpu[SERVER]);
	json_real("cpu_seconds_per_gigabyte",
		  (result->cpu[CLIENT] + result->cpu[SERVER]) / (gigabytes + 1e-9));
	json_whole("sent", result->sent);
	json_whole("received", result->received);
	json_whole("bytes_by_tcp", result->by_tcp);
	json_whole("wrong_at", result->wrong_at);
	json_real("seconds", result->seconds);
	json_truth("right", right);
	json_end();
	return !right;
}
