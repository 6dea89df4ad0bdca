// SPDX-License-Identifier: GPL-2.0
/* Two CPUs have a datagram's fragments at once: both choose the same backend. */
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/shared/balance_run.h"

#define BACKENDS 8
#define VIP	 "192.0.2.1"
#define PAYLOAD	 64 /* of a fragment */
#define DROPPED	 -1
#define RACES	 20000

static struct balance_run run;

static int setup(void **state)
{
	struct balance services = {};
	struct balance_setup how = {.services = &services};

	(void)state;
	test_service(&services, IPPROTO_UDP, VIP, 53, WEIR_DSR_L2);
	for (int i = 1; i <= BACKENDS; i++) {
		char address[32];

		snprintf(address, sizeof(address), "10.0.0.%d", i);
		test_backend(&services, address, 0, 1);
	}
	balance_run_open(&run, &how);
	balance_free(&services);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	balance_run_close(&run);
	return 0;
}

/* Piece 0 has the ports, piece 1 only data. */
static void build(struct packet *packet, __u16 id, int piece)
{
	struct packet_layout layout = {
		.family = 4,
		.proto = piece ? IPPROTO_IPIP : IPPROTO_UDP,
		.destination = VIP,
		.sport = id,
		.dport = 53,
		.payload = PAYLOAD,
		.fill = 0x55,
		.fragment = piece * PAYLOAD / 8,
		.more = !piece,
	};
	__be16 id4 = htons(id);

	packet_build(packet, &layout);
	packet->bytes[packet->l3 + 9] = IPPROTO_UDP;
	memcpy(packet->bytes + packet->l3 + 4, &id4, sizeof(id4));
}

struct racer {
	int cpu;
	int piece;
	volatile int *turn;
	int outcome[RACES];
};

static void *race(void *arg)
{
	struct racer *racer = arg;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(racer->cpu, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	for (int i = 0; i < RACES; i++) {
		struct xdp_result r;
		struct packet packet;

		build(&packet, i, racer->piece);
		__sync_fetch_and_add(racer->turn, 1);
		while (*racer->turn < 2 * (i + 1))
			;
		xdp_run_only(&run.xdp, &packet, &r);
		racer->outcome[i] =
			r.code == XDP_TX ? r.packet.bytes[4] << 8 | r.packet.bytes[5] : DROPPED;
	}
	return NULL;
}

static void test_two_cpus(void **state)
{
	static struct racer first = {.cpu = 0, .piece = 0}, later = {.cpu = 1, .piece = 1};
	volatile int turn = 0;
	pthread_t thread;
	int guesses = 0;
	cpu_set_t was;

	(void)state;
	sched_getaffinity(0, sizeof(was), &was);
	if (CPU_COUNT(&was) < 2)
		skip();
	first.turn = later.turn = &turn;
	assert_int_equal(pthread_create(&thread, NULL, race, &later), 0);
	race(&first);
	pthread_join(thread, NULL);
	sched_setaffinity(0, sizeof(was), &was);
	for (int i = 0; i < RACES; i++) {
		assert_int_equal(first.outcome[i], later.outcome[i]);
		guesses += first.outcome[i] == first.outcome[0];
	}
	/* Each was the faster one now and then. */
	print_message("# %d of %d by one backend\n", guesses, RACES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_cpus),
	};

	xdp_run_prepare();
	return cmocka_run_group_tests_name("balancer: fragments on two CPUs", tests, setup,
					   teardown);
}
