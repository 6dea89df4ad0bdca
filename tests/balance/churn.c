// SPDX-License-Identifier: GPL-2.0
/*
 * Churn tracking: a flow whose backend is alive and that is not idle for longer than its service
 * allows stays at this backend, whatever happens to the slots. Single cases first; then random
 * courses of flows, changes, floods, deaths and time, beside a twin that simply notes where each
 * flow is.
 */
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

static void open_world(struct world *w, const struct plan *plan)
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

static void close_world(struct world *w)
{
	balance_run_close(&w->run);
	balance_free(&w->services);
}

static struct plan tcp_plan = {.proto = IPPROTO_TCP, .buckets = 4096};
static struct plan udp_plan = {.proto = IPPROTO_UDP, .buckets = 64};

/* Flow number n of a client; each number is another tuple. */
static struct tuple flow(const struct world *w, __u32 n)
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
static __u32 sent_to(struct world *w, const struct tuple *tuple, __u8 flags)
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

static __u32 sent(struct world *w, __u32 n, __u8 flags)
{
	struct tuple tuple = flow(w, n);

	return sent_to(w, &tuple, flags);
}

static void move_all(struct world *w, __u32 owner)
{
	for (int i = 0; i < SLOTS; i++)
		balance_run_move_slot(&w->run, SERVICE, i, owner);
}

static void own_all(struct world *w, __u32 owner)
{
	for (int i = 0; i < SLOTS; i++)
		*balance_run_slot(&w->run, SERVICE, i) = WEIR_SLOT(owner, 0, 0);
}

static struct slot_range range_of(struct world *w)
{
	return (struct slot_range){.slot = balance_run_slot(&w->run, SERVICE, 0),
				   .count = SLOTS,
				   .tracked = true,
				   .used = true,
				   .tick = balance_run_now()};
}

/* As weir does it once in a while. */
static __u32 settle(struct world *w)
{
	struct flow_tables tables = {.dsr = w->run.maps.flows, .tick = balance_run_now()};
	struct slot_range range = range_of(w);
	bool needed[SLOTS] = {};

	assert_int_equal(flows_mark(&tables, &w->run.services.services[0], range.slot, needed), 0);
	return slots_settle(&range, needed, w->idle.idle);
}

static __u32 moving(struct world *w)
{
	struct slot_range range = range_of(w);

	return slots_moving(&range);
}

static struct weir_flow *entry(struct world *w, __u32 n)
{
	struct tuple tuple = flow(w, n);
	__u64 tag = twin_hash(&tuple, w->services.services[0].by_source) | 2;

	for (__u32 i = 0; i < w->run.sizes.flows * WEIR_FLOW_WAYS; i++)
		if (w->run.flows->way[i].tag == tag)
			return &w->run.flows->way[i];
	return NULL;
}

static void set_alive(struct world *w, __u32 backend, bool alive)
{
	if (alive)
		w->run.backends[backend].flags |= WEIR_B_ALIVE;
	else
		w->run.backends[backend].flags &= ~WEIR_B_ALIVE;
}

/* ---- cases ---- */

static void nothing_moves(void **state)
{
	struct weir_service_counters counters;
	struct world w;

	(void)state;
	open_world(&w, &tcp_plan);
	for (__u32 n = 0; n < 200; n++) {
		__u32 backend = sent(&w, n, PACKET_SYN);

		assert_int_equal(sent(&w, n, PACKET_DATA), backend);
		assert_int_equal(sent(&w, n, PACKET_FIN | PACKET_ACK), backend);
		assert_null(entry(&w, n));
	}
	counters = balance_run_service(&w.run, SERVICE);
	assert_int_equal(counters.tracked + counters.untracked, 0);
	close_world(&w);
}

