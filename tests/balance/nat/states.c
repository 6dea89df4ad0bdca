// SPDX-License-Identifier: GPL-2.0
/* Mode nat: what becomes of flows; packets that are refused; unfinished checksums; races. */
#include <pthread.h>

#include "loader/balance/flows.h"
#include "nat.h"

/* ---- states ---- */

static void test_tcp_ends_with_two_fins(void **state)
{
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	handshake(&b, TCP4, 5000);
	send_one(&b, TCP4, PACKET_FIN | PACKET_ACK, 5000);
	assert_int_equal(state_of(&b, TCP4, 5000), WEIR_NAT_OPEN);
	reply_one(&b, TCP4, PACKET_DATA, 5000);
	assert_int_equal(state_of(&b, TCP4, 5000), WEIR_NAT_OPEN);
	reply_one(&b, TCP4, PACKET_FIN | PACKET_ACK, 5000);
	assert_int_equal(state_of(&b, TCP4, 5000), WEIR_NAT_CLOSING);
	send_one(&b, TCP4, PACKET_ACK, 5000);
	assert_int_equal(state_of(&b, TCP4, 5000), WEIR_NAT_CLOSING);
	/* And begins anew from the same port. */
	send_one(&b, TCP4, PACKET_SYN, 5000);
	assert_int_equal(state_of(&b, TCP4, 5000), WEIR_NAT_NEW);
	assert_int_equal(flow_of(&b, TCP4, 5000)->nat_port, 5000);
	close_bench(&b);
}

static void test_tcp_ends_with_a_reset(void **state)
{
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	handshake(&b, TCP6, 5000);
	reply_one(&b, TCP6, PACKET_RST | PACKET_ACK, 5000);
	assert_int_equal(state_of(&b, TCP6, 5000), WEIR_NAT_CLOSING);
	/* A new flow that is refused keeps its short life. */
	send_one(&b, TCP6, PACKET_SYN, 5001);
	reply_one(&b, TCP6, PACKET_RST | PACKET_ACK, 5001);
	assert_int_equal(state_of(&b, TCP6, 5001), WEIR_NAT_NEW);
	/* The client's, of an open one. */
	handshake(&b, TCP6, 5002);
	send_one(&b, TCP6, PACKET_RST, 5002);
	assert_int_equal(state_of(&b, TCP6, 5002), WEIR_NAT_CLOSING);
	close_bench(&b);
}

/* A RST is anybody's: who goes on shows that it was not right. */
static void test_reset_is_refuted(void **state)
{
	struct bench b;
	__u32 was;

	(void)state;
	open_bench(&b, NULL);
	handshake(&b, TCP4, 5000);
	was = flow_of(&b, TCP4, 5000)->backend;
	for (int i = 0; i < 2; i++) {
		send_one(&b, TCP4, PACKET_RST, 5000);
		assert_int_equal(state_of(&b, TCP4, 5000), WEIR_NAT_CLOSING);
		if (i)
			reply_one(&b, TCP4, PACKET_DATA, 5000);
		else
			send_one(&b, TCP4, PACKET_DATA, 5000);
		assert_int_equal(state_of(&b, TCP4, 5000), WEIR_NAT_OPEN);
	}
	/* So a SYN in the client's name moves nothing. */
	for (__u32 i = 0; i < b.run.services.services[TCP4 - 1].slots; i++)
		*balance_run_slot(&b.run, TCP4, i) = WEIR_SLOT(3 - was, 0, 0);
	send_one(&b, TCP4, PACKET_SYN, 5000);
	assert_int_equal(flow_of(&b, TCP4, 5000)->backend, was);
	assert_int_equal(state_of(&b, TCP4, 5000), WEIR_NAT_OPEN);
	/* But two FINs are not taken back by what comes late. */
	send_one(&b, TCP4, PACKET_FIN | PACKET_ACK, 5000);
	reply_one(&b, TCP4, PACKET_FIN | PACKET_ACK, 5000);
	send_one(&b, TCP4, PACKET_RST, 5000);
	send_one(&b, TCP4, PACKET_ACK, 5000);
	assert_int_equal(state_of(&b, TCP4, 5000), WEIR_NAT_CLOSING);
	close_bench(&b);
}

/* Nobody answers, but the client goes on sending. */
static void test_udp_one_way(void **state)
{
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	for (int i = 0; i < 50; i++)
		send_one(&b, UDP4, 0, 5000);
	assert_int_equal(state_of(&b, UDP4, 5000), WEIR_NAT_NEW);
	for (int i = 1; i <= WEIR_NAT_ONE_WAY_TICKS; i++) {
		assert_int_equal(state_of(&b, UDP4, 5000), WEIR_NAT_NEW);
		balance_run_age(&b.run, 1);
		send_one(&b, UDP4, 0, 5000);
	}
	assert_int_equal(state_of(&b, UDP4, 5000), WEIR_NAT_OPEN);
	close_bench(&b);
}

