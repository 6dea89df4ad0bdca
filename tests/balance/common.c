// SPDX-License-Identifier: GPL-2.0
/* Common packets are decided in a shorter way: like all others. Two copies of the program, one without
 * that way, get the same frames on the same services, slots and backends. */
#include <arpa/inet.h>
#include <err.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/shared/balance_run.h"
#include "tests/shared/random_services.h"
#include "weir_xdp.skel.h"

#define ELSE	 9  /* ifindex of another device */
#define NOWHERE	 10 /* of one that is not in the map of devices */
#define L2	 (1u << WEIR_DSR_L2)
#define IPIP	 (1u << WEIR_DSR_IPIP)
#define ROUNDS	 3
#define UPSETS	 12  /* of slots and backends, per round */
#define FRAMES	 200 /* between two of them */
#define COMPARED 20  /* every so many frames: the counters of services and backends */

struct twins {
	struct balance services;
	struct balance_run common, all;
	unsigned int sent;
};

static void open_one(struct balance_run *run, const struct balance_setup *setup)
{
	balance_run_open(run, setup);
	assert_int_equal(run->xdp.skel->rodata->config.common, !setup->uncommon);
	for (__u32 device = TEST_DEVICE; device <= ELSE; device += ELSE - TEST_DEVICE)
		balance_run_write(run->maps.egress_devs, device, &(__u32){1});
}

static void open_twins(struct dice *d, struct twins *t, const struct weir_xdp_config *config,
		       unsigned int modes)
{
	struct table_names names = {};
	struct balance_setup setup = {.services = &t->services, .names = &names, .config = *config};

	random_services(d, 2 + dice_below(d, 6), modes, &t->services);
	for (size_t i = 0; i < t->services.service_count; i++) {
		struct service *s = &t->services.services[i];

		s->slots = 64;
		s->buckets = 4;
		s->mss = dice_percent(d, 30) ? 1000 : 0;
	}
	open_one(&t->common, &setup);
	setup.uncommon = true;
	open_one(&t->all, &setup);
}

static void close_twins(struct twins *t)
{
	balance_run_close(&t->common);
	balance_run_close(&t->all);
	balance_free(&t->services);
}

/* ---- slots and backends ---- */

static void upset_slot(struct dice *d, struct twins *t, const struct service *s, __u32 slot)
{
	__u32 other = dice_below(d, s->slots);
	__u32 to = WEIR_SLOT_OWNER(*balance_run_slot(&t->all, s->index, other));

	if (dice_percent(d, 2))
		to = WEIR_MAX_INDEX; /* there is no record of it */
	if (dice_percent(d, 15)) {
		balance_run_move_slot(&t->common, s->index, slot, to);
		balance_run_move_slot(&t->all, s->index, slot, to);
	} else if (dice_percent(d, 40)) {
		balance_run_settle_slot(&t->common, s->index, slot);
		balance_run_settle_slot(&t->all, s->index, slot);
	}
}

static void upset_backend(struct dice *d, struct twins *t, __u32 index)
{
	static const __u16 mtus[] = {1500, 1500, 1500, 1500, 1280, 100, 60};
	struct weir_backend b = t->all.backends[index];

	b.flags = (b.flags & WEIR_B_V6) | WEIR_B_REACHABLE | WEIR_B_ALIVE;
	b.fresh_until = balance_run_jiffies() + (1u << 29);
	b.ifindex = dice_percent(d, 70) ? TEST_DEVICE : dice_percent(d, 80) ? ELSE : NOWHERE;
	b.mtu = mtus[dice_below(d, 7)];
	b.source_bits = dice_below(d, 17);
	if (dice_percent(d, 10))
		b.flags &= ~WEIR_B_ALIVE;
	if (dice_percent(d, 20))
		b.fresh_until = balance_run_jiffies() - 1;
	if (dice_percent(d, 10))
		b.flags &= ~WEIR_B_REACHABLE;
	if (dice_percent(d, 10))
		b.flags |= WEIR_B_VIA_TC;
	if (dice_percent(d, 5))
		b.flags = WEIR_B_ALIVE | WEIR_B_LOCAL;
	t->common.backends[index] = t->all.backends[index] = b;
}

static void upset(struct dice *d, struct twins *t)
{
	for (size_t i = 0; i < t->all.services.service_count; i++) {
		const struct service *s = &t->all.services.services[i];

		for (__u32 slot = 0; slot < s->slots; slot++)
			upset_slot(d, t, s, slot);
	}
	for (__u32 i = 1; i <= t->services.backend_count; i++)
		upset_backend(d, t, i);
}