static void overlapping_changes(void **state)
{
	static const __u32 owners[] = {A, B, C, A, B, A};
	struct world w;

	(void)state;
	open_world(&w, &tcp_plan);
	own_all(&w, A);
	for (__u32 stage = 0; stage < 6; stage++) {
		move_all(&w, owners[stage]);
		for (__u32 n = 0; n < 10; n++)
			assert_int_equal(sent(&w, stage * 100 + n, PACKET_SYN), owners[stage]);
		for (__u32 n = 0; n <= stage * 100 + 9; n++)
			if (n % 100 < 10)
				assert_int_equal(sent(&w, n, PACKET_DATA), owners[n / 100]);
	}
	close_world(&w);
}

static void ports_are_reused(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, &tcp_plan);
	own_all(&w, A);
	sent(&w, 1, PACKET_SYN);
	move_all(&w, B);
	/* Begun before: its end changes nothing, its next life is a new flow. */
	assert_int_equal(sent(&w, 1, PACKET_FIN | PACKET_ACK), A);
	assert_int_equal(sent(&w, 1, PACKET_SYN), B);
	assert_int_equal(sent(&w, 1, PACKET_DATA), B);
	move_all(&w, C);
	/* Without an end a SYN is the same flow's. */
	assert_int_equal(sent(&w, 1, PACKET_SYN), B);
	assert_int_equal(sent(&w, 1, PACKET_FIN | PACKET_ACK), B);
	assert_int_equal(sent(&w, 1, PACKET_ACK), B);
	balance_run_age(&w.run, 2);
	assert_int_equal(sent(&w, 1, PACKET_SYN), C);
	assert_int_equal(sent(&w, 1, PACKET_RST), C);
	move_all(&w, A);
	assert_int_equal(sent(&w, 1, PACKET_ACK), C);
	/* At once, whoever sent the RST may have sent the SYN as well. */
	assert_int_equal(sent(&w, 1, PACKET_SYN), C);
	balance_run_age(&w.run, 2);
	assert_int_equal(sent(&w, 1, PACKET_SYN), A);
	close_world(&w);
}

static __u32 kind_of(struct world *w, __u32 n)
{
	struct weir_flow *flow = entry(w, n);

	return flow ? WEIR_PLACE_KIND(flow->place) : 0;
}

/* A FIN or RST that the client did not send, or its half of a connection that goes on. */
static void ends_are_refuted(void **state)
{
	static const __u8 ends[] = {PACKET_RST, PACKET_FIN | PACKET_ACK};
	struct world w;

	(void)state;
	for (int i = 0; i < 2; i++) {
		open_world(&w, &tcp_plan);
		own_all(&w, A);
		move_all(&w, B);
		sent(&w, 1, PACKET_SYN);
		sent(&w, 1, PACKET_ACK);
		move_all(&w, C);
		assert_int_equal(sent(&w, 1, ends[i]), B);
		assert_int_equal(sent(&w, 1, PACKET_SYN), B);
		assert_int_equal(sent(&w, 1, PACKET_DATA), B);
		assert_int_equal(kind_of(&w, 1), WEIR_FLOW_CLOSING);
		balance_run_age(&w.run, 1);
		assert_int_equal(sent(&w, 1, PACKET_SYN), B);
		for (int tick = 0; tick < 2; tick++) {
			balance_run_age(&w.run, 1);
			assert_int_equal(sent(&w, 1, PACKET_ACK), B);
			assert_int_equal(sent(&w, 1, PACKET_ACK), B);
		}
		assert_int_equal(kind_of(&w, 1), WEIR_FLOW_OPEN);
		balance_run_age(&w.run, w.idle.idle);
		assert_int_equal(sent(&w, 1, PACKET_SYN), B);
		assert_int_equal(sent(&w, 1, PACKET_DATA), B);
		close_world(&w);
	}
}

/* The end of a flow as it is: its ACKs refute nothing. */
static void ends_stay_ends(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, &tcp_plan);
	own_all(&w, A);
	move_all(&w, B);
	sent(&w, 1, PACKET_SYN);
	balance_run_age(&w.run, 1);
	sent(&w, 1, PACKET_ACK);
	sent(&w, 1, PACKET_FIN | PACKET_ACK);
	sent(&w, 1, PACKET_ACK);
	balance_run_age(&w.run, 1);
	sent(&w, 1, PACKET_ACK);
	sent(&w, 1, PACKET_ACK);
	assert_int_equal(kind_of(&w, 1), WEIR_FLOW_DOUBTED);
	move_all(&w, C);
	balance_run_age(&w.run, 2);
	assert_int_equal(sent(&w, 1, PACKET_SYN), C);
	close_world(&w);
}

