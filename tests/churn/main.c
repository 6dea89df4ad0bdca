// SPDX-License-Identifier: GPL-2.0
#include "churn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

volatile bool stopped;
static uint64_t dice_state = 1;

void die(const char *what)
{
	fprintf(stderr, "churn: %s: %s\n", what, errno ? strerror(errno) : "not understood");
	exit(1);
}

double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

uint64_t dice(void)
{
	return mix(dice_state++);
}

void seed_dice(uint64_t seed)
{
	dice_state = mix(seed);
}

long number(const char *text, long least, long most)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (*end || end == text || n < least || n > most)
		die(text);
	return n;
}

struct endpoint endpoint_of(const char *text)
{
	struct endpoint e = {};
	char address[64] = "";
	const char *colon = strrchr(text, ':');
	size_t length = colon ? colon - text : 0;
	bool v6 = *text == '[';

	errno = 0;
	if (!colon || length >= sizeof(address) || (v6 && (length < 2 || colon[-1] != ']')))
		die(text);
	memcpy(address, text + v6, length - 2 * v6);
	if (v6) {
		e.at.v6.sin6_family = AF_INET6;
		e.at.v6.sin6_port = htons(number(colon + 1, 0, 65535));
		e.size = sizeof(e.at.v6);
	} else {
		e.at.v4.sin_family = AF_INET;
		e.at.v4.sin_port = htons(number(colon + 1, 0, 65535));
		e.size = sizeof(e.at.v4);
	}
	if (inet_pton(e.at.any.sa_family, address,
		      v6 ? (void *)&e.at.v6.sin6_addr : (void *)&e.at.v4.sin_addr) != 1)
		die(text);
	return e;
}

static void stop(int signal)
{
	(void)signal;
	stopped = true;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = stop};

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (argc > 1 && !strcmp(argv[1], "serve"))
		return serve(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "load"))
		return load(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "flood"))
		return flood(argc - 1, argv + 1);
	fprintf(stderr, "churn: serve NAME ADDRESS:PORT...\n"
			"       load [-c ALIVE] [-l OF-THEM-LONG] [-m MEAN-LIFE-MS] [-p PAUSE-MS]\n"
			"            [-w WAIT-S] [-t AT-MOST-S] [-s SEED] ADDRESS:PORT...\n"
			"       flood [-n COUNT] [-r PER-SECOND] [-b BITS] [-s SEED] SOURCE:0 "
			"ADDRESS:PORT\n");
	return 1;
}
