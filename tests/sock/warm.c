// SPDX-License-Identifier: GPL-2.0
/*
 * Small requests and responses, so that a connection looks like one that is worth a short-cut,
 * before it does what it is there for.
 */
#include "sock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define LIMIT_S	   300 /* of --until and --until-short-cut */
#define EXCHANGE_S 5
#define LARGEST	   65536
#define LAST_ONES  20

struct warm warm = {.size = 64, .pause_us = 1000};

const struct option_line warm_options[] = {
	{"--warm", OPTION_NUMBER, &warm.ms, 0, 600000, NULL,
	 "ms of small exchanges before anything else"},
	{"--warm-size", OPTION_NUMBER, &warm.size, 1, LARGEST, NULL, "bytes each way"},
	{"--warm-pause", OPTION_NUMBER, &warm.pause_us, 0, 1000000, NULL, "us between them"},
	{"--until", OPTION_TEXT, &warm.until, 0, 0, NULL,
	 "goes on with them until this file is there, 300 s at most"},
	{"--until-short-cut", OPTION_FLAG, &warm.until_short_cut, 0, 0, NULL,
	 "goes on with them until one is short-cut, 300 s at most"},
	{"--announce", OPTION_TEXT, &warm.announce, 0, 0, NULL,
	 "file that gets pid, addresses and cookies as JSON when the connection is open"},
	{},
};

bool send_all(int fd, uint64_t key, uint64_t offset, size_t size, int wait_ms)
{
	static _Thread_local unsigned char bytes[LARGEST];
	double limit = now() + wait_ms / 1e3;

	for (size_t at = 0; at < size;) {
		size_t part = size - at < sizeof(bytes) ? size - at : sizeof(bytes);
		ssize_t done;

		fill(key, offset + at, bytes, part);
		done = send(fd, bytes, part, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (done > 0) {
			at += done;
			continue;
		}
		if ((done < 0 && errno != EAGAIN) || now() > limit)
			return false;
		wait_for(fd, POLLOUT, 100);
	}
	return true;
}

bool receive_all(int fd, uint64_t key, uint64_t offset, size_t size, int wait_ms)
{
	static _Thread_local unsigned char bytes[LARGEST];
	double limit = now() + wait_ms / 1e3;

	for (size_t at = 0; at < size;) {
		size_t part = size - at < sizeof(bytes) ? size - at : sizeof(bytes);
		ssize_t done;

		if (!wait_for(fd, POLLIN, 100)) {
			if (now() > limit)
				return false;
			continue;
		}
		done = recv(fd, bytes, part, 0);
		if (done > 0) {
			if (wrong_at(key, offset + at, bytes, done) >= 0)
				return false;
			at += done;
			continue;
		}
		if (!done || errno != EAGAIN || now() > limit)
			return false;
	}
	return true;
}

bool exchange(int client, int server, size_t size, uint64_t key)
{
	const int wait = EXCHANGE_S * 1000;

	return send_all(client, key, 0, size, wait) && receive_all(server, key, 0, size, wait) &&
	       send_all(server, ~key, 0, size, wait) && receive_all(client, ~key, 0, size, wait);
}

static bool enough(double begun)
{
	double past = now() - begun;

	if (past * 1e3 < warm.ms)
		return stopped;
	return stopped || !warm.until || past > LIMIT_S || !access(warm.until, F_OK);
}

void announce(int client, int server)
{
	char here[80], there[80], part[512];
	struct address a = end_of(client, false), b = end_of(client, true);
	FILE *file;

	if (!warm.announce)
		return;
	snprintf(part, sizeof(part), "%s.part", warm.announce);
	file = fopen(part, "w");
	if (!file)
		die(part);
	fprintf(file, "{\"pid\":%d,\"client\":\"%s\",\"server\":\"%s\",", getpid(),
		name_of(&a, here, sizeof(here)), name_of(&b, there, sizeof(there)));
	fprintf(file, "\"client_cookie\":%llu,\"server_cookie\":%llu}\n",
		(unsigned long long)cookie_of(client),
		server < 0 ? 0ull : (unsigned long long)cookie_of(server));
	if (fclose(file) || rename(part, warm.announce))
		die(warm.announce);
}

/* One that goes by TCP, as when somebody has the reader's lock, does not make the connection plain TCP. */
static bool warm_enough(double begun, const struct warmth *result, long *last_ones)
{
	if (!enough(begun))
		return false;
	if (stopped || result->short_cut || now() - begun > LIMIT_S)
		return true;
	return !warm.until_short_cut && (!result->exchanges || !(*last_ones)--);
}

void warm_up(int client, int server, struct warmth *result)
{
	uint64_t before = tcp_bytes_sent(client) + tcp_bytes_sent(server), last = before;
	long last_ones = LAST_ONES;
	double begun = now();

	while (!warm_enough(begun, result, &last_ones)) {
		uint64_t at;

		if (!exchange(client, server, warm.size, mix(result->exchanges))) {
			result->wrong++;
			result->hung = now() - begun > EXCHANGE_S;
			return;
		}
		result->exchanges++;
		result->bytes += 2 * warm.size;
		at = tcp_bytes_sent(client) + tcp_bytes_sent(server);
		result->short_cut = at == last;
		last = at;
		if (warm.pause_us)
			pause_ms(warm.pause_us / 1e3);
	}
	result->by_tcp = last - before;
}

/* The first byte says whether another one follows. */
void warm_client(int fd)
{
	static _Thread_local unsigned char bytes[LARGEST];
	double begun = now();
	bool last;

	announce(fd, -1);
	do {
		last = enough(begun);
		bytes[0] = last;
		if (send(fd, bytes, warm.size, MSG_NOSIGNAL) != warm.size)
			die("warm-up: send");
		for (ssize_t at = 0, done; at < warm.size; at += done) {
			if (!wait_for(fd, POLLIN, EXCHANGE_S * 1000))
				die("warm-up: no answer");
			done = recv(fd, bytes, warm.size - at, 0);
			if (done <= 0)
				die("warm-up: recv");
		}
		if (warm.pause_us)
			pause_ms(warm.pause_us / 1e3);
	} while (!last);
}

void warm_server(int fd)
{
	static _Thread_local unsigned char bytes[LARGEST];
	bool last = false;

	while (!last) {
		for (ssize_t at = 0, done; at < warm.size; at += done) {
			if (!wait_for(fd, POLLIN, LIMIT_S * 1000))
				die("warm-up: no request");
			done = recv(fd, bytes, warm.size - at, 0);
			if (done <= 0)
				die("warm-up: recv");
			last = at ? last : bytes[0];
		}
		if (send(fd, bytes, warm.size, MSG_NOSIGNAL) != warm.size)
			die("warm-up: send");
	}
}
