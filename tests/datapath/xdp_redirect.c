// SPDX-License-Identifier: GPL-2.0
/* Redirect rules: which way the frame goes, and checksums that its sender left unfinished. */
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

#include "tests/shared/xdp_run.h"

#define HERE   7
#define TARGET 9

static __u32 ifindex(const char *name)
{
	return !strcmp(name, "target") ? TARGET : !strcmp(name, "here") ? HERE : 0;
}

struct way {
	const char *rule;
	struct weir_xdp_config config;
	bool via_tc;
	bool unknown; /* the target is in no devmap entry */
};

static void open_way(struct xdp_run *run, const struct way *way)
{
	struct redirect_target targets[] = {
		{.name = "target", .ifindex = TARGET, .via_tc = way->via_tc},
		{.name = "here", .ifindex = HERE},
	};
	struct table_names names = {.ifindex = ifindex, .targets = targets, .count = 2};
	struct weir_xdp_config config = way->config;
	struct rule_set set;

	config.ifindex = HERE;
	config.ethernet = 1;
	rules_from_text(&set, &way->rule, 1);
	xdp_run_open(run, &config, &set, &names);
	if (!way->unknown)
		xdp_run_redirect_target(run, TARGET);
	rule_set_free(&set);
}

static void plain_packet(struct packet *packet)
{
	struct packet_layout layout = {
		.family = 4, .proto = IPPROTO_TCP, .flags = PACKET_DATA, .sport = 1, .dport = 2};

	packet_build(packet, &layout);
}

static void run_way(const struct way *way, struct xdp_result *result)
{
	struct packet packet;
	struct xdp_run run;

	open_way(&run, way);
	plain_packet(&packet);
	xdp_run_frame(&run, &packet, result);
	assert_int_equal(result->packet.length, packet.length);
	assert_memory_equal(result->packet.bytes, packet.bytes, packet.length);
	assert_int_equal(xdp_run_rule(&run, 0).packets,
			 result->code != XDP_PASS || result->meta.magic);
	xdp_run_close(&run);
}

static void test_by_devmap(void **state)
{
	struct way way = {.rule = "redirect target"};
	struct xdp_result r;

	(void)state;
	run_way(&way, &r);
	assert_int_equal(r.code, XDP_REDIRECT);
	assert_int_equal(r.meta.magic, 0);
	assert_true(xdp_run_counted_only(&r.counters, WEIR_REDIRECT, WEIR_TCP4, WEIR_REASONS,
					 r.packet.length));
}

static void test_no_devmap_entry(void **state)
{
	struct way way = {.rule = "redirect target", .unknown = true};
	struct xdp_result r;

	(void)state;
	run_way(&way, &r);
	assert_int_equal(r.code, XDP_DROP);
	assert_true(xdp_run_counted_only(&r.counters, WEIR_DROP, WEIR_TCP4, WEIR_BY_REDIRECT,
					 r.packet.length));
}

static void check_handed_to_tc(const struct way *way)
{
	struct xdp_result r;

	run_way(way, &r);
	assert_int_equal(r.code, XDP_PASS);
	assert_int_equal(r.meta.magic, WEIR_META_MAGIC);
	assert_int_equal(r.meta.ifindex, HERE);
	assert_int_equal(r.meta.target, TARGET);
	assert_true(xdp_run_counted_only(&r.counters, WEIR_REDIRECT, WEIR_TCP4, WEIR_REASONS,
					 r.packet.length));
}

/* The target takes no XDP frames; or this device cannot send any. */
static void test_by_tc(void **state)
{
	struct way target = {.rule = "redirect target", .via_tc = true};
	struct way device = {.rule = "redirect target", .config = {.via_tc = 1}};
	struct way both = {.rule = "redirect target",
			   .config = {.via_tc = 1, .partial_sums = 1},
			   .via_tc = true,
			   .unknown = true};

	(void)state;
	check_handed_to_tc(&target);
	check_handed_to_tc(&device);
	check_handed_to_tc(&both);
}

/* What was sent to a device and comes back from it is not sent there again. */
static void test_not_from_the_target_itself(void **state)
{
	struct way implied = {.rule = "redirect here"};
	struct xdp_result r;

	(void)state;
	run_way(&implied, &r);
	assert_int_equal(r.code, XDP_PASS);
	assert_true(xdp_run_counted_only(&r.counters, WEIR_PASS, WEIR_TCP4, WEIR_REASONS,
					 r.packet.length));
}

