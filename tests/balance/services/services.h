/* SPDX-License-Identifier: GPL-2.0 */
/* Services by direct return, packets to them, and what was done with those. */
#ifndef WEIR_TESTS_SERVICES_H
#define WEIR_TESTS_SERVICES_H

#include <arpa/inet.h>
#include <err.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/shared/balance_run.h"
#include "tests/shared/random_services.h"

#define VIP4 "192.0.2.1"
#define VIP6 "2001:db8::1"
#define ELSE 9 /* ifindex of another device */
#define DSR  (1u << WEIR_DSR_L2 | 1u << WEIR_DSR_IPIP)

struct bench {
	struct balance services;
	struct balance_run run;
};

static inline void open_bench(struct bench *b, const struct weir_xdp_config *config,
			      const char *const *rules, size_t count)
{
	struct table_names names = {};
	struct balance_setup setup = {.services = &b->services, .names = &names};
	struct rule_set set = {};

	if (config)
		setup.config = *config;
	if (count) {
		rules_from_text(&set, rules, count);
		setup.rules = &set;
	}
	balance_run_open(&b->run, &setup);
	rule_set_free(&set);
}

static inline void close_bench(struct bench *b)
{
	balance_run_close(&b->run);
	balance_free(&b->services);
}

/* One TCP service of one backend by dsr-l2. */
static inline void open_plain(struct bench *b, const struct weir_xdp_config *config,
			      const char *const *rules, size_t count)
{
	*b = (struct bench){};
	test_service(&b->services, IPPROTO_TCP, VIP4, 80, WEIR_DSR_L2);
	test_backend(&b->services, "10.0.0.1", 0, 1);
	open_bench(b, config, rules, count);
}

static inline struct tuple tuple_to(const char *destination, __u16 port, __u8 proto)
{
	struct address to = test_address(destination);

	return (struct tuple){
		.source = test_address(to.family == 6 ? PACKET_CLIENT6 : PACKET_CLIENT),
		.destination = to,
		.sport = 40000,
		.dport = port,
		.proto = proto,
	};
}

static inline void send_tuple(struct bench *b, const struct tuple *tuple,
			      const struct packet_layout *layout, struct packet *packet,
			      struct xdp_result *result)
{
	tuple_packet(tuple, layout, packet);
	balance_run_frame(&b->run, packet, result);
}

static inline void send_plain(struct bench *b, struct packet *packet, struct xdp_result *result)
{
	struct tuple tuple = tuple_to(VIP4, 80, IPPROTO_TCP);

	send_tuple(b, &tuple, &(struct packet_layout){.flags = PACKET_DATA}, packet, result);
}

/* Backend that a frame was sent to, by its Ethernet address; 0: none. */
static inline __u32 went_to(const struct packet *packet)
{
	const __u8 *mac = packet->bytes;

	return mac[0] == 2 && mac[1] == 0xbb ? mac[4] << 8 | mac[5] : 0;
}

static inline void assert_same_from(__u32 offset, const struct packet *a, const struct packet *b)
{
	assert_int_equal(a->length, b->length);
	assert_memory_equal(a->bytes + offset, b->bytes + offset, a->length - offset);
}

static inline void assert_passed(const struct packet *packet, const struct xdp_result *result,
				 enum weir_class class)
{
	assert_int_equal(result->code, XDP_PASS);
	assert_int_equal(result->meta.magic, 0);
	assert_same_from(0, packet, &result->packet);
	assert_true(xdp_run_counted_only(&result->counters, WEIR_PASS, class, WEIR_REASONS,
					 packet->length));
}

static inline enum weir_class class_of(const struct tuple *tuple)
{
	enum weir_class class = tuple->proto == IPPROTO_TCP ? WEIR_TCP4 : WEIR_UDP4;

	return tuple->source.family == 6 ? class + WEIR_TCP6 - WEIR_TCP4 : class;
}

static inline void assert_dropped(const struct packet *packet, const struct xdp_result *result,
				  enum weir_class class, enum weir_reason reason)
{
	assert_int_equal(result->code, XDP_DROP);
	assert_true(
		xdp_run_counted_only(&result->counters, WEIR_DROP, class, reason, packet->length));
}

static inline void can_send_to(struct bench *b, __u32 device)
{
	__u32 loopback = 1;

	balance_run_write(b->run.maps.egress_devs, device, &loopback);
}

static inline void command(const char *text)
{
	if (system(text))
		errx(1, "'%s' failed", text);
}

static inline void make_network(void)
{
	command("ip link add way index 7 type veth peer name way-far index 8");
	command("ip link set way up && ip link set way-far up && ip address add 10.0.0.254/24 dev way");
	command("ip neighbour add 10.0.0.1 lladdr 02:cc:00:00:00:01 dev way nud permanent");
	command("ip route add blackhole 10.0.9.0/24");
	command("sysctl -qw net.ipv4.conf.all.forwarding=1");
}

#endif
