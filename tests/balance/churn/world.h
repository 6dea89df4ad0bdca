/* SPDX-License-Identifier: GPL-2.0 */
/* A service of direct return, another one, and the packets of its flows. */
#ifndef WEIR_TESTS_CHURN_WORLD_H
#define WEIR_TESTS_CHURN_WORLD_H

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "loader/balance/flows.h"
#include "loader/balance/slots.h"
#include "loader/host/clock.h"
#include "tests/shared/balance_run.h"
#include "tests/shared/random_services.h"

#define VIP	 "192.0.2.1"
#define OTHER	 "192.0.2.2" /* another service's, for floods */
#define PORT	 80
#define SERVICE	 1
#define BACKENDS 5 /* of the service; the other has one more */
#define SLOTS	 16
#define IDLE	 20

#define A 1
#define B 2
#define C 3

struct world {
	struct balance services;
	struct balance_run run;
	struct idle_ticks idle;
	__u8 proto;
};

struct plan {
	__u8 proto;
	bool free, by_source;
	__u32 buckets; /* of flows */
};

static inline void open_world(struct world *w, const struct plan *plan)
{
	struct balance_setup setup = {.services = &w->services};
	struct service *service;

	*w = (struct world){.proto = plan->proto};
	service = test_service(&w->services, plan->proto, VIP, PORT, WEIR_DSR_L2);
	service->slots = SLOTS;
	service->buckets = plan->buckets;
	service->idle = IDLE;
	service->free = plan->free;
	service->by_source = plan->by_source;
	w->idle = service_idle_ticks(service, clock_tick_ns());
	for (int i = 0; i < BACKENDS; i++) {
		char address[16];

		snprintf(address, sizeof(address), "10.0.0.%d", i + 1);
		test_backend(&w->services, address, 0, 1);
	}
	service = test_service(&w->services, plan->proto, OTHER, PORT, WEIR_DSR_L2);
	service->slots = SLOTS;
	service->buckets = plan->buckets;
	test_backend(&w->services, "10.0.1.1", 0, 1);
	balance_run_open(&w->run, &setup);
}

static inline void close_world(struct world *w)
{
	balance_run_close(&w->run);
	balance_free(&w->services);
}

/* Flow number n of a client; each number is another tuple. */
static inline struct tuple flow(const struct world *w, __u32 n)
{
	struct tuple tuple = {
		.source = test_address("198.51.0.0"),
		.destination = test_address(VIP),
		.sport = n,
		.dport = PORT,
		.proto = w->proto,
	};

	tuple.source.byte[2] = n >> 24;
	tuple.source.byte[3] = n >> 16;
	return tuple;
}

/* The backend a packet went to; 0: it was dropped for want of one. */
static inline __u32 sent_to(struct world *w, const struct tuple *tuple, __u8 flags)
{
	struct packet_layout layout = {.flags = flags};
	struct xdp_result result;
	struct packet packet;

	tuple_packet(tuple, &layout, &packet);
	xdp_run_only(&w->run.xdp, &packet, &result);
	if (result.code == XDP_DROP)
		return 0;
	assert_int_equal(result.code, XDP_TX);
	return result.packet.bytes[4] << 8 | result.packet.bytes[5];
}

static inline __u32 sent(struct world *w, __u32 n, __u8 flags)
{
	struct tuple tuple = flow(w, n);

	return sent_to(w, &tuple, flags);
}

static inline void move_all(struct world *w, __u32 owner)
{
	for (int i = 0; i < SLOTS; i++)
		balance_run_move_slot(&w->run, SERVICE, i, owner);
}

static inline void own_all(struct world *w, __u32 owner)
{
	for (int i = 0; i < SLOTS; i++)
		*balance_run_slot(&w->run, SERVICE, i) = WEIR_SLOT(owner, 0, 0);
}

static inline struct slot_range range_of(struct world *w)
{
	return (struct slot_range){.slot = balance_run_slot(&w->run, SERVICE, 0),
				   .count = SLOTS,
				   .tracked = true,
				   .used = true,
				   .tick = balance_run_now()};
}

/* As weir does it once in a while. */
static inline __u32 settle(struct world *w)
{
	struct flow_tables tables = {.dsr = w->run.maps.flows, .tick = balance_run_now()};
	struct slot_range range = range_of(w);
	bool needed[SLOTS] = {};

	assert_int_equal(flows_mark(&tables, &w->run.services.services[0], range.slot, needed), 0);
	return slots_settle(&range, needed, w->idle.idle);
}

static inline struct weir_flow *entry(struct world *w, __u32 n)
{
	struct tuple tuple = flow(w, n);
	__u64 tag = twin_hash(&tuple, w->services.services[0].by_source) | 2;

	for (__u32 i = 0; i < w->run.sizes.flows * WEIR_FLOW_WAYS; i++)
		if (w->run.flows->way[i].tag == tag)
			return &w->run.flows->way[i];
	return NULL;
}

static inline void set_alive(struct world *w, __u32 backend, bool alive)
{
	if (alive)
		w->run.backends[backend].flags |= WEIR_B_ALIVE;
	else
		w->run.backends[backend].flags &= ~WEIR_B_ALIVE;
}

static inline __u32 kind_of(struct world *w, __u32 n)
{
	struct weir_flow *flow = entry(w, n);

	return flow ? WEIR_PLACE_KIND(flow->place) : 0;
}

#endif