/* ---- frames ---- */

static void random_source(struct dice *d, struct tuple *tuple)
{
	static const char *const none4[] = {"127.0.0.1", "0.0.0.0", "224.0.0.5", "255.255.255.255"};
	static const char *const none6[] = {"::1", "::", "ff02::1", "ffff::"};
	__u32 which = dice_below(d, 4);

	if (dice_percent(d, 4))
		tuple->source = tuple->destination;
	else if (dice_percent(d, 4))
		tuple->source =
			test_address(tuple->destination.family == 6 ? none6[which] : none4[which]);
}

/* Sizes about what a backend's MTU leaves, with and without an outer header. */
static __u32 random_payload(struct dice *d)
{
	static const __u16 mtus[] = {1500, 1280, 100, 60};
	static const __u8 headers[] = {0, 20, 28, 32, 40, 48, 52, 60, 72, 80, 92, 100};
	int size = mtus[dice_below(d, 4)] - headers[dice_below(d, 12)] + (int)dice_below(d, 3) - 1;

	return dice_percent(d, 70) || size < 0 ? dice_below(d, 30) : (__u32)size;
}

static void random_layout(struct dice *d, struct packet_layout *layout, unsigned int family)
{
	static const __u8 flags[] = {PACKET_SYN,
				     PACKET_SYNACK,
				     PACKET_DATA,
				     PACKET_ACK,
				     PACKET_FIN | PACKET_ACK,
				     PACKET_RST,
				     PACKET_SYN | PACKET_FIN};
	static const char *const tags[] = {"", "", "", "", "q", "aq", "aqq"};
	static const char *const chains[] = {"h", "hd", "D", "rd", "a", "hhhhhhh", "f", "hf"};
	static const __u8 hops[] = {1, 2, 64, 64, 64, 255};

	*layout = (struct packet_layout){
		.flags = flags[dice_below(d, 7)],
		.payload = random_payload(d),
		.fill = dice_below(d, 256),
		.tcp_options = dice_percent(d, 50) ? 0 : -1,
		.tags = tags[dice_below(d, 7)],
		.tos = dice_percent(d, 30) ? dice_below(d, 256) : 0,
		.label = dice_percent(d, 30) ? dice_below(d, 1 << 20) : 0,
		.ttl = hops[dice_below(d, 6)],
		.padding = dice_percent(d, 20) ? dice_below(d, 40) : 0,
	};
	if (dice_percent(d, 10)) {
		layout->ip_options = 4 * dice_below(d, 11);
		layout->chain = chains[dice_below(d, 8)];
	}
	if (dice_percent(d, 8)) {
		layout->chain = family == 6 ? "f" : NULL;
		layout->fragment = dice_percent(d, 50) ? dice_below(d, 100) : 0;
		layout->more = dice_percent(d, 70);
	}
}

static void spoil(struct dice *d, struct packet *packet, unsigned int family)
{
	if (dice_percent(d, 8))
		for (__u32 n = 1 + dice_below(d, 3); n; n--)
			packet->bytes[12 + dice_below(d, packet->length - 12)] ^=
				1 << dice_below(d, 8);
	if (dice_percent(d, 8))
		packet->length = ETH_HLEN + dice_below(d, packet->length - ETH_HLEN + 1);
	if (dice_percent(d, 2)) /* the length of packets above 64 KiB */
		memset(packet->bytes + packet->l3 + (family == 6 ? 4 : 2), 0, 2);
	if (dice_percent(d, 1))
		memcpy(packet->bytes + 12, (const __u8[]){0x08, 0x06}, 2);
}

static void random_frame(struct dice *d, const struct balance *services, struct packet *packet)
{
	static const __u8 protos[] = {IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_SCTP, IPPROTO_UDPLITE,
				      IPPROTO_GRE,  IPPROTO_DCCP,   IPPROTO_IPIP};
	struct packet_layout layout;
	struct tuple tuple;

	random_tuple(d, services, &tuple);
	random_source(d, &tuple);
	if (dice_percent(d, 6))
		tuple.proto = protos[dice_below(d, 7)];
	random_layout(d, &layout, tuple.source.family);
	tuple_packet(&tuple, &layout, packet);
	spoil(d, packet, tuple.source.family);
}

/* ---- comparison ---- */