static void test_only_from_the_named_device(void **state)
{
	struct way elsewhere = {.rule = "redirect target dev target"};
	struct way here = {.rule = "redirect target dev here"};
	struct way gone = {.rule = "redirect target dev gone"};
	struct xdp_result r;

	(void)state;
	run_way(&elsewhere, &r);
	assert_int_equal(r.code, XDP_PASS);
	run_way(&here, &r);
	assert_int_equal(r.code, XDP_REDIRECT);
	run_way(&gone, &r);
	assert_int_equal(r.code, XDP_PASS);
}

/* ---- checksums ---- */

static struct xdp_run finisher, keeper;

static int setup(void **state)
{
	struct way finishes = {.rule = "redirect target", .config = {.partial_sums = 1}};
	struct way keeps = {.rule = "redirect target"};

	(void)state;
	open_way(&finisher, &finishes);
	open_way(&keeper, &keeps);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	xdp_run_close(&finisher);
	xdp_run_close(&keeper);
	return 0;
}

static void set_check(struct packet *packet, __u8 proto, __be16 value)
{
	memcpy(packet_checksum_field(packet, proto), &value, sizeof(value));
}

/* What comes out, and that nothing but the checksum changed. */
static __be16 redirected_check(struct xdp_run *run, struct packet *packet, __u8 proto)
{
	struct xdp_result r;
	__be16 check;

	xdp_run_frame(run, packet, &r);
	assert_int_equal(r.code, XDP_REDIRECT);
	memcpy(&check, packet_checksum_field(&r.packet, proto), sizeof(check));
	set_check(packet, proto, check);
	assert_memory_equal(r.packet.bytes, packet->bytes, packet->length);
	return check;
}

/* Left to TC, which keeps what XDP cannot see, and as it came. */
static void assert_handed_over(struct xdp_run *run, struct packet *packet)
{
	struct xdp_result r;

	xdp_run_frame(run, packet, &r);
	assert_int_equal(r.code, XDP_PASS);
	assert_int_equal(r.meta.magic, WEIR_META_MAGIC);
	assert_int_equal(r.meta.target, TARGET);
	assert_memory_equal(r.packet.bytes, packet->bytes, packet->length);
}

static void check_one(const struct packet_layout *layout)
{
	struct packet packet;
	__be16 right, partial;

	packet_build(&packet, layout);
	right = packet_checksum(&packet, layout->proto);
	partial = packet_partial_sum(&packet, layout->proto);
	assert_int_equal(redirected_check(&finisher, &packet, layout->proto), right);
	set_check(&packet, layout->proto, partial);
	assert_int_equal(redirected_check(&finisher, &packet, layout->proto), right);
	set_check(&packet, layout->proto, partial);
	assert_int_equal(redirected_check(&keeper, &packet, layout->proto), partial);
	if (right == partial || (__be16)(right + 1) == partial)
		return;
	set_check(&packet, layout->proto, right + 1);
	assert_int_equal(redirected_check(&finisher, &packet, layout->proto), (__be16)(right + 1));
}

static void check_lengths(__u8 family, __u8 proto)
{
	__u32 header = (family == 6 ? 40 : 20) + (proto == IPPROTO_TCP ? 32 : 8);

	for (__u32 payload = 0; payload <= 1500 - header; payload++) {
		struct packet_layout layout = {
			.family = family,
			.proto = proto,
			.flags = PACKET_DATA,
			.sport = 40000 + payload,
			.dport = 443,
			.seq = payload * 2654435761u,
			.payload = payload,
			.fill = payload * 37 + 1,
			.padding = payload % 5,
			.tags = payload % 3 ? "" : "q",
			.ip_options = payload % 7 ? 0 : 12,
			.chain = payload % 6 ? "" : "hd",
		};

		check_one(&layout);
	}
}

static void test_finished_at_every_length(void **state)
{
	(void)state;
	check_lengths(4, IPPROTO_TCP);
	check_lengths(4, IPPROTO_UDP);
	check_lengths(6, IPPROTO_TCP);
	check_lengths(6, IPPROTO_UDP);
}

