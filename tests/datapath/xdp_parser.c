// SPDX-License-Identifier: GPL-2.0
/* What the XDP parser makes of every shape of frame, as counters and rules show it. */
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/shared/xdp_run.h"

#define SPORT 1111
#define DPORT 2222
#define NONE  59 /* IPv6: no next header */

/* Three programs see every frame: one that only counts, one whose first rule is on ports and
 * whose next two are on addresses, and one with a rule per protocol. */
static const char *const port_rules[] = {
	"drop sport 1111 dport 2222",
	"pass src " PACKET_CLIENT " dst " PACKET_SERVER,
	"pass src " PACKET_CLIENT6 " dst " PACKET_SERVER6,
};

static const __u16 protocols[] = {6, 17, 1, 58, 132, 33, 136, 47, 50, 51, 59, 60, 255, 256};

static const char *const protocol_rules[] = {
	"drop proto tcp",  "drop proto udp",  "drop proto icmp",    "drop proto icmp6",
	"drop proto sctp", "drop proto dccp", "drop proto udplite", "drop proto gre",
	"drop proto esp",  "drop proto ah",   "drop proto 59",	    "drop proto 60",
	"drop proto 255",  "drop proto arp",
};

struct programs {
	struct xdp_run counting, ports, protocol;
};

static struct programs programs, bare, frags;

static __u32 no_device(const char *name)
{
	(void)name;
	return 0;
}

static void open_one(struct xdp_run *run, const struct weir_xdp_config *config,
		     const char *const *text, size_t count)
{
	struct table_names names = {.ifindex = no_device};
	struct rule_set set;

	rules_from_text(&set, text, count);
	xdp_run_open(run, config, &set, &names);
	rule_set_free(&set);
}

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void open_all(struct programs *p, struct weir_xdp_config config)
{
	xdp_run_open(&p->counting, &config, NULL, NULL);
	open_one(&p->ports, &config, port_rules, COUNT(port_rules));
	open_one(&p->protocol, &config, protocol_rules, COUNT(protocol_rules));
}

static void close_all(struct programs *p)
{
	xdp_run_close(&p->counting);
	xdp_run_close(&p->ports);
	xdp_run_close(&p->protocol);
}

static int setup(void **state)
{
	(void)state;
	xdp_run_prepare();
	open_all(&programs, (struct weir_xdp_config){.ifindex = 7, .ethernet = 1});
	open_all(&bare, (struct weir_xdp_config){.ifindex = 7});
	open_all(&frags, (struct weir_xdp_config){.ifindex = 7, .ethernet = 1, .frags = 1});
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close_all(&programs);
	close_all(&bare);
	close_all(&frags);
	return 0;
}

/* ---- the frame as it should be understood ---- */

struct meaning {
	enum weir_class class;
	int proto; /* that rules see; 0: none */
	bool ports;
};

static bool is_ip(enum weir_class class)
{
	return class < WEIR_ARP;
}

static void assert_result(const struct xdp_result *r, const struct packet *packet,
			  enum weir_class class, enum weir_verdict verdict, enum weir_reason reason,
			  const char *name)
{
	int code = verdict == WEIR_DROP ? XDP_DROP : XDP_PASS;

	if (r->code != code || r->packet.length != packet->length || r->meta.magic ||
	    memcmp(r->packet.bytes, packet->bytes, packet->length) ||
	    !xdp_run_counted_only(&r->counters, verdict, class, reason, packet->length))
		fail_msg("%s (%u bytes): code %d, wanted class %d verdict %d reason %d; counted "
			 "pass %llu drop %llu",
			 name, packet->length, r->code, class, verdict, reason,
			 r->counters.cell[WEIR_PASS][class].packets,
			 r->counters.cell[WEIR_DROP][class].packets);
}

static enum weir_reason refusal(enum weir_class class)
{
	return class == WEIR_MALFORMED	 ? WEIR_BY_MALFORMED
	       : class == WEIR_UNDECIDED ? WEIR_BY_UNDECIDED
					 : WEIR_REASONS;
}

