// SPDX-License-Identifier: GPL-2.0
/* The sums over pairs that live and pairs that are gone. */
#include "loader/sockview/sock_stats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "loader/base/error.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct weir_pair pair(__u64 cgroup, __u16 port, __u32 state, __u64 messages)
{
	return (struct weir_pair){
		.cgroup = cgroup,
		.port = port,
		.state = state,
		.since_ns = state != WEIR_PAIR_JOINING,
		.way = {{.messages = messages, .bytes = 100 * messages, .tcp_bytes = messages},
			{.messages = 2 * messages, .bytes = 10 * messages, .gated = messages}},
	};
}

static void assert_messages(const struct sock_stats *s, __u64 cgroup, __u32 port, __u32 live,
			    __u64 pairs, __u64 messages)
{
	const struct sock_port_stats *p = sock_stats_of(s, cgroup, port);
	struct weir_way both;

	assert_non_null(p);
	both = sock_both_ways(&p->total);
	assert_int_equal(p->live, live);
	assert_int_equal(p->total.pairs, pairs);
	assert_int_equal(both.messages, messages);
}

static void test_sum(void **state)
{
	const struct weir_pair pairs[] = {
		pair(7, 80, WEIR_PAIR_ON, 10),	   pair(7, 80, WEIR_PAIR_LEAVING, 1),
		pair(7, 443, WEIR_PAIR_ON, 5),	   pair(8, 80, WEIR_PAIR_JOINING, 0),
		pair(7, 80, WEIR_PAIR_FREE, 9999),
	};
	const struct sock_port_totals totals[] = {
		{{.cgroup = 9, .port = 22}, {.refused = {[WEIR_R_BLOCKING] = 3}}},
		{{.cgroup = 7, .port = 80}, {.pairs = 4, .way = {{.messages = 100, .bytes = 50}}}},
	};
	struct sock_stats s = {};

	(void)state;
	assert_int_equal(sock_stats_sum(&s, pairs, COUNT(pairs), totals, COUNT(totals)), 0);
	assert_int_equal(s.count, 4);
	assert_messages(&s, 7, 80, 1, 6, 100 + 3 * 11);
	assert_messages(&s, 7, 443, 1, 1, 15);
	assert_messages(&s, 8, 80, 0, 0, 0);
	assert_messages(&s, 9, 22, 0, 0, 0);
	assert_null(sock_stats_of(&s, 9, 80));
	assert_int_equal(sock_stats_of(&s, 7, 80)->total.way[0].bytes, 50 + 1100);
	assert_int_equal(sock_stats_of(&s, 7, 80)->total.way[1].bytes, 110);
	sock_stats_free(&s);
}

static void test_nothing(void **state)
{
	struct sock_stats s = {};

	(void)state;
	assert_int_equal(sock_stats_sum(&s, NULL, 0, NULL, 0), 0);
	assert_int_equal(s.count, 0);
	assert_null(sock_stats_of(&s, 7, 80));
	sock_stats_free(&s);
}

/* Where the totals have no room for another port, live pairs are counted where they will go. */
static void test_no_room(void **state)
{
	struct sock_port_totals *totals = calloc(WEIR_SOCK_PORTS, sizeof(*totals));
	const struct weir_pair pairs[] = {pair(7, 80, WEIR_PAIR_ON, 10),
					  pair(7, 5000, WEIR_PAIR_ON, 10),
					  pair(7, 5001, WEIR_PAIR_ON, 10)};
	struct sock_stats s = {};

	(void)state;
	for (__u32 i = 0; i < WEIR_SOCK_PORTS; i++)
		totals[i].of = (struct weir_sock_port){.cgroup = 7, .port = i + 1};
	assert_int_equal(sock_stats_sum(&s, pairs, COUNT(pairs), totals, WEIR_SOCK_PORTS), 0);
	assert_messages(&s, 7, 80, 1, 1, 30);
	assert_messages(&s, 7, 0, 2, 2, 60);
	assert_null(sock_stats_of(&s, 7, 5000));
	sock_stats_free(&s);
	/* A walk that began anew has told of some twice. */
	totals[1] = totals[0];
	assert_int_equal(sock_stats_sum(&s, NULL, 0, totals, 2), 0);
	assert_int_equal(s.count, 1);
	sock_stats_free(&s);
	free(totals);
}

/* ---- from reading to reading ---- */

#define PORTS 5
#define PAIRS 20

/* Some connections that come, speak and go, and what a naive count of them says. */
struct world {
	struct weir_pair pair[PAIRS];
	struct sock_port_totals totals[PORTS];
	__u64 messages[PORTS], bytes[PORTS], pairs[PORTS];
};

/* The way the tender does it. */
static void end_pair(struct world *w, struct weir_pair *p)
{
	struct weir_sock_totals *t = &w->totals[p->port - 1].totals;

	t->pairs++;
	for (int end = 0; end < WEIR_ENDS; end++) {
		t->way[end].messages += p->way[end].messages;
		t->way[end].bytes += p->way[end].bytes;
	}
	p->state = WEIR_PAIR_FREE;
}