static void handshakes(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, &tcp_plan);
	own_all(&w, A);
	move_all(&w, B);
	assert_int_equal(sent(&w, 1, PACKET_SYN), B);
	assert_int_equal(WEIR_PLACE_KIND(entry(&w, 1)->place), WEIR_FLOW_SYN);
	move_all(&w, C);
	assert_int_equal(sent(&w, 1, PACKET_SYN), B);
	assert_int_equal(WEIR_PLACE_KIND(entry(&w, 1)->place), WEIR_FLOW_SYN);
	balance_run_age(&w.run, WEIR_SYN_TICKS);
	assert_int_equal(sent(&w, 1, PACKET_ACK), B);
	assert_int_equal(WEIR_PLACE_KIND(entry(&w, 1)->place), WEIR_FLOW_OPEN);
	assert_int_equal(WEIR_PLACE_TICK(entry(&w, 1)->place), balance_run_now());
	balance_run_age(&w.run, w.idle.idle);
	assert_int_equal(sent(&w, 1, PACKET_DATA), B);
	assert_int_equal(sent(&w, 1, PACKET_FIN | PACKET_ACK), B);
	assert_int_equal(WEIR_PLACE_KIND(entry(&w, 1)->place), WEIR_FLOW_CLOSING);
	balance_run_age(&w.run, w.idle.closing);
	assert_int_equal(sent(&w, 1, PACKET_ACK), B);
	balance_run_age(&w.run, w.idle.closing + 1);
	assert_int_equal(sent(&w, 1, PACKET_ACK), A);
	close_world(&w);
}

static void slots_come_to_rest(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, &tcp_plan);
	own_all(&w, A);
	sent(&w, 1, PACKET_SYN);
	move_all(&w, B);
	sent(&w, 2, PACKET_SYN);
	sent(&w, 2, PACKET_ACK);
	move_all(&w, C);
	for (int i = 0; i < 5; i++) {
		balance_run_age(&w.run, w.idle.idle);
		assert_int_equal(sent(&w, 1, PACKET_DATA), A);
		assert_int_equal(sent(&w, 2, PACKET_DATA), B);
		settle(&w);
		assert_true(moving(&w) > 0);
	}
	/* The one that belongs to the owner before falls silent, then the other. */
	for (int i = 0; i < 2; i++) {
		balance_run_age(&w.run, w.idle.idle);
		assert_int_equal(sent(&w, 2, PACKET_DATA), B);
	}
	settle(&w);
	assert_int_equal(moving(&w), 1);
	balance_run_age(&w.run, w.idle.idle + 2);
	assert_int_equal(settle(&w), 1);
	assert_int_equal(sent(&w, 2, PACKET_DATA), C);
	close_world(&w);
}

/* ---- no room ---- */

static struct plan narrow_plan = {.proto = IPPROTO_TCP, .buckets = 1};

static void full_table(void **state)
{
	struct weir_service_counters counters;
	struct world w;
	__u32 tracked;

	(void)state;
	open_world(&w, &narrow_plan);
	own_all(&w, A);
	move_all(&w, B);
	for (__u32 n = 0; n < 100; n++) {
		__u32 backend = sent(&w, n, PACKET_SYN);

		assert_true(backend == A || backend == B);
		for (int i = 0; i < 3; i++)
			assert_int_equal(sent(&w, n, PACKET_DATA), backend);
	}
	counters = balance_run_service(&w.run, SERVICE);
	tracked = counters.tracked;
	assert_int_equal(tracked + counters.untracked, 100);
	assert_true(tracked >= WEIR_SYN_WAYS && tracked <= WEIR_FLOW_WAYS);
	for (__u32 n = 0; n < tracked; n++)
		assert_int_equal(sent(&w, n, PACKET_DATA), B);
	for (__u32 n = tracked; n < 100; n++)
		assert_int_equal(sent(&w, n, PACKET_DATA), A);
	close_world(&w);
}