static void assert_same_counters(const struct twins *t)
{
	for (__u32 i = 0; i <= t->services.backend_count; i++) {
		struct weir_backend_counters a = balance_run_backend(&t->common, i);
		struct weir_backend_counters b = balance_run_backend(&t->all, i);

		assert_memory_equal(&a, &b, sizeof(a));
	}
	for (__u32 i = 0; i <= t->services.service_count; i++) {
		struct weir_service_counters a = balance_run_service(&t->common, i);
		struct weir_service_counters b = balance_run_service(&t->all, i);

		assert_memory_equal(&a, &b, sizeof(a));
	}
}

/* Both confirm a next hop at the same frame, but not in the same jiffy. */
static void assert_same_backends(const struct twins *t)
{
	for (__u32 i = 0; i <= t->services.backend_count; i++) {
		struct weir_backend a = t->common.backends[i], b = t->all.backends[i];

		a.fresh_until = b.fresh_until = 0;
		assert_memory_equal(&a, &b, sizeof(a));
	}
}

static void send_both(struct twins *t, const struct packet *packet)
{
	struct xdp_result a, b;

	balance_run_frame(&t->common, packet, &a);
	balance_run_frame(&t->all, packet, &b);
	assert_int_equal(a.code, b.code);
	assert_memory_equal(&a.meta, &b.meta, sizeof(a.meta));
	assert_int_equal(a.packet.length, b.packet.length);
	assert_memory_equal(a.packet.bytes, b.packet.bytes, a.packet.length);
	assert_memory_equal(&a.counters, &b.counters, sizeof(a.counters));
	t->sent += a.code == XDP_TX || a.code == XDP_REDIRECT;
}

static void same_decisions(const struct weir_xdp_config *config, unsigned int modes)
{
	struct dice d = dice_from_environment();

	for (int round = 0; round < ROUNDS; round++) {
		struct twins t = {};
		struct packet packet;

		open_twins(&d, &t, config, modes);
		for (int i = 0; i < UPSETS * FRAMES; i++) {
			if (i % FRAMES == 0)
				upset(&d, &t);
			random_frame(&d, &t.services, &packet);
			send_both(&t, &packet);
			if (i % COMPARED == 0)
				assert_same_counters(&t);
		}
		assert_same_counters(&t);
		assert_same_backends(&t);
		assert_memory_equal(t.common.slots, t.all.slots,
				    t.all.sizes.slots * sizeof(*t.all.slots));
		assert_memory_equal(t.common.flows, t.all.flows,
				    t.all.sizes.flows * sizeof(*t.all.flows));
		print_message("# %u of %u frames were sent\n", t.sent, UPSETS * FRAMES);
		close_twins(&t);
	}
}

static void dsr_l2(void **state)
{
	(void)state;
	same_decisions(&(struct weir_xdp_config){}, L2);
}

static void dsr_ipip(void **state)
{
	(void)state;
	same_decisions(&(struct weir_xdp_config){}, IPIP);
}

static void both_modes(void **state)
{
	(void)state;
	same_decisions(&(struct weir_xdp_config){}, L2 | IPIP);
}

static void without_tx(void **state)
{
	(void)state;
	same_decisions(&(struct weir_xdp_config){.no_tx = 1}, L2 | IPIP);
}

static void with_frags(void **state)
{
	(void)state;
	same_decisions(&(struct weir_xdp_config){.frags = 1}, L2 | IPIP);
}

static void command(const char *text)
{
	if (system(text))
		errx(1, "'%s' failed", text);
}

/* A stale backend gets a way, a neighbour or none. */
static void make_network(void)
{
	command("ip link add way index 7 type veth peer name way-far index 8");
	command("ip link set way up && ip link set way-far up && ip address add 10.0.0.254/24 dev way");
	command("ip neighbour add 10.0.0.1 lladdr 02:cc:00:00:00:01 dev way nud permanent");
	command("ip route add blackhole 10.0.0.2/32");
	command("sysctl -qw net.ipv4.conf.all.forwarding=1");
}

/* Whom errors may be sent to is counted per CPU. */
static void stay_on_one_cpu(void)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		err(1, "cannot stay on one CPU");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dsr_l2),     cmocka_unit_test(dsr_ipip),
		cmocka_unit_test(both_modes), cmocka_unit_test(without_tx),
		cmocka_unit_test(with_frags),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	xdp_run_prepare();
	make_network();
	stay_on_one_cpu();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