/* The frame meets rule `hit` of `count`, or none when it is negative, and no other. */
static void check_rules(struct xdp_run *run, const struct packet *packet, const char *name,
			enum weir_class class, enum weir_reason reason, int hit, size_t count)
{
	struct weir_counter before[16], after;
	struct xdp_result result;

	for (size_t i = 0; i < count; i++)
		before[i] = xdp_run_rule(run, i);
	xdp_run_frame(run, packet, &result);
	assert_result(&result, packet, class, reason == WEIR_REASONS ? WEIR_PASS : WEIR_DROP,
		      reason, name);
	for (size_t i = 0; i < count; i++) {
		bool met = (int)i == hit;

		after = xdp_run_rule(run, i);
		if (after.packets != before[i].packets + met ||
		    after.bytes != before[i].bytes + met * packet->length)
			fail_msg("%s: rule %zu of %zu was %s", name, i, count,
				 met ? "missed" : "hit");
	}
}

static int protocol_rule(int proto)
{
	for (size_t i = 0; i < COUNT(protocols); i++)
		if (proto && protocols[i] == proto)
			return i;
	return -1;
}

static void check_on(struct programs *p, const struct packet *packet, const struct meaning *m,
		     const char *name)
{
	enum weir_reason refused = refusal(m->class);
	struct xdp_result result;
	int hit = -1, proto = protocol_rule(m->proto);

	xdp_run_frame(&p->counting, packet, &result);
	assert_result(&result, packet, m->class, WEIR_PASS, WEIR_REASONS, name);
	if (is_ip(m->class))
		hit = m->ports ? 0 : m->class < WEIR_TCP6 ? 1 : 2;
	check_rules(&p->ports, packet, name, m->class, hit == 0 ? WEIR_BY_RULE : refused, hit,
		    COUNT(port_rules));
	check_rules(&p->protocol, packet, name, m->class, proto >= 0 ? WEIR_BY_RULE : refused,
		    proto, COUNT(protocol_rules));
}

/* ---- the table ---- */

struct parser_case {
	const char *name;
	struct packet_layout layout;
	void (*spoil)(struct packet *packet);
	struct meaning meaning;
};

#define IP4(number, ...)                                                                    \
	{                                                                                   \
		.family = 4, .proto = (number), .sport = SPORT, .dport = DPORT, __VA_ARGS__ \
	}
#define IP6(number, ...)                                                                    \
	{                                                                                   \
		.family = 6, .proto = (number), .sport = SPORT, .dport = DPORT, __VA_ARGS__ \
	}
#define MALFORMED                        \
	{                                \
		WEIR_MALFORMED, 0, false \
	}
#define UNDECIDED                        \
	{                                \
		WEIR_UNDECIDED, 0, false \
	}

static void set16(struct packet *p, __u32 at, __u16 value)
{
	p->bytes[at] = value >> 8;
	p->bytes[at + 1] = value;
}

static void set_type(struct packet *p, __u16 type)
{
	set16(p, p->l3 - 2, type);
}

static void ihl_4(struct packet *p)
{
	p->bytes[p->l3] = 0x44;
}

static void ihl_15(struct packet *p)
{
	p->bytes[p->l3] = 0x4f;
}

static void version_5(struct packet *p)
{
	p->bytes[p->l3] = 0x50 | (p->bytes[p->l3] & 0xf);
}

static void other_version(struct packet *p)
{
	p->bytes[p->l3] ^= 0x20;
}

static void total_0(struct packet *p)
{
	set16(p, p->l3 + 2, 0);
}

static void total_19(struct packet *p)
{
	set16(p, p->l3 + 2, 19);
}

static void total_20(struct packet *p)
{
	set16(p, p->l3 + 2, 20);
}

static void total_23(struct packet *p)
{
	set16(p, p->l3 + 2, 23);
}

static void total_24(struct packet *p)
{
	set16(p, p->l3 + 2, 24);
}

static void total_27(struct packet *p)
{
	set16(p, p->l3 + 2, 27);
}

static void total_39(struct packet *p)
{
	set16(p, p->l3 + 2, 39);
}

static void total_40(struct packet *p)
{
	set16(p, p->l3 + 2, 40);
}

static void total_too_long(struct packet *p)
{
	set16(p, p->l3 + 2, p->length - p->l3 + 1);
}