static void floods_take_no_open_flow(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, &narrow_plan);
	own_all(&w, A);
	move_all(&w, B);
	assert_int_equal(sent(&w, 1, PACKET_SYN), B);
	assert_int_equal(sent(&w, 1, PACKET_ACK), B);
	for (__u32 n = 0; n < 1000; n++) {
		sent(&w, 1000 + n, PACKET_SYN);
		if (n % 50 == 0)
			balance_run_age(&w.run, 1);
	}
	assert_int_equal(sent(&w, 1, PACKET_DATA), B);
	close_world(&w);
}

/* A flood of half-open flows passes, and those that are open since leave their ways to others. */
static void handshakes_find_room_again(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, &narrow_plan);
	own_all(&w, A);
	move_all(&w, B);
	for (__u32 n = 0; n < WEIR_FLOW_WAYS; n++) {
		assert_int_equal(sent(&w, n, PACKET_SYN), B);
		assert_int_equal(sent(&w, n, PACKET_ACK), B);
	}
	assert_int_equal(sent(&w, WEIR_FLOW_WAYS, PACKET_SYN), A);
	for (__u32 n = 0; n < WEIR_FLOW_WAYS; n++)
		assert_int_equal(sent(&w, n, PACKET_DATA), B);
	close_world(&w);
}

/* A SYN and an ACK in anybody's name give way soon; what came twice does not. */
static void new_flows_give_way(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, &narrow_plan);
	own_all(&w, A);
	move_all(&w, B);
	for (__u32 n = 0; n < WEIR_FLOW_WAYS; n++) {
		assert_int_equal(sent(&w, n, PACKET_SYN), B);
		assert_int_equal(sent(&w, n, PACKET_ACK), B);
		assert_int_equal(kind_of(&w, n), WEIR_FLOW_NEW);
	}
	balance_run_age(&w.run, 1);
	assert_int_equal(sent(&w, 0, PACKET_DATA), B);
	assert_int_equal(kind_of(&w, 0), WEIR_FLOW_OPEN);
	balance_run_age(&w.run, WEIR_NEW_TICKS - 1);
	assert_int_equal(sent(&w, 100, PACKET_SYN), A);
	balance_run_age(&w.run, 1);
	/* Where nobody wants the way, it is kept. */
	for (__u32 n = 0; n < WEIR_FLOW_WAYS; n++)
		assert_non_null(entry(&w, n));
	for (__u32 n = 101; n < 101 + WEIR_FLOW_WAYS - 1; n++) {
		assert_int_equal(sent(&w, n, PACKET_SYN), B);
		assert_int_equal(sent(&w, n, PACKET_ACK), B);
	}
	assert_int_equal(sent(&w, 200, PACKET_SYN), A);
	assert_int_equal(sent(&w, 0, PACKET_DATA), B);
	close_world(&w);
}

/* ---- dead backends ---- */

static void dead_backends(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, &tcp_plan);
	own_all(&w, A);
	move_all(&w, B);
	sent(&w, 1, PACKET_SYN);
	sent(&w, 1, PACKET_ACK);
	set_alive(&w, B, false);
	assert_int_equal(sent(&w, 1, PACKET_DATA), A);
	assert_int_equal(sent(&w, 2, PACKET_SYN), A);
	assert_int_equal(sent(&w, 2, PACKET_ACK), A);
	set_alive(&w, B, true);
	assert_int_equal(sent(&w, 2, PACKET_DATA), A);
	assert_int_equal(sent(&w, 3, PACKET_SYN), B);
	set_alive(&w, A, false);
	assert_int_equal(sent(&w, 3, PACKET_ACK), B);
	assert_int_equal(sent(&w, 2, PACKET_DATA), B);
	set_alive(&w, B, false);
	assert_int_equal(sent(&w, 3, PACKET_DATA), 0);
	assert_int_equal(sent(&w, 4, PACKET_SYN), 0);
	close_world(&w);
}

/* ---- UDP ---- */