static void test_udp_opens_with_a_reply(void **state)
{
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	send_one(&b, UDP6, 0, 5000);
	send_one(&b, UDP6, 0, 5000);
	assert_int_equal(state_of(&b, UDP6, 5000), WEIR_NAT_NEW);
	reply_one(&b, UDP6, 0, 5000);
	assert_int_equal(state_of(&b, UDP6, 5000), WEIR_NAT_OPEN);
	assert_int_equal(balance_run_backend(&b.run, 6).connections, 1);
	assert_int_equal(balance_run_backend(&b.run, 6).packets, 2);
	assert_int_equal(balance_run_backend(&b.run, 6).reply_packets, 1);
	close_bench(&b);
}

/* Another balancer's flow is taken up with the port it had there. A RST is not. */
static void test_middle_of_a_flow(void **state)
{
	struct packet_layout layout = to_service(TCP4, PACKET_RST, 5000);
	struct packet p;
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	build(&p, &layout, true);
	assert_int_equal(refused(&b, &p), WEIR_BY_NAT_UNKNOWN);
	assert_int_equal(balance_run_service(&b.run, TCP4).nat_unknown, 1);
	send_one(&b, TCP4, PACKET_DATA, 5000);
	assert_int_equal(flow_of(&b, TCP4, 5000)->nat_port, 5000);
	assert_int_equal(state_of(&b, TCP4, 5000), WEIR_NAT_NEW);
	reply_one(&b, TCP4, PACKET_DATA, 5000);
	send_one(&b, TCP4, PACKET_ACK, 5000);
	assert_int_equal(state_of(&b, TCP4, 5000), WEIR_NAT_OPEN);
	send_one(&b, TCP4, PACKET_FIN | PACKET_ACK, 5001);
	assert_int_equal(state_of(&b, TCP4, 5001), WEIR_NAT_NEW);
	close_bench(&b);
}

static void check_idle(struct bench *b, __u32 service, __u16 sport, __u32 ticks)
{
	struct packet_layout layout = to_service(service, PACKET_DATA, sport);
	struct packet p, reply;
	struct xdp_result r;

	build(&p, &layout, true);
	balance_run_age(&b->run, ticks);
	reply_one(b, service, PACKET_DATA, sport);
	assert_int_equal(age_of(flow_of(b, service, sport)), 0);
	build_reply(&reply, b, flow_of(b, service, sport), &layout, 0);
	balance_run_age(&b->run, ticks + 1);
	balance_run_frame(&b->run, &reply, &r);
	assert_int_equal(r.code, layout.proto == IPPROTO_UDP ? XDP_PASS : XDP_DROP);
	assert_same(&r.packet, &reply);
}

static void test_idle_flows_are_over(void **state)
{
	struct idle_ticks idle;
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	idle = service_idle_ticks(&b.run.services.services[UDP4 - 1], clock_tick_ns());
	send_one(&b, UDP4, 0, 5000);
	reply_one(&b, UDP4, 0, 5000);
	check_idle(&b, UDP4, 5000, idle.idle);
	send_one(&b, TCP4, PACKET_SYN, 5000);
	check_idle(&b, TCP4, 5000, WEIR_NAT_NEW_TICKS);
	handshake(&b, TCP4, 5001);
	check_idle(&b, TCP4, 5001, idle.idle);
	handshake(&b, TCP4, 5002);
	send_one(&b, TCP4, PACKET_FIN | PACKET_ACK, 5002);
	reply_one(&b, TCP4, PACKET_FIN | PACKET_ACK, 5002);
	check_idle(&b, TCP4, 5002, idle.closing);
	close_bench(&b);
}

/* One that has ended keeps its backend a while, and is not shown as live; nor is one that was refused,
 * unless it goes on. */
