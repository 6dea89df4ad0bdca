// SPDX-License-Identifier: GPL-2.0
/*
 * fill INSTANCE SERVICES BACKENDS MODE: makes so many services of TCP with so many backends each,
 * in one publication, in the network namespace it runs in. Their addresses are 10.A.B.C of
 * 10.128.0.0/9 in order; all backends are the addresses from 10.9.4.1 on.
 */
#include <err.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "loader/service/services.h"
#include "loader/base/error.h"
#include "loader/base/options.h"

static struct address address(__u32 number)
{
	return (struct address){
		.family = 4,
		.bits = 32,
		.byte = {number >> 24, number >> 16, number >> 8, number},
	};
}

static void must(int error)
{
	if (error)
		errx(2, "%s", failure() ? failure() : strerror(-error));
}

static void add_service(struct balance *b, __u32 number, __u32 backends, enum weir_mode mode)
{
	struct service s = {
		.proto = IPPROTO_TCP,
		.mode = mode,
		.address = address(0x0a800001 + number),
		.port = 80,
		.idle = 300,
	};
	struct backend *list = calloc(backends + 1, sizeof(*list));

	if (!list)
		errx(2, "out of memory");
	for (__u32 i = 0; i < backends; i++)
		list[i] = (struct backend){.address = address(0x0a090401 + i), .weight = 1};
	must(balance_add_service(b, &s));
	must(balance_add_backends(b, &s, list, backends));
	free(list);
}

static enum weir_mode mode_named(const char *name)
{
	for (enum weir_mode m = 0; m < WEIR_MODES; m++)
		if (!strcmp(name, mode_name(m)))
			return m;
	errx(1, "%s is no mode", name);
}

int main(int argc, char **argv)
{
	struct timespec start, end;
	struct balance b = {};
	struct instance in;

	if (argc != 5)
		errx(1, "usage: fill INSTANCE SERVICES BACKENDS MODE");
	options.instance = argv[1];
	must(instance_open(&in, true));
	must(services_get(&in, &b));
	for (__u32 n = 0, most = atoi(argv[2]); n < most; n++)
		add_service(&b, n, atoi(argv[3]), mode_named(argv[4]));
	clock_gettime(CLOCK_MONOTONIC, &start);
	must(services_publish(&in, &b));
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%.0f\n", (end.tv_sec - start.tv_sec) * 1e3 + (end.tv_nsec - start.tv_nsec) / 1e6);
	balance_free(&b);
	instance_close(&in);
	return 0;
}