static void udp_is_learnt(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, &udp_plan);
	own_all(&w, A);
	sent(&w, 1, 0);
	move_all(&w, B);
	assert_int_equal(sent(&w, 1, 0), A);
	balance_run_age(&w.run, w.idle.idle);
	assert_int_equal(sent(&w, 1, 0), A);
	assert_int_equal(sent(&w, 2, 0), A); /* may be an old one */
	balance_run_age(&w.run, 1);
	assert_int_equal(sent(&w, 1, 0), A);
	assert_int_equal(sent(&w, 2, 0), A);
	assert_int_equal(sent(&w, 3, 0), B);
	move_all(&w, C);
	assert_int_equal(sent(&w, 3, 0), B);
	assert_int_equal(sent(&w, 4, 0), C);
	balance_run_age(&w.run, w.idle.idle + 1);
	assert_int_equal(sent(&w, 1, 0), C);
	close_world(&w);
}

/* A slot that never comes to rest lives longer than its 16 bits of ticks. */
static void udp_learns_once(void **state)
{
	const __u32 step = 50;
	struct world w;

	(void)state;
	open_world(&w, &udp_plan);
	own_all(&w, A);
	move_all(&w, B);
	balance_run_age(&w.run, w.idle.idle + 1);
	for (__u32 age = 0; age < 1 << 16; age += step) {
		assert_int_equal(sent(&w, 1 + age, 0), B);
		balance_run_age(&w.run, step);
	}
	for (__u32 n = 0; n < w.idle.idle + step; n++) {
		assert_int_equal(sent(&w, 1 << 17 | n, 0), B);
		balance_run_age(&w.run, 1);
	}
	close_world(&w);
}

static void udp_without_room(void **state)
{
	struct plan plan = {.proto = IPPROTO_UDP, .buckets = 1};
	struct world w;

	(void)state;
	open_world(&w, &plan);
	own_all(&w, A);
	for (__u32 n = 0; n < 50; n++)
		sent(&w, n, 0);
	move_all(&w, B);
	for (__u32 tick = 0; tick < 3 * w.idle.idle; tick++) {
		for (__u32 n = 0; n < 50; n++)
			assert_int_equal(sent(&w, n, 0), A);
		balance_run_age(&w.run, 1);
	}
	close_world(&w);
}

static void udp_free(void **state)
{
	struct plan plan = {.proto = IPPROTO_UDP, .buckets = 64, .free = true};
	struct world w;

	(void)state;
	open_world(&w, &plan);
	own_all(&w, A);
	assert_int_equal(sent(&w, 1, 0), A);
	move_all(&w, B);
	assert_int_equal(sent(&w, 1, 0), B);
	move_all(&w, C);
	assert_int_equal(sent(&w, 1, 0), C);
	set_alive(&w, C, false);
	for (int i = 0; i < SLOTS; i++)
		*balance_run_slot(&w.run, SERVICE, i) = WEIR_SLOT(C, A, 0);
	assert_int_equal(sent(&w, 1, 0), A);
	assert_null(entry(&w, 1));
	close_world(&w);
}

static void affinity_by_source(void **state)
{
	struct plan plan = {.proto = IPPROTO_TCP, .buckets = 64, .by_source = true};
	struct world w;
	__u32 seen = 0;

	(void)state;
	open_world(&w, &plan);
	for (__u32 client = 0; client < 50; client++) {
		__u32 backend = sent(&w, client << 16, PACKET_SYN);

		seen |= 1u << backend;
		for (__u32 port = 1; port < 20; port++)
			assert_int_equal(sent(&w, client << 16 | port, PACKET_SYN), backend);
	}
	assert_int_equal(seen, 0x3e);
	close_world(&w);
}

/* ---- random courses ---- */

#define CLIENTS 300

enum client_state {
	CLIENT_NONE,
	CLIENT_SYN, /* nothing but SYNs was sent */
	CLIENT_OPEN,
	CLIENT_CLOSING,
};

struct client {
	__u32 number;
	enum client_state state;
	bool proven; /* packets came in more than one tick */
	__u32 backend;
	__u32 last; /* tick of the last packet */
};

