// SPDX-License-Identifier: GPL-2.0
/* --decap: tunnels to this host are unpacked, and what is no tunnel of ours is left as it is. */
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

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cmocka.h>

#include "tests/balance_run.h"
#include "weir_xdp.skel.h"

#define HERE4	  "203.0.113.9"
#define HERE6	  "2001:db8:9::9"
#define MUTATIONS 100000
#define CE	  3
#define DROP	  4 /* among codepoints */

static struct xdp_run run;

/* ---- addresses ---- */

static void put_address(struct weir_local_address *to, const char *text)
{
	struct address a = test_address(text);
	__be32 word[4];

	memcpy(word, a.byte, sizeof(word));
	*to = (struct weir_local_address){
		.family = a.family,
		.high = (__u64)ntohl(word[0]) << 32 | (a.family == 6 ? ntohl(word[1]) : 0),
		.low = a.family == 6 ? (__u64)ntohl(word[2]) << 32 | ntohl(word[3]) : 0,
	};
}

static void set_local(struct xdp_run *to, const struct weir_local_addresses *local)
{
	balance_run_write(bpf_map__fd(to->skel->maps.local_addresses), 0, local);
}

static void set_usual(struct xdp_run *to)
{
	struct weir_local_addresses local = {.count = 3};

	put_address(&local.address[0], "127.0.0.1");
	put_address(&local.address[1], HERE4);
	put_address(&local.address[2], HERE6);
	set_local(to, &local);
}

static void open_run(struct xdp_run *to, const struct weir_xdp_config *more,
		     const struct rule_set *set, const struct table_names *names)
{
	struct weir_xdp_config config = *more;

	config.ifindex = TEST_DEVICE;
	config.decap = 1;
	xdp_run_open_balance(to, &config, set, names, NULL);
	set_usual(to);
}

