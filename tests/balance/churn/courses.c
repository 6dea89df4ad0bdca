// SPDX-License-Identifier: GPL-2.0
/* Churn tracking: random courses of flows, changes, floods, deaths and time, beside a twin that
 * simply notes where each flow is. */
#include "world.h"

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