struct course {
	struct world world;
	struct dice dice;
	struct client client[CLIENTS];
	bool alive[BACKENDS + 1];
	__u32 owner[SLOTS];
	__u32 clock, next_number;
	unsigned int packets, changes, deaths, settled;
};

struct style {
	struct plan plan;
	unsigned int steps, change, death, flood, time; /* in 1000 steps */
	bool roomy; /* the table does not fill: new flows always go to the owner */
};

static __u32 patience(const struct course *c, const struct client *client)
{
	switch (client->state) {
	case CLIENT_SYN: return WEIR_SYN_TICKS;
	case CLIENT_CLOSING: return c->world.idle.closing;
	default: return client->proven ? c->world.idle.idle : WEIR_NEW_TICKS;
	}
}

static __u64 word_of(struct course *c, const struct client *client)
{
	struct tuple tuple = flow(&c->world, client->number);

	return *balance_run_slot(&c->world.run, SERVICE,
				 twin_hash(&tuple, c->world.services.services[0].by_source) >> 40);
}

static void say(struct course *c, const struct client *client, const char *what, __u32 got)
{
	__u64 word = word_of(c, client);

	fail_msg("packet %u: %s: flow %u (state %d, %u ticks ago) at %u went to %u; slot %u<-%u, "
		 "tick -%u",
		 c->packets, what, client->number, client->state, c->clock - client->last,
		 client->backend, got, WEIR_SLOT_OWNER(word), WEIR_SLOT_PREVIOUS(word),
		 (__u16)(balance_run_now() - WEIR_SLOT_TICK(word)));
}

/* A new flow without room goes where it need not be remembered; but if the owner before is dead,
 * there is no such place, and should that come back to life, the flow is lost. */
static bool has_a_home(struct course *c, const struct client *client, __u64 word)
{
	__u32 previous = WEIR_SLOT_PREVIOUS(word);

	return !previous || c->alive[previous] || entry(&c->world, client->number);
}

static void begin(struct course *c, const struct style *style, struct client *client, bool fresh)
{
	__u64 word = word_of(c, client);
	__u32 owner = WEIR_SLOT_OWNER(word);
	__u32 got = sent(&c->world, client->number, PACKET_SYN);

	c->packets++;
	client->state = c->world.proto == IPPROTO_TCP ? CLIENT_SYN : CLIENT_OPEN;
	client->proven = c->world.proto == IPPROTO_UDP;
	client->last = c->clock;
	client->backend = got;
	if (got && !c->alive[got])
		say(c, client, "dead backend", got);
	if (!got && c->alive[owner])
		say(c, client, "dropped", got);
	if (style->roomy && c->world.proto == IPPROTO_TCP && fresh && c->alive[owner] &&
	    got != owner)
		say(c, client, "new flow", got);
	if (!got || !has_a_home(c, client, word))
		client->state = CLIENT_NONE;
}

/* Client packets of a flow that goes on. */
static __u8 next_flags(struct course *c, struct client *client)
{
	__u32 roll = dice_below(&c->dice, 100);

	if (c->world.proto == IPPROTO_UDP)
		return 0;
	if (client->state == CLIENT_SYN && roll < 30)
		return PACKET_SYN;
	if (client->state == CLIENT_SYN)
		client->state = CLIENT_OPEN;
	if (roll < 95)
		return roll % 2 ? PACKET_ACK : PACKET_DATA;
	client->state = CLIENT_CLOSING;
	return roll < 99 ? PACKET_FIN | PACKET_ACK : PACKET_RST;
}

/* Whether the flow is remembered, and not just one of the same ports that has ended or was given
 * up. */
static bool is_begun(struct course *c, const struct client *client)
{
	const struct weir_flow *flow = entry(&c->world, client->number);
	__u32 since = flow ? balance_run_now() - WEIR_PLACE_TICK(flow->place) : 0;

	if (!flow)
		return false;
	switch (WEIR_PLACE_KIND(flow->place)) {
	case WEIR_FLOW_SYN: return since <= WEIR_SYN_TICKS;
	case WEIR_FLOW_NEW:
	case WEIR_FLOW_OPEN: return since <= c->world.idle.idle;
	default: return false;
	}
}