/* A computed 0 is sent as 0xffff by UDP, and as it is by TCP. */
static void check_zero(__u8 family, __u8 proto, __be16 expected)
{
	struct packet_layout layout = {
		.family = family, .proto = proto, .flags = PACKET_DATA, .payload = 20};
	struct packet packet;
	__be16 check;

	packet_build(&packet, &layout);
	memcpy(&check, packet_checksum_field(&packet, proto), sizeof(check));
	/* As the source port, the checksum makes up for itself. */
	memcpy(packet.bytes + packet.l4, &check, sizeof(check));
	assert_int_equal(packet_checksum(&packet, proto), expected);
	set_check(&packet, proto, packet_partial_sum(&packet, proto));
	assert_int_equal(redirected_check(&finisher, &packet, proto), expected);
}

static void test_sums_of_zero(void **state)
{
	(void)state;
	check_zero(4, IPPROTO_UDP, 0xffff);
	check_zero(6, IPPROTO_UDP, 0xffff);
	check_zero(4, IPPROTO_TCP, 0);
	check_zero(6, IPPROTO_TCP, 0);
}

/* UDP without a checksum may be a tunnel, with an unfinished one inside. */
static void test_absent_checksum(void **state)
{
	struct packet_layout layout = {.family = 4, .proto = IPPROTO_UDP, .payload = 33};
	struct packet packet;

	(void)state;
	packet_build(&packet, &layout);
	set_check(&packet, IPPROTO_UDP, 0);
	assert_handed_over(&finisher, &packet);
	layout.family = 6;
	packet_build(&packet, &layout);
	set_check(&packet, IPPROTO_UDP, 0);
	assert_handed_over(&finisher, &packet);
}

/* What has no such checksum at that place, or not alone. */
static void test_others_are_handed_over(void **state)
{
	static const struct packet_layout layouts[] = {
		{.family = 4, .proto = IPPROTO_TCP, .more = true, .payload = 64},
		{.family = 4, .proto = IPPROTO_UDP, .fragment = 5, .payload = 64},
		{.family = 6, .proto = IPPROTO_TCP, .more = true, .payload = 64},
		{.family = 6, .proto = IPPROTO_UDP, .fragment = 5, .payload = 64},
	};
	static const __u8 others[] = {IPPROTO_ICMP, IPPROTO_SCTP, IPPROTO_DCCP, IPPROTO_UDPLITE,
				      IPPROTO_GRE};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		__u8 proto = layouts[i].proto;
		struct packet packet;

		packet_build(&packet, &layouts[i]);
		set_check(&packet, proto, packet_partial_sum(&packet, proto));
		assert_handed_over(&finisher, &packet);
	}
	for (size_t i = 0; i < sizeof(others); i++) {
		struct packet_layout layout = {.family = 4, .proto = others[i], .payload = 50};
		struct packet packet;

		packet_build(&packet, &layout);
		assert_handed_over(&finisher, &packet);
	}
}

/* A jumbo frame in several buffers cannot be summed here. */
static void test_too_long_to_finish(void **state)
{
	struct way way = {.rule = "redirect target", .config = {.partial_sums = 1, .frags = 1}};
	struct packet_layout layout = {.family = 4, .proto = IPPROTO_UDP, .payload = 8000};
	struct packet packet;
	struct xdp_result r;
	struct xdp_run run;

	(void)state;
	open_way(&run, &way);
	packet_build(&packet, &layout);
	xdp_run_frame(&run, &packet, &r);
	assert_int_equal(r.code, XDP_REDIRECT);
	assert_memory_equal(r.packet.bytes, packet.bytes, packet.length);
	set_check(&packet, IPPROTO_UDP, packet_partial_sum(&packet, IPPROTO_UDP));
	assert_handed_over(&run, &packet);
	xdp_run_close(&run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_by_devmap),
		cmocka_unit_test(test_no_devmap_entry),
		cmocka_unit_test(test_by_tc),
		cmocka_unit_test(test_not_from_the_target_itself),
		cmocka_unit_test(test_only_from_the_named_device),
		cmocka_unit_test(test_finished_at_every_length),
		cmocka_unit_test(test_sums_of_zero),
		cmocka_unit_test(test_absent_checksum),
		cmocka_unit_test(test_others_are_handed_over),
		cmocka_unit_test(test_too_long_to_finish),
	};

	xdp_run_prepare();
	return cmocka_run_group_tests_name("XDP redirect", tests, setup, teardown);
}