static int setup(void **state)
{
	struct weir_xdp_config config = {.ethernet = 1};

	(void)state;
	open_run(&run, &config, NULL, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	xdp_run_close(&run);
	return 0;
}

/* ---- packets ---- */

struct tunnel {
	struct packet_layout outer; /* family, tags, options, chain, padding... */
	struct packet_layout inner;
};

/* Both packets as they are, the inner one bare, and the frame with one in the other. */
struct packed {
	struct packet inner;
	struct packet frame;
};

static void set_addresses(struct packet *packet)
{
	for (int i = 0; i < 12; i++)
		packet->bytes[i] = 0x10 + i;
}

static void pack(struct packed *p, const struct tunnel *t)
{
	struct packet_layout outer = t->outer, inner = t->inner;

	inner.bare = true;
	packet_build(&p->inner, &inner);
	outer.payload = p->inner.length;
	if (!outer.proto)
		outer.proto = inner.family == 4 ? IPPROTO_IPIP : IPPROTO_IPV6;
	if (!outer.destination)
		outer.destination = outer.family == 4 ? HERE4 : HERE6;
	packet_build(&p->frame, &outer);
	memcpy(p->frame.bytes + p->frame.l4, p->inner.bytes, p->inner.length);
	if (!outer.bare)
		set_addresses(&p->frame);
}

static struct tunnel tunnel_of(__u8 outer, __u8 inner)
{
	return (struct tunnel){
		.outer = {.family = outer},
		.inner = {.family = inner,
			  .proto = IPPROTO_TCP,
			  .flags = PACKET_DATA,
			  .sport = 1000,
			  .dport = 80,
			  .payload = 33,
			  .fill = 0x5a},
	};
}

static void set_ecn(struct packet *packet, __u32 l3, __u8 ecn)
{
	__u8 *ip = packet->bytes + l3;

	if (ip[0] >> 4 == 4)
		ip[1] = (ip[1] & ~3) | ecn;
	else
		ip[1] = (ip[1] & ~0x30) | ecn << 4;
}

static __u8 ecn_of(const __u8 *ip)
{
	return ip[0] >> 4 == 4 ? ip[1] & 3 : ip[1] >> 4 & 3;
}

static void sum_ip4(__u8 *ip)
{
	__u32 sum = 0;

	memset(ip + 10, 0, 2);
	for (int i = 0; i < (ip[0] & 0xf) * 4; i += 2)
		sum += ip[i] << 8 | ip[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~((sum & 0xffff) + (sum >> 16));
	ip[10] = sum >> 8;
	ip[11] = sum;
}

/* ---- what should come out ---- */

static void cut_out(struct packet *want, const struct packet *frame, __u32 l3, __u32 l4)
{
	__be16 type = htons(frame->bytes[l4] >> 4 == 6 ? ETH_P_IPV6 : ETH_P_IP);

	memset(want, 0, sizeof(*want));
	memcpy(want->bytes, frame->bytes, l3);
	if (l3)
		memcpy(want->bytes + l3 - 2, &type, sizeof(type));
	memcpy(want->bytes + l3, frame->bytes + l4, frame->length - l4);
	want->length = frame->length - (l4 - l3);
}

static __u64 decapsulated(const struct xdp_result *r)
{
	return r->counters.decapsulated.packets;
}

static void check_same(const struct xdp_result *r, const struct packet *want)
{
	assert_int_equal(r->code, XDP_PASS);
	assert_int_equal(r->packet.length, want->length);
	assert_memory_equal(r->packet.bytes, want->bytes, want->length);
}

static void check_unpacked(const struct packed *p, enum weir_class class)
{
	struct xdp_result r;
	struct packet want;

	cut_out(&want, &p->frame, p->frame.l3, p->frame.l4);
	xdp_run_frame(&run, &p->frame, &r);
	check_same(&r, &want);
	assert_int_equal(decapsulated(&r), 1);
	assert_int_equal(r.counters.decapsulated.bytes, p->frame.length);
	r.counters.decapsulated = (struct weir_counter){};
	assert_true(xdp_run_counted_only(&r.counters, WEIR_PASS, class, WEIR_REASONS, want.length));
}

static void check_left(struct xdp_run *by, const struct packed *p)
{
	struct xdp_result r;

	xdp_run_frame(by, &p->frame, &r);
	check_same(&r, &p->frame);
	assert_int_equal(decapsulated(&r), 0);
}

static void check_bad(const struct packed *p)
{
	struct xdp_result r;

	xdp_run_frame(&run, &p->frame, &r);
	assert_int_equal(r.code, XDP_DROP);
	assert_int_equal(decapsulated(&r), 0);
	assert_true(xdp_run_counted_only(&r.counters, WEIR_DROP,
					 p->frame.bytes[p->frame.l3] >> 4 == 4 ? WEIR_OTHER4
									       : WEIR_OTHER6,
					 WEIR_BY_BAD_TUNNEL, p->frame.length));
}

/* ---- tests ---- */

static void check_shape(__u8 outer, __u8 inner, const char *tags)
{
	static const char *const chains[] = {"", "h", "d", "hrd", "D", "f", "hDrdhd"};
	static const __u8 options[] = {0, 4, 8, 12, 20, 36, 40};
	static const __u32 payloads[] = {0, 1, 6, 100, 1400};
	struct packed p;

	for (int i = 0; i < 7; i++)
		for (int j = 0; j < 5; j++) {
			struct tunnel t = tunnel_of(outer, inner);

			t.outer.tags = tags;
			t.outer.chain = chains[i];
			t.outer.ip_options = options[i];
			t.outer.padding = j % 2 * 9;
			t.inner.payload = payloads[j];
			t.inner.padding = j % 3; /* outer longer than inner */
			t.inner.chain = i % 2 ? "hd" : "";
			t.inner.ip_options = i % 3 * 4;
			pack(&p, &t);
			check_unpacked(&p, inner == 4 ? WEIR_TCP4 : WEIR_TCP6);
			t.inner.proto = IPPROTO_UDP;
			pack(&p, &t);
			check_unpacked(&p, inner == 4 ? WEIR_UDP4 : WEIR_UDP6);
		}
}

static void test_every_shape(void **state)
{
	static const char *const tags[] = {"", "q", "aq"};

	(void)state;
	for (__u8 outer = 4; outer <= 6; outer += 2)
		for (__u8 inner = 4; inner <= 6; inner += 2)
			for (int i = 0; i < 3; i++)
				check_shape(outer, inner, tags[i]);
}

/* The smallest: an IP header with nothing behind it, and a fragment of the inner packet. */
static void test_inner_of_any_kind(void **state)
{
	struct packed p;

	(void)state;
	for (__u8 outer = 4; outer <= 6; outer += 2) {
		struct tunnel t = tunnel_of(outer, 4);

		t.inner.proto = IPPROTO_NONE;
		t.inner.payload = 0;
		pack(&p, &t);
		check_unpacked(&p, WEIR_OTHER4);
		t.inner.family = 6;
		pack(&p, &t);
		check_unpacked(&p, WEIR_OTHER6);
		t.inner.proto = IPPROTO_UDP;
		t.inner.fragment = 3;
		pack(&p, &t);
		check_unpacked(&p, WEIR_FRAGMENT6);
		t.inner.family = 4;
		pack(&p, &t);
		check_unpacked(&p, WEIR_FRAGMENT4);
		/* What is in the tunnel is looked at no further than its own length. */
		t.inner.fragment = 0;
		t.inner.proto = IPPROTO_TCP;
		t.inner.payload = 0;
		pack(&p, &t);
		p.frame.bytes[p.frame.l4 + 3] = 30;
		check_unpacked(&p, WEIR_MALFORMED);
	}
}

/* RFC 6040, figure 4: rows inner, columns outer, of Not-ECT, ECT(1), ECT(0), CE. */
static const __u8 merged[4][4] = {
	{0, 0, 0, DROP},
	{1, 1, 1, CE},
	{2, 1, 2, CE},
	{CE, CE, CE, CE},
};

static void check_ecn(__u8 outer, __u8 inner, __u8 o, __u8 i)
{
	struct tunnel t = tunnel_of(outer, inner);
	struct packet want;
	struct xdp_result r;
	struct packed p;

	for (int class = 0; class < 64; class += 9) {
		pack(&p, &t);
		p.frame.bytes[p.frame.l4 + 1] |= inner == 4 ? class << 2 : class & 0xf;
		set_ecn(&p.frame, p.frame.l3, o);
		set_ecn(&p.frame, p.frame.l4, i);
		if (outer == 4)
			sum_ip4(p.frame.bytes + p.frame.l3);
		if (inner == 4)
			sum_ip4(p.frame.bytes + p.frame.l4);
		if (merged[i][o] == DROP) {
			check_bad(&p);
			continue;
		}
		cut_out(&want, &p.frame, p.frame.l3, p.frame.l4);
		set_ecn(&want, p.frame.l3, merged[i][o]);
		if (inner == 4)
			sum_ip4(want.bytes + p.frame.l3);
		xdp_run_frame(&run, &p.frame, &r);
		check_same(&r, &want);
	}
}

static void test_ecn(void **state)
{
	(void)state;
	for (__u8 outer = 4; outer <= 6; outer += 2)
		for (__u8 inner = 4; inner <= 6; inner += 2)
			for (int o = 0; o < 4; o++)
				for (int i = 0; i < 4; i++)
					check_ecn(outer, inner, o, i);
}

static void test_only_for_this_host(void **state)
{
	struct weir_local_addresses local = {.count = WEIR_LOCAL_ADDRESSES};
	struct packed p;

	(void)state;
	for (__u8 outer = 4; outer <= 6; outer += 2) {
		struct tunnel t = tunnel_of(outer, 4);

		t.outer.destination = outer == 4 ? "203.0.113.8" : "2001:db8:9::8";
		pack(&p, &t);
		check_left(&run, &p);
		/* The bits of this host's IPv4 address, and the other way round. */
		t.outer.destination = outer == 4 ? "32.1.13.184" : "cb00:7109::";
		pack(&p, &t);
		check_left(&run, &p);
		t.outer.destination = NULL;
		pack(&p, &t);
		check_unpacked(&p, WEIR_TCP4);
		memset(local.address, 0, sizeof(local.address));
		put_address(&local.address[WEIR_LOCAL_ADDRESSES - 1], outer == 4 ? HERE4 : HERE6);
		set_local(&run, &local);
		check_unpacked(&p, WEIR_TCP4);
		local.count--;
		set_local(&run, &local);
		check_left(&run, &p);
		local.count = 0;
		set_local(&run, &local);
		check_left(&run, &p);
		local.count = WEIR_LOCAL_ADDRESSES;
		set_usual(&run);
	}
}

static void test_fragments_and_others(void **state)
{
	static const __u8 others[] = {IPPROTO_GRE, IPPROTO_UDP, IPPROTO_TCP, IPPROTO_ESP, 0xff};
	struct packed p;

	(void)state;
	for (__u8 outer = 4; outer <= 6; outer += 2) {
		struct tunnel t = tunnel_of(outer, 4);

		t.outer.more = true;
		pack(&p, &t);
		check_left(&run, &p);
		t.outer.fragment = 2;
		pack(&p, &t);
		check_left(&run, &p);
		t.outer.more = false;
		pack(&p, &t);
		check_left(&run, &p);
		t.outer.fragment = 0;
		for (size_t i = 0; i < sizeof(others); i++) {
			t.outer.proto = others[i];
			pack(&p, &t);
			check_left(&run, &p);
		}
	}
}

static void spoil(const struct packed *p, __u32 at, __u8 value)
{
	struct packed bad = *p;

	bad.frame.bytes[p->frame.l4 + at] = value;
	check_bad(&bad);
}

static void test_no_packet_inside(void **state)
{
	struct packed p;

	(void)state;
	for (__u8 outer = 4; outer <= 6; outer += 2)
		for (__u8 inner = 4; inner <= 6; inner += 2) {
			struct tunnel t = tunnel_of(outer, inner);

			/* Padding behind the outer packet does not belong to the inner one. */
			t.outer.padding = 64;
			pack(&p, &t);
			spoil(&p, 0, inner == 4 ? 0x65 : 0x40); /* version */
			spoil(&p, 0, inner == 4 ? 0x35 : 0x70);
			spoil(&p, inner == 4 ? 3 : 5, p.inner.bytes[inner == 4 ? 3 : 5] + 1);
			spoil(&p, inner == 4 ? 2 : 4, 0x40);
			if (inner == 4) {
				spoil(&p, 0, 0x44);
				spoil(&p, 3, 19);
				spoil(&p, 3, 0);
			}
			/* The other family's number. */
			t.outer.proto = inner == 4 ? IPPROTO_IPV6 : IPPROTO_IPIP;
			pack(&p, &t);
			check_bad(&p);
		}
}

static void test_truncated(void **state)
{
	(void)state;
	for (__u8 outer = 4; outer <= 6; outer += 2)
		for (__u8 inner = 4; inner <= 6; inner += 2) {
			__u32 header = inner == 4 ? 20 : 40;
			struct tunnel t = tunnel_of(outer, inner);
			struct packed p;

			for (__u32 left = 0; left < header; left++) {
				__u32 length = left + (outer == 4 ? 20 : 0);

				pack(&p, &t);
				p.frame.bytes[p.frame.l3 + (outer == 4 ? 3 : 5)] = length;
				p.frame.bytes[p.frame.l3 + (outer == 4 ? 2 : 4)] = 0;
				/* Length 0 means as much as there is. */
				p.frame.length = p.frame.l4 + left;
				check_bad(&p);
			}
		}
}

/* ---- with the rest of the pipeline ---- */

static void test_rules_see_the_inner_packet(void **state)
{
	static const char *const texts[] = {"drop src 10.7.7.7 proto tcp dport 80"};
	static const char *const outer_texts[] = {"drop dst " HERE4};
	struct weir_xdp_config config = {.ethernet = 1};
	struct tunnel t = tunnel_of(4, 4);
	struct table_names names = {};
	struct rule_set set;
	struct xdp_result r;
	struct xdp_run other;
	struct packed p;

	(void)state;
	t.inner.source = "10.7.7.7";
	pack(&p, &t);
	rules_from_text(&set, texts, 1);
	open_run(&other, &config, &set, &names);
	xdp_run_frame(&other, &p.frame, &r);
	assert_int_equal(r.code, XDP_DROP);
	assert_int_equal(r.counters.reason[WEIR_BY_RULE].packets, 1);
	assert_int_equal(decapsulated(&r), 1);
	xdp_run_close(&other);
	rule_set_free(&set);
	rules_from_text(&set, outer_texts, 1);
	open_run(&other, &config, &set, &names);
	xdp_run_frame(&other, &p.frame, &r);
	assert_int_equal(r.code, XDP_PASS);
	xdp_run_close(&other);
	rule_set_free(&set);
}

static void test_services_see_the_inner_packet(void **state)
{
	struct balance services = {};
	struct balance_setup how = {.services = &services, .config.decap = 1};
	struct tunnel t = tunnel_of(6, 4);
	struct balance_run balance;
	struct weir_explanation e;
	struct packet want;
	struct xdp_result r;
	struct packed p;
	__u64 before;

	(void)state;
	test_service(&services, IPPROTO_TCP, PACKET_SERVER, 80, WEIR_DSR_L2);
	test_backend(&services, "10.0.0.1", 0, 1);
	balance_run_open(&balance, &how);
	set_usual(&balance.xdp);
	pack(&p, &t);
	cut_out(&want, &p.frame, p.frame.l3, p.frame.l4);
	balance_run_frame(&balance, &p.frame, &r);
	assert_int_equal(r.code, XDP_TX);
	assert_int_equal(r.packet.length, want.length);
	assert_memory_equal(r.packet.bytes + 12, want.bytes + 12, want.length - 12);
	before = balance_run_fingerprint(&balance);
	balance_run_explain(&balance, &p.frame, &r, &e);
	assert_int_equal(r.code, XDP_TX);
	assert_int_equal(e.backend, 1);
	assert_true(before == balance_run_fingerprint(&balance));
	balance_run_close(&balance);
	balance_free(&services);
}

/* tun: frames begin with an IP header. */
static void test_without_ethernet(void **state)
{
	struct weir_xdp_config config = {};
	struct xdp_run tun;
	struct packet want;
	struct xdp_result r;
	struct packed p;

	(void)state;
	open_run(&tun, &config, NULL, NULL);
	for (__u8 outer = 4; outer <= 6; outer += 2)
		for (__u8 inner = 4; inner <= 6; inner += 2)
			for (int empty = 0; empty < 2; empty++) {
				struct tunnel t = tunnel_of(outer, inner);

				t.outer.bare = true;
				t.inner.proto = empty ? IPPROTO_NONE : IPPROTO_TCP;
				t.inner.payload = empty ? 0 : 30;
				pack(&p, &t);
				cut_out(&want, &p.frame, 0, p.frame.l4);
				xdp_run_frame(&tun, &p.frame, &r);
				check_same(&r, &want);
			}
	xdp_run_close(&tun);
}

/* ---- mutations against a plain model ---- */

enum outcome {
	LEFT,
	BAD,
	UNPACKED,
};

static bool is_extension(__u8 proto)
{
	return proto == 0 || proto == 43 || proto == 44 || proto == 51 || proto == 60 ||
	       proto == 135;
}

static enum outcome model_inner(const struct packet *f, __u32 l3, __u32 l4, __u32 length,
				__u8 proto, __u8 outer, struct packet *want)
{
	const __u8 *ip = f->bytes + l4;
	__u32 total = ip[2] << 8 | ip[3], header = (ip[0] & 15) * 4;
	__u8 ecn;

	if (proto == IPPROTO_IPIP &&
	    (length < 20 || ip[0] >> 4 != 4 || header < 20 || total < header || total > length))
		return BAD;
	if (proto == IPPROTO_IPV6 &&
	    (length < 40 || ip[0] >> 4 != 6 || 40u + (ip[4] << 8 | ip[5]) > length))
		return BAD;
	ecn = merged[ecn_of(ip)][outer];
	if (ecn == DROP)
		return BAD;
	cut_out(want, f, l3, l4);
	if (ecn != ecn_of(ip)) {
		__u32 was = ip[0] << 8 | ip[1], sum;

		set_ecn(want, l3, ecn);
		if (proto == IPPROTO_IPV6)
			return UNPACKED;
		/* RFC 1624: it may have been wrong before. */
		sum = (__u16) ~(ip[10] << 8 | ip[11]) + (__u16)~was +
		      (want->bytes[l3] << 8 | want->bytes[l3 + 1]);
		sum = (sum & 0xffff) + (sum >> 16);
		sum = ~((sum & 0xffff) + (sum >> 16));
		want->bytes[l3 + 10] = sum >> 8;
		want->bytes[l3 + 11] = sum;
	}
	return UNPACKED;
}

static enum outcome model4(const struct packet *f, __u32 l3, struct packet *want)
{
	__u32 left = f->length - l3, header, total;
	const __u8 *ip = f->bytes + l3;
	__u8 here[4];

	header = (ip[0] & 15) * 4;
	total = ip[2] << 8 | ip[3];
	if (!total)
		total = left;
	inet_pton(AF_INET, HERE4, here);
	if (ip[0] >> 4 != 4 || header < 20 || header > left || total < header || total > left)
		return LEFT;
	if ((ip[9] != IPPROTO_IPIP && ip[9] != IPPROTO_IPV6) || (ip[6] & 0x3f) || ip[7] ||
	    memcmp(ip + 16, here, 4))
		return LEFT;
	return model_inner(f, l3, l3 + header, total - header, ip[9], ecn_of(ip), want);
}

static enum outcome model6(const struct packet *f, __u32 l3, struct packet *want)
{
	const __u8 *ip = f->bytes + l3;
	__u32 end, at = l3 + 40, payload = ip[4] << 8 | ip[5];
	__u8 proto = ip[6], here[16];

	end = payload ? at + payload : f->length;
	inet_pton(AF_INET6, HERE6, here);
	if (ip[0] >> 4 != 6 || end > f->length || memcmp(ip + 24, here, 16))
		return LEFT;
	for (int i = 0; i < 6 && is_extension(proto); i++) {
		const __u8 *ext = f->bytes + at;

		if (at + 8 > f->length)
			return LEFT;
		if (proto == IPPROTO_FRAGMENT && (ext[2] || ext[3] & 0xf9))
			return LEFT;
		at += proto == IPPROTO_FRAGMENT ? 8u
		      : proto == IPPROTO_AH	? (ext[1] + 2) * 4u
						: (ext[1] + 1) * 8u;
		proto = ext[0];
		if (at > end)
			return LEFT;
	}
	if (proto != IPPROTO_IPIP && proto != IPPROTO_IPV6)
		return LEFT;
	return model_inner(f, l3, at, end - at, proto, ecn_of(ip), want);
}

static enum outcome model(const struct packet *f, struct packet *want)
{
	__u32 at = 12;
	__u16 type;

	for (int tags = 0; tags < 3; tags++, at += 4) {
		type = f->bytes[at] << 8 | f->bytes[at + 1];
		if (tags == 2 || (type != ETH_P_8021Q && type != ETH_P_8021AD))
			break;
	}
	if (type == ETH_P_IP)
		return model4(f, at + 2, want);
	return type == ETH_P_IPV6 ? model6(f, at + 2, want) : LEFT;
}

static void mutate(struct packet *packet, __u32 most)
{
	static const __u8 likely[] = {0,  1,	4,    41,   44,	  60,	0x45, 0x60,
				      20, 0x20, 0x40, 0x81, 0xff, 0x46, 0x10, 0x30};
	int changes = random() % 4;

	for (int i = 0; i < changes; i++) {
		__u32 at = random() % most;

		packet->bytes[at] = random() % 2 ? likely[random() % 16]
						 : packet->bytes[at] ^ 1 << random() % 8;
	}
	if (!(random() % 8))
		packet->length -= random() % 60;
}

static void test_mutations(void **state)
{
	static const char *const tags[] = {"", "q", "aq"}, *const chains[] = {"", "h", "f", "da"};
	int seen[3] = {};

	(void)state;
	srandom(2);
	for (int i = 0; i < MUTATIONS; i++) {
		struct tunnel t = tunnel_of(random() % 2 ? 4 : 6, random() % 2 ? 4 : 6);
		struct packet want;
		struct xdp_result r;
		struct packed p;
		enum outcome outcome;

		t.outer.tags = tags[random() % 3];
		t.outer.chain = chains[random() % 4];
		t.outer.ip_options = random() % 3 * 4;
		t.outer.padding = random() % 3 * 4;
		pack(&p, &t);
		mutate(&p.frame, p.frame.l4 + 44);
		outcome = model(&p.frame, &want);
		seen[outcome]++;
		xdp_run_frame(&run, &p.frame, &r);
		assert_int_equal(r.code, outcome == BAD ? XDP_DROP : XDP_PASS);
		assert_int_equal(decapsulated(&r), outcome == UNPACKED);
		if (outcome != BAD)
			check_same(&r, outcome == LEFT ? &p.frame : &want);
	}
	for (int i = 0; i < 3; i++)
		assert_true(seen[i] > MUTATIONS / 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_shape),
		cmocka_unit_test(test_inner_of_any_kind),
		cmocka_unit_test(test_ecn),
		cmocka_unit_test(test_only_for_this_host),
		cmocka_unit_test(test_fragments_and_others),
		cmocka_unit_test(test_no_packet_inside),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_rules_see_the_inner_packet),
		cmocka_unit_test(test_services_see_the_inner_packet),
		cmocka_unit_test(test_without_ethernet),
		cmocka_unit_test(test_mutations),
	};

	xdp_run_prepare();
	return cmocka_run_group_tests_name("tunnels unpacked", tests, setup, teardown);
}