static void go_on(struct course *c, const struct style *style, struct client *client)
{
	enum client_state was = client->state;
	__u8 flags = next_flags(c, client);
	bool again = flags == PACKET_SYN && !is_begun(c, client);
	__u32 got;

	/* A SYN that nobody remembers cannot be told from a first one, wherever that went. */
	if (again) {
		begin(c, style, client, false);
		return;
	}
	got = sent(&c->world, client->number, flags);
	c->packets++;
	if (got != client->backend)
		say(c, client, "moved", got);
	client->proven |= flags != PACKET_SYN && client->last != c->clock;
	client->last = c->clock;
	if (was == CLIENT_CLOSING && dice_percent(&c->dice, 20))
		client->state = CLIENT_NONE;
}

/* Most new flows have a number of their own; the others are one that has ended. */
static void a_packet(struct course *c, const struct style *style)
{
	struct client *client = &c->client[dice_below(&c->dice, CLIENTS)];
	bool fresh = !client->number || c->world.proto == IPPROTO_UDP || dice_percent(&c->dice, 70);

	if (client->state != CLIENT_NONE) {
		go_on(c, style, client);
		return;
	}
	if (fresh)
		client->number = ++c->next_number;
	begin(c, style, client, fresh);
}

static __u32 any_alive(struct course *c)
{
	for (int i = 0; i < 100; i++) {
		__u32 backend = 1 + dice_below(&c->dice, BACKENDS);

		if (c->alive[backend])
			return backend;
	}
	return 0;
}

/* Some slots get another owner, as after any change of the configuration. */
static void a_change(struct course *c)
{
	struct slot_range range = range_of(&c->world);
	__u32 chance = dice_below(&c->dice, 100), to = any_alive(c);
	bool one = dice_percent(&c->dice, 50);

	for (int i = 0; i < SLOTS; i++)
		if (dice_percent(&c->dice, chance) || !c->alive[c->owner[i]])
			c->owner[i] = one ? to : any_alive(c);
	range.tracked = !c->world.services.services[0].free;
	slots_move(&range, c->owner, SLOTS);
	c->changes++;
}

static void a_death(struct course *c)
{
	__u32 backend = 1 + dice_below(&c->dice, BACKENDS);

	c->alive[backend] = !c->alive[backend];
	set_alive(&c->world, backend, c->alive[backend]);
	if (!c->alive[backend])
		for (int i = 0; i < CLIENTS; i++)
			if (c->client[i].backend == backend)
				c->client[i] = (struct client){};
	c->deaths++;
	a_change(c);
}

static void a_flood(struct course *c)
{
	struct tuple tuple = flow(&c->world, 0);

	tuple.source = random_client(&c->dice, 4);
	tuple.source.byte[0] = 10;
	tuple.sport = dice_below(&c->dice, 65536);
	if (dice_percent(&c->dice, 30))
		tuple.destination = test_address(OTHER);
	sent_to(&c->world, &tuple, PACKET_SYN);
}

static void some_time(struct course *c)
{
	__u32 ticks = dice_percent(&c->dice, 90) ? 1 : 1 + dice_below(&c->dice, IDLE + 5);

	balance_run_age(&c->world.run, ticks);
	c->clock += ticks;
	for (int i = 0; i < CLIENTS; i++)
		if (c->clock - c->client[i].last > patience(c, &c->client[i]))
			c->client[i] = (struct client){};
	c->settled += settle(&c->world);
}