static void payload_0(struct packet *p)
{
	set16(p, p->l3 + 4, 0);
}

static void payload_19(struct packet *p)
{
	set16(p, p->l3 + 4, 19);
}

static void payload_too_long(struct packet *p)
{
	set16(p, p->l3 + 4, p->length - p->l3 - 40 + 1);
}

/* The first extension header reaches one unit behind the end of the packet. */
static void extension_too_long(struct packet *p)
{
	p->bytes[p->l3 + 41] = (p->end - p->l3 - 40) / 8;
}

static void extension_255(struct packet *p)
{
	p->bytes[p->l3 + 41] = 255;
}

static void type_arp(struct packet *p)
{
	set_type(p, ETH_P_ARP);
}

static void type_rarp(struct packet *p)
{
	set_type(p, ETH_P_RARP);
}

static void type_lldp(struct packet *p)
{
	set_type(p, 0x88cc);
}

static void type_9100(struct packet *p)
{
	set_type(p, 0x9100);
}

static void type_length(struct packet *p)
{
	set_type(p, 46);
}

static void type_ip_of_other_family(struct packet *p)
{
	set_type(p, p->bytes[p->l3] >> 4 == 4 ? ETH_P_IPV6 : ETH_P_IP);
}

static void only_ethernet(struct packet *p)
{
	p->length = ETH_HLEN;
}

static void only_arp_type(struct packet *p)
{
	type_arp(p);
	p->length = ETH_HLEN;
}

static void half_a_tag(struct packet *p)
{
	p->length = ETH_HLEN + 2;
}

static const struct parser_case cases[] = {
#include "xdp_parser_cases.h"
};

static void build(struct packet *packet, const struct parser_case *c, bool no_ethernet)
{
	struct packet_layout layout = c->layout;

	layout.bare = no_ethernet;
	packet_build(packet, &layout);
	if (c->spoil)
		c->spoil(packet);
}

static void test_table(void **state)
{
	struct packet packet;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		build(&packet, &cases[i], false);
		check_on(&programs, &packet, &cases[i].meaning, cases[i].name);
		check_on(&frags, &packet, &cases[i].meaning, cases[i].name);
	}
}

/* ---- devices without Ethernet ---- */

static bool needs_ethernet(const struct parser_case *c)
{
	return c->layout.tags || c->spoil == type_arp || c->spoil == type_rarp ||
	       c->spoil == type_lldp || c->spoil == type_9100 || c->spoil == type_length ||
	       c->spoil == only_ethernet || c->spoil == only_arp_type ||
	       c->spoil == type_ip_of_other_family || c->spoil == half_a_tag;
}

static void test_without_ethernet(void **state)
{
	struct packet packet;
	int seen = 0;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		if (needs_ethernet(&cases[i]))
			continue;
		build(&packet, &cases[i], true);
		check_on(&bare, &packet, &cases[i].meaning, cases[i].name);
		seen++;
	}
	assert_true(seen > 60);
}

/* ---- frames cut short ---- */

static const struct parser_case whole[] = {
	{"TCP", IP4(6), NULL, {WEIR_TCP4, 6, true}},
	{"two tags, options",
	 IP4(17, .tags = "aq", .ip_options = 40, .payload = 9),
	 NULL,
	 {WEIR_UDP4, 17, true}},
	{"GRE", IP4(47, .payload = 5), NULL, {WEIR_OTHER4, 47, false}},
	{"ICMP", IP4(1), NULL, {WEIR_ICMP4, 1, false}},
	{"fragment", IP4(17, .fragment = 9, .payload = 8), NULL, {WEIR_FRAGMENT4, 17, false}},
	{"IPv6 TCP", IP6(6, .tags = "q"), NULL, {WEIR_TCP6, 6, true}},
	{"IPv6 chain", IP6(17, .chain = "hDraf", .payload = 3), NULL, {WEIR_UDP6, 17, true}},
	{"IPv6 SCTP", IP6(132), NULL, {WEIR_OTHER6, 132, true}},
	{"IPv6 ICMP", IP6(58), NULL, {WEIR_ICMP6, 58, false}},
	{"IPv6 fragment", IP6(6, .chain = "hf", .fragment = 2), NULL, {WEIR_FRAGMENT6, 6, false}},
};