static void test_live_flows(void **state)
{
	struct live_flows all, by_backend[8] = {}, sum = {};
	struct flow_tables tables;
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	handshake(&b, TCP6, 5000);
	handshake(&b, TCP6, 5001);
	reply_one(&b, TCP6, PACKET_RST, 5001);
	for (__u16 sport = 5002; sport <= 5003; sport++) {
		send_one(&b, TCP6, PACKET_SYN, sport);
		reply_one(&b, TCP6, PACKET_RST | PACKET_ACK, sport);
	}
	reply_one(&b, TCP6, PACKET_SYNACK, 5003);
	send_one(&b, TCP6, PACKET_ACK, 5003);
	send_one(&b, TCP6, PACKET_SYN, 5004);
	assert_int_equal(flows_open(&b.run.maps, &tables), 0);
	tables.tick = balance_run_now();
	assert_int_equal(
		flows_count(&tables, &b.run.services.services[TCP6 - 1], &all, by_backend, 8), 0);
	assert_int_equal(all.kept, 5);
	assert_int_equal(all.open, 3);
	for (int i = 0; i < 8; i++) {
		sum.kept += by_backend[i].kept;
		sum.open += by_backend[i].open;
	}
	assert_int_equal(sum.kept, all.kept);
	assert_int_equal(sum.open, all.open);
	close_bench(&b);
}

static void test_dead_backend(void **state)
{
	struct bench b;
	__u32 dead;

	(void)state;
	open_bench(&b, NULL);
	send_one(&b, UDP4, 0, 5000);
	dead = flow_of(&b, UDP4, 5000)->backend;
	for (__u32 i = 0; i < 65536; i++)
		balance_run_move_slot(&b.run, UDP4, i, dead == 3 ? 4 : 3);
	send_one(&b, UDP4, 0, 5000);
	assert_int_equal(flow_of(&b, UDP4, 5000)->backend, dead);
	b.run.backends[dead].flags &= ~WEIR_B_ALIVE;
	send_one(&b, UDP4, 0, 5000);
	assert_int_equal(flow_of(&b, UDP4, 5000)->backend, dead == 3 ? 4 : 3);
	close_bench(&b);
}

/* ---- refused ---- */

static void check_answered(struct bench *b, const struct packet *p, enum weir_reason reason)
{
	struct xdp_result r;

	balance_run_frame(&b->run, p, &r);
	assert_int_equal(r.code, XDP_TX);
	assert_int_equal(r.counters.reason[reason].packets, 1);
	assert_int_equal(r.counters.cell[WEIR_TX][WEIR_TCP4].packets, 1);
}

static void test_hops_and_size(void **state)
{
	struct packet_layout layout = to_service(TCP4, PACKET_DATA, 5000);
	struct packet p, reply;
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	send_one(&b, TCP4, PACKET_DATA, 5000);
	layout.ttl = 1;
	build(&p, &layout, true);
	check_answered(&b, &p, WEIR_BY_TTL);
	build_reply(&reply, &b, flow_of(&b, TCP4, 5000), &layout, PACKET_DATA);
	check_answered(&b, &reply, WEIR_BY_TTL);
	layout.ttl = 0;
	layout.payload = 1500;
	build(&p, &layout, true);
	check_answered(&b, &p, WEIR_BY_TOO_BIG);
	assert_int_equal(balance_run_service(&b.run, TCP4).too_big, 1);
	close_bench(&b);
}

static void check_own(struct bench *b, const char *source, __u16 sport, __u8 flags, bool own)
{
	struct packet_layout layout = to_service(TCP4, flags, sport);
	struct packet p;
	struct xdp_result r;

	layout.source = source;
	layout.destination = TEST_OWN4;
	layout.dport = 40000;
	build(&p, &layout, true);
	if (!own) {
		assert_int_equal(refused(b, &p), WEIR_BY_NAT_UNKNOWN);
		return;
	}
	balance_run_frame(&b->run, &p, &r);
	assert_int_equal(r.code, XDP_PASS);
	assert_same(&r.packet, &p);
}

/* What belongs to no flow is the host's own, its sockets' or what it masquerades, but for TCP in
 * mid-stream from a backend: that only another balancer can know. */
static void test_own_address(void **state)
{
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	check_own(&b, CLIENT4, 5000, PACKET_SYN, true);
	check_own(&b, CLIENT4, 5000, PACKET_DATA, true);
	check_own(&b, CLIENT4, 443, PACKET_SYNACK, true);
	check_own(&b, "10.0.0.1", 8080, PACKET_SYN, true);
	check_own(&b, "10.0.0.1", 8080, PACKET_DATA, false);
	check_own(&b, "10.0.0.1", 8080, PACKET_SYNACK, false);
	check_own(&b, "10.0.0.1", 8081, PACKET_DATA, true);
	check_own(&b, "10.0.0.2", 8080, PACKET_RST, false);
	/* Of UDP services only. */
	check_own(&b, "10.0.0.1", 53, PACKET_DATA, true);
	/* At any port. */
	check_own(&b, "10.0.0.3", 1234, PACKET_DATA, false);
	check_own(&b, "10.0.0.4", 1234, PACKET_DATA, true);
	close_bench(&b);
}