static void run_course(const struct style *style)
{
	static struct course course;
	struct course *c = &course;

	memset(c, 0, sizeof(*c));
	c->dice = dice_from_environment();
	open_world(&c->world, &style->plan);
	for (int i = 1; i <= BACKENDS; i++)
		c->alive[i] = true;
	for (int i = 0; i < SLOTS; i++)
		c->owner[i] = WEIR_SLOT_OWNER(*balance_run_slot(&c->world.run, SERVICE, i));
	for (unsigned int i = 0; i < style->steps; i++) {
		__u32 roll = dice_below(&c->dice, 1000);

		if (roll < style->change)
			a_change(c);
		else if ((roll -= style->change) < style->death)
			a_death(c);
		else if ((roll -= style->death) < style->time)
			some_time(c);
		else if ((roll -= style->time) < style->flood)
			a_flood(c);
		else
			a_packet(c, style);
	}
	printf("# %u packets, %u changes, %u deaths and revivals, %u slots settled; tracked %llu, "
	       "untracked %llu\n",
	       c->packets, c->changes, c->deaths, c->settled,
	       balance_run_service(&c->world.run, SERVICE).tracked,
	       balance_run_service(&c->world.run, SERVICE).untracked);
	close_world(&c->world);
}

#define STEPS 60000

static void tcp_with_room(void **state)
{
	(void)state;
	run_course(&(struct style){.plan = {.proto = IPPROTO_TCP, .buckets = 65536},
				   .steps = STEPS,
				   .change = 5,
				   .death = 1,
				   .flood = 50,
				   .time = 10,
				   .roomy = true});
}

static void tcp_flooded(void **state)
{
	(void)state;
	run_course(&(struct style){.plan = {.proto = IPPROTO_TCP, .buckets = 8},
				   .steps = STEPS,
				   .change = 5,
				   .flood = 500,
				   .time = 10});
}

static void tcp_flooded_with_deaths(void **state)
{
	(void)state;
	run_course(&(struct style){.plan = {.proto = IPPROTO_TCP, .buckets = 8},
				   .steps = STEPS,
				   .change = 5,
				   .death = 1,
				   .flood = 300,
				   .time = 10});
}

static void tcp_by_source(void **state)
{
	(void)state;
	run_course(&(struct style){.plan = {.proto = IPPROTO_TCP, .buckets = 16, .by_source = true},
				   .steps = STEPS,
				   .change = 5,
				   .flood = 100,
				   .time = 10});
}

static void tcp_seldom_changed(void **state)
{
	(void)state;
	run_course(&(struct style){.plan = {.proto = IPPROTO_TCP, .buckets = 64},
				   .steps = STEPS,
				   .change = 1,
				   .flood = 50,
				   .time = 60});
}

static void udp_with_room(void **state)
{
	(void)state;
	run_course(&(struct style){.plan = {.proto = IPPROTO_UDP, .buckets = 4096},
				   .steps = STEPS,
				   .change = 3,
				   .death = 1,
				   .flood = 20,
				   .time = 20});
}

static void udp_flooded(void **state)
{
	(void)state;
	run_course(&(struct style){.plan = {.proto = IPPROTO_UDP, .buckets = 8},
				   .steps = STEPS,
				   .change = 3,
				   .flood = 300,
				   .time = 20});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_moves),
		cmocka_unit_test(overlapping_changes),
		cmocka_unit_test(ports_are_reused),
		cmocka_unit_test(ends_are_refuted),
		cmocka_unit_test(ends_stay_ends),
		cmocka_unit_test(handshakes),
		cmocka_unit_test(slots_come_to_rest),
		cmocka_unit_test(full_table),
		cmocka_unit_test(floods_take_no_open_flow),
		cmocka_unit_test(handshakes_find_room_again),
		cmocka_unit_test(new_flows_give_way),
		cmocka_unit_test(dead_backends),
		cmocka_unit_test(udp_is_learnt),
		cmocka_unit_test(udp_learns_once),
		cmocka_unit_test(udp_without_room),
		cmocka_unit_test(udp_free),
		cmocka_unit_test(affinity_by_source),
		cmocka_unit_test(tcp_with_room),
		cmocka_unit_test(tcp_flooded),
		cmocka_unit_test(tcp_flooded_with_deaths),
		cmocka_unit_test(tcp_by_source),
		cmocka_unit_test(tcp_seldom_changed),
		cmocka_unit_test(udp_with_room),
		cmocka_unit_test(udp_flooded),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	xdp_run_prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