/* The frame ends before the IP packet does: the kernel runs nothing shorter than 14 bytes. */
static void test_cut_frames(void **state)
{
	static const struct meaning malformed = MALFORMED;
	struct packet packet;

	(void)state;
	for (size_t i = 0; i < COUNT(whole); i++) {
		build(&packet, &whole[i], false);
		for (packet.length = ETH_HLEN; packet.length < packet.end; packet.length++)
			check_on(&programs, &packet, &malformed, whole[i].name);
		check_on(&programs, &packet, &whole[i].meaning, whole[i].name);
	}
}

static __u32 least_header(int proto, enum weir_class class)
{
	if (class == WEIR_FRAGMENT4 || class == WEIR_FRAGMENT6)
		return 0;
	switch (proto) {
	case 6: return 20;
	case 132: return 12;
	case 47: return 0;
	default: return 8;
	}
}

/* The IP length says so as well: what counts is whether the transport header is whole. */
static void test_short_packets(void **state)
{
	static const struct meaning malformed = MALFORMED;
	struct packet packet;

	(void)state;
	for (size_t i = 0; i < COUNT(whole); i++) {
		const struct meaning *m = &whole[i].meaning;
		bool six = whole[i].layout.family == 6;
		__u32 header = six ? 40 : 20;

		build(&packet, &whole[i], false);
		for (packet.length = packet.l3 + header; packet.length <= packet.end;
		     packet.length++) {
			__u32 needed = packet.l4 + least_header(m->proto, m->class);

			set16(&packet, packet.l3 + (six ? 4 : 2),
			      packet.length - packet.l3 - (six ? 40 : 0));
			check_on(&programs, &packet, packet.length < needed ? &malformed : m,
				 whole[i].name);
		}
	}
}

/* A frame of several buffers is counted whole. */
static void test_jumbo_frames(void **state)
{
	struct packet_layout layout = IP4(6, .payload = 8900);
	struct meaning meaning = {WEIR_TCP4, 6, true};
	struct packet packet;

	(void)state;
	packet_build(&packet, &layout);
	check_on(&frags, &packet, &meaning, "TCP of 8900 bytes");
	packet.length--;
	meaning = (struct meaning)MALFORMED;
	check_on(&frags, &packet, &meaning, "a byte less than the IP length");
}

/* Whatever the bytes: one cell counts the frame, and it goes on untouched or not at all. */
static void test_random_bytes(void **state)
{
	unsigned int seed = 20251;
	struct xdp_result result;
	struct packet packet;

	(void)state;
	for (int n = 0; n < 4000; n++) {
		struct weir_counter all = {};

		build(&packet, &whole[rand_r(&seed) % COUNT(whole)], false);
		for (int changes = 1 + rand_r(&seed) % 6; changes; changes--)
			packet.bytes[12 + rand_r(&seed) % (packet.length - 12)] = rand_r(&seed);
		packet.length -= rand_r(&seed) % 4 ? 0 : rand_r(&seed) % (packet.length - 13);
		xdp_run_frame(&programs.ports, &packet, &result);
		for (int v = 0; v < WEIR_VERDICTS; v++)
			for (int class = 0; class < WEIR_CLASSES; class ++) {
				all.packets += result.counters.cell[v][class].packets;
				all.bytes += result.counters.cell[v][class].bytes;
			}
		assert_int_equal(all.packets, 1);
		assert_int_equal(all.bytes, packet.length);
		assert_int_equal(result.packet.length, packet.length);
		assert_memory_equal(result.packet.bytes, packet.bytes, packet.length);
		assert_true(result.code == XDP_PASS || result.code == XDP_DROP);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),	     cmocka_unit_test(test_without_ethernet),
		cmocka_unit_test(test_cut_frames),   cmocka_unit_test(test_short_packets),
		cmocka_unit_test(test_jumbo_frames), cmocka_unit_test(test_random_bytes),
	};

	return cmocka_run_group_tests_name("XDP parser", tests, setup, teardown);
}