/* ---- unfinished checksums, clamped SYNs, ways back ---- */

static void set_partial(struct packet *p, __u8 proto)
{
	__be16 partial = packet_partial_sum(p, proto);

	memcpy(packet_checksum_field(p, proto), &partial, 2);
}

static void test_unfinished_checksums(void **state)
{
	struct shape shape = {.config = {.partial_sums = 1}};
	struct packet_layout layout;
	struct packet p, summed, reply;
	struct xdp_result r, right;
	struct bench b;

	(void)state;
	open_bench(&b, &shape);
	for (__u32 service = TCP4; service <= ANY4; service++) {
		layout = to_service(service, PACKET_DATA, 5000);
		build(&summed, &layout, true);
		p = summed;
		set_partial(&p, layout.proto);
		balance_run_frame(&b.run, &summed, &right);
		balance_run_frame(&b.run, &p, &r);
		assert_same(&r.packet, &right.packet);
		build_reply(&reply, &b, flow_of(&b, service, 5000), &layout, PACKET_DATA);
		balance_run_frame(&b.run, &reply, &right);
		set_partial(&reply, layout.proto);
		balance_run_frame(&b.run, &reply, &r);
		assert_same(&r.packet, &right.packet);
	}
	close_bench(&b);
}

/* TC sends it: the kernel still finishes the checksum, so it must stay unfinished. */
static void test_unfinished_checksums_by_tc(void **state)
{
	struct shape shape = {.config = {.partial_sums = 1, .via_tc = 1}};
	struct packet_layout layout;
	struct packet p;
	struct xdp_result r;
	struct bench b;
	__be16 partial;

	(void)state;
	open_bench(&b, &shape);
	for (__u32 service = TCP4; service <= ANY4; service++) {
		layout = to_service(service, PACKET_DATA, 5000);
		build(&p, &layout, true);
		set_partial(&p, layout.proto);
		balance_run_frame(&b.run, &p, &r);
		assert_int_equal(r.meta.magic, WEIR_META_MAGIC);
		partial = packet_partial_sum(&r.packet, layout.proto);
		assert_memory_equal(packet_checksum_field(&r.packet, layout.proto), &partial, 2);
	}
	close_bench(&b);
}

static __u16 mss_of(const struct packet *p)
{
	return get16(p->bytes + p->l4 + 22);
}

static void test_clamped_both_ways(void **state)
{
	struct shape shape = {.mss = 1000};
	struct packet_layout layout = to_service(TCP4, PACKET_SYN, 5000);
	struct packet p, reply;
	struct xdp_result r;
	struct bench b;
	__be16 check;

	(void)state;
	open_bench(&b, &shape);
	build(&p, &layout, true);
	balance_run_frame(&b.run, &p, &r);
	assert_int_equal(mss_of(&r.packet), 1000);
	check = packet_checksum(&r.packet, IPPROTO_TCP);
	assert_memory_equal(packet_checksum_field(&r.packet, IPPROTO_TCP), &check, 2);
	build_reply(&reply, &b, flow_of(&b, TCP4, 5000), &layout, PACKET_SYNACK);
	balance_run_frame(&b.run, &reply, &r);
	assert_int_equal(mss_of(&r.packet), 1000);
	check = packet_checksum(&r.packet, IPPROTO_TCP);
	assert_memory_equal(packet_checksum_field(&r.packet, IPPROTO_TCP), &check, 2);
	close_bench(&b);
}

/* ---- explain ---- */

static void check_explained(struct bench *b, const struct packet *p, __u32 backend, __u16 port,
			    bool reply)
{
	struct weir_explanation e;
	struct xdp_result told, done;
	__u64 before = balance_run_fingerprint(&b->run);

	balance_run_explain(&b->run, p, &told, &e);
	assert_true(before == balance_run_fingerprint(&b->run));
	balance_run_frame(&b->run, p, &done);
	assert_int_equal(told.code, done.code);
	assert_same(&told.packet, &done.packet);
	assert_int_equal(e.reply, reply);
	assert_int_equal(e.service, TCP4);
	if (backend) {
		assert_int_equal(e.backend, backend);
		assert_int_equal(ntohs(e.nat_port), port);
		assert_int_equal(e.placed, WEIR_PLACED_NAT);
	}
}

static void test_explained(void **state)
{
	struct packet_layout layout = to_service(TCP4, PACKET_SYN, 5000);
	struct packet p, reply;
	struct weir_nat_flow *f;
	struct bench b;

	(void)state;
	open_bench(&b, NULL);
	build(&p, &layout, true);
	check_explained(&b, &p, 0, 0, false);
	f = flow_of(&b, TCP4, 5000);
	check_explained(&b, &p, f->backend, 5000, false);
	build_reply(&reply, &b, f, &layout, PACKET_SYNACK);
	check_explained(&b, &reply, f->backend, 5000, true);
	close_bench(&b);
}