static void live(struct world *w)
{
	struct weir_pair *p = &w->pair[rand() % PAIRS];
	struct weir_way *way = &p->way[rand() % WEIR_ENDS];
	__u64 bytes = rand() % 1000;

	if (p->state == WEIR_PAIR_FREE) {
		*p = (struct weir_pair){
			.cgroup = 7,
			.port = 1 + rand() % PORTS,
			.state = WEIR_PAIR_ON,
			.since_ns = 1,
		};
		w->pairs[p->port - 1]++;
	} else if (rand() % 4 == 0) {
		end_pair(w, p);
	} else {
		way->messages++;
		way->bytes += bytes;
		w->messages[p->port - 1]++;
		w->bytes[p->port - 1] += bytes;
	}
}

static void read_world(const struct world *w, struct sock_stats *s)
{
	*s = (struct sock_stats){.seconds = 1, .started_ns = 1};
	assert_int_equal(sock_stats_sum(s, w->pair, PAIRS, w->totals, PORTS), 0);
}

static void assert_delta(const struct world *w, const struct world *earlier,
			 const struct sock_stats *before, const struct sock_stats *after)
{
	for (int i = 0; i < PORTS; i++) {
		const struct sock_port_stats *port = sock_stats_of(after, 7, i + 1);
		struct weir_sock_totals delta;
		struct weir_way both;

		assert_non_null(port);
		sock_stats_between(before, after, port, &delta);
		both = sock_both_ways(&delta);
		assert_int_equal(both.messages, w->messages[i] - earlier->messages[i]);
		assert_int_equal(both.bytes, w->bytes[i] - earlier->bytes[i]);
		assert_int_equal(delta.pairs, w->pairs[i] - earlier->pairs[i]);
		both = sock_both_ways(&port->total);
		assert_int_equal(both.bytes, w->bytes[i]);
	}
}

static void test_courses(void **state)
{
	(void)state;
	srand(44);
	for (int course = 0; course < 20; course++) {
		struct sock_stats before, after;
		struct world w = {}, earlier;

		for (int i = 0; i < PORTS; i++)
			w.totals[i].of = (struct weir_sock_port){.cgroup = 7, .port = i + 1};
		read_world(&w, &before);
		for (int reading = 0; reading < 50; reading++) {
			earlier = w;
			for (int i = rand() % 60; i > 0; i--)
				live(&w);
			read_world(&w, &after);
			assert_delta(&w, &earlier, &before, &after);
			sock_stats_free(&before);
			before = after;
		}
		sock_stats_free(&before);
	}
}

/* Detached and attached again in between: counters begin anew, and no rate is negative or huge. */
static void test_anew(void **state)
{
	const struct weir_pair one = pair(7, 80, WEIR_PAIR_ON, 1000);
	const struct weir_pair other = pair(7, 80, WEIR_PAIR_ON, 10);
	struct sock_stats before = {}, after = {};
	struct weir_sock_totals delta;

	(void)state;
	assert_int_equal(sock_stats_sum(&before, &one, 1, NULL, 0), 0);
	assert_int_equal(sock_stats_sum(&after, &other, 1, NULL, 0), 0);
	before.started_ns = after.started_ns = 5;
	sock_stats_between(&before, &after, &after.port[0], &delta);
	assert_int_equal(sock_both_ways(&delta).messages, 0);
	assert_int_equal(delta.pairs, 0);
	after.started_ns = 6;
	sock_stats_between(&before, &after, &after.port[0], &delta);
	assert_int_equal(sock_both_ways(&delta).messages, 30);
	assert_int_equal(delta.pairs, 1);
	sock_stats_free(&before);
	sock_stats_free(&after);
}

/* ---- what it comes to ---- */

static void test_share(void **state)
{
	struct weir_way way = {};

	(void)state;
	assert_true(sock_shortcut_share(&way) < 0);
	way.bytes = 75;
	way.tcp_bytes = 25;
	assert_true(sock_shortcut_share(&way) == 75);
	way.bytes = 0;
	assert_true(sock_shortcut_share(&way) == 0);
}

static void test_refusals(void **state)
{
	struct weir_sock_totals t = {};

	(void)state;
	assert_int_equal(sock_top_refusal(&t), WEIR_REFUSALS);
	assert_int_equal(sock_refused(&t), 0);
	t.refused[WEIR_R_ULP] = 3;
	t.refused[WEIR_R_IDLE] = 2;
	assert_int_equal(sock_top_refusal(&t), WEIR_R_ULP);
	assert_int_equal(sock_refused(&t), 5);
	t.refused[WEIR_REFUSALS - 1] = 4;
	assert_int_equal(sock_top_refusal(&t), WEIR_REFUSALS - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sum),	 cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_no_room),	 cmocka_unit_test(test_courses),
		cmocka_unit_test(test_anew),	 cmocka_unit_test(test_share),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests_name("counts of sockets", tests, NULL, NULL);
}