/* ---- races ---- */

#define RACERS 4
#define LAPS   4000
#define PORTS  24

struct racer {
	struct bench *bench;
	__u32 number;
};

/* All send the same few flows, from two clients with the same ports, so that both records and ports
 * are fought for; now and then a flow is forgotten. */
static void *race(void *arg)
{
	static const char *const clients[] = {CLIENT6, "2001:db8:7::8"};
	struct racer *racer = arg;
	struct dice d = {racer->number + 1};
	struct balance_run *run = &racer->bench->run;

	for (int i = 0; i < LAPS; i++) {
		struct packet_layout layout =
			to_service(TCP6, PACKET_SYN, 5000 + dice_below(&d, PORTS));
		struct xdp_result r;
		struct packet p;

		layout.source = clients[dice_below(&d, 2)];
		build(&p, &layout, true);
		xdp_run_only(&run->xdp, &p, &r);
		if (dice_percent(&d, 30)) {
			struct weir_nat_flow *f =
				&run->nat_flows[dice_below(&d, run->sizes.nat_flows)]
					 .way[dice_below(&d, WEIR_NAT_WAYS)];
			__u64 life = f->life;

			if (WEIR_LIFE_STATE(life) == WEIR_NAT_NEW)
				__sync_val_compare_and_swap(&f->life, life, 0);
		}
	}
	return NULL;
}

static void check_no_doubles(struct bench *b)
{
	__u32 count = b->run.sizes.nat_flows * WEIR_NAT_WAYS;
	const struct weir_nat_flow *all = &b->run.nat_flows[0].way[0];

	for (__u32 i = 0; i < count; i++) {
		assert_int_not_equal(WEIR_LIFE_STATE(all[i].life), WEIR_NAT_CLAIMED);
		for (__u32 j = i + 1; j < count; j++) {
			if (!is_flow(&all[i]) || !is_flow(&all[j]))
				continue;
			assert_false(all[i].who == all[j].who &&
				     !memcmp(all[i].client, all[j].client, 16));
			assert_false(all[i].backend == all[j].backend &&
				     all[i].nat_port == all[j].nat_port);
		}
	}
}

/* Every flow is found by its replies. */
static void check_all_replies(struct bench *b)
{
	struct packet_layout layout = to_service(TCP6, 0, 0);
	struct xdp_result r;
	struct packet reply;

	for (__u32 i = 0; i < b->run.sizes.nat_flows * WEIR_NAT_WAYS; i++) {
		struct weir_nat_flow *f = &b->run.nat_flows[0].way[i];

		if (!is_flow(f))
			continue;
		build_reply(&reply, b, f, &layout, PACKET_SYNACK);
		balance_run_frame(&b->run, &reply, &r);
		assert_int_equal(r.code, XDP_TX);
		assert_int_equal(get16(r.packet.bytes + reply.l4 + 2), WEIR_WHO_PORT(f->who));
	}
}

static void test_races(void **state)
{
	struct shape shape = {.buckets = 8, .nat_ports = 16};
	struct racer racers[RACERS];
	pthread_t threads[RACERS];
	struct bench b;

	(void)state;
	open_bench(&b, &shape);
	for (__u32 i = 0; i < RACERS; i++) {
		racers[i] = (struct racer){&b, i};
		assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
	}
	for (int i = 0; i < RACERS; i++)
		pthread_join(threads[i], NULL);
	check_no_doubles(&b);
	check_all_replies(&b);
	close_bench(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tcp_ends_with_two_fins),
		cmocka_unit_test(test_tcp_ends_with_a_reset),
		cmocka_unit_test(test_reset_is_refuted),
		cmocka_unit_test(test_udp_opens_with_a_reply),
		cmocka_unit_test(test_udp_one_way),
		cmocka_unit_test(test_middle_of_a_flow),
		cmocka_unit_test(test_idle_flows_are_over),
		cmocka_unit_test(test_live_flows),
		cmocka_unit_test(test_dead_backend),
		cmocka_unit_test(test_hops_and_size),
		cmocka_unit_test(test_own_address),
		cmocka_unit_test(test_unfinished_checksums),
		cmocka_unit_test(test_unfinished_checksums_by_tc),
		cmocka_unit_test(test_clamped_both_ways),
		cmocka_unit_test(test_explained),
		cmocka_unit_test(test_races),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	xdp_run_prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
