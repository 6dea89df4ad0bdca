// SPDX-License-Identifier: GPL-2.0
/* --decap: damaged tunnels, against a plain model. */
#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/shared/tunnels.h"

#define MUTATIONS 100000

static struct xdp_run run;

static int setup(void **state)
{
	struct weir_xdp_config config = {.ethernet = 1};

	(void)state;
	tunnel_open(&run, &config, NULL, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	xdp_run_close(&run);
	return 0;
}

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

static bool is_here(const __u8 *address, bool six)
{
	static const char *const here4[] = {TUNNEL_HERE4, PACKET_SERVER, "127.0.0.1"};
	static const char *const here6[] = {TUNNEL_HERE6, PACKET_SERVER6};
	__u8 here[16];

	for (int i = 0; i < (six ? 2 : 3); i++) {
		inet_pton(six ? AF_INET6 : AF_INET, six ? here6[i] : here4[i], here);
		if (!memcmp(here, address, six ? 16 : 4))
			return true;
	}
	return false;
}

static bool is_martian(const __u8 *a, bool six)
{
	__u8 zeros[15] = {};

	if (six)
		return a[0] == 0xff || (a[0] == 0xfe && (a[1] & 0xc0) == 0x80) ||
		       (!memcmp(a, zeros, 15) && a[15] <= 1);
	return !a[0] || a[0] == 127 || a[0] >= 224;
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
	if (!is_here(ip + (proto == IPPROTO_IPIP ? 16 : 24), proto == IPPROTO_IPV6))
		return LEFT;
	if (is_martian(ip + (proto == IPPROTO_IPIP ? 12 : 8), proto == IPPROTO_IPV6))
		return BAD;
	ecn = tunnel_merged_ecn[tunnel_ecn(ip)][outer];
	if (ecn == TUNNEL_DROP)
		return BAD;
	tunnel_cut_out(want, f, l3, l4);
	if (ecn != tunnel_ecn(ip)) {
		__u32 was = ip[0] << 8 | ip[1], sum;

		tunnel_set_ecn(want, l3, ecn);
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

	header = (ip[0] & 15) * 4;
	total = ip[2] << 8 | ip[3];
	if (!total)
		total = left;
	if (ip[0] >> 4 != 4 || header < 20 || header > left || total < header || total > left)
		return LEFT;
	if ((ip[9] != IPPROTO_IPIP && ip[9] != IPPROTO_IPV6) || (ip[6] & 0x3f) || ip[7] ||
	    !is_here(ip + 16, false))
		return LEFT;
	return model_inner(f, l3, l3 + header, total - header, ip[9], tunnel_ecn(ip), want);
}

static enum outcome model6(const struct packet *f, __u32 l3, struct packet *want)
{
	const __u8 *ip = f->bytes + l3;
	__u32 end, at = l3 + 40, payload = ip[4] << 8 | ip[5];
	__u8 proto = ip[6];

	end = payload ? at + payload : f->length;
	if (ip[0] >> 4 != 6 || end > f->length || !is_here(ip + 24, true))
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
	return model_inner(f, l3, at, end - at, proto, tunnel_ecn(ip), want);
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

static void assert_same(const struct xdp_result *r, const struct packet *want)
{
	assert_int_equal(r->packet.length, want->length);
	assert_memory_equal(r->packet.bytes, want->bytes, want->length);
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
		tunnel_pack(&p, &t);
		mutate(&p.frame, p.frame.l4 + 44);
		outcome = model(&p.frame, &want);
		seen[outcome]++;
		xdp_run_frame(&run, &p.frame, &r);
		assert_int_equal(r.code, outcome == BAD ? XDP_DROP : XDP_PASS);
		assert_int_equal(r.counters.decapsulated.packets, outcome == UNPACKED);
		if (outcome != BAD)
			assert_same(&r, outcome == LEFT ? &p.frame : &want);
	}
	for (int i = 0; i < 3; i++)
		assert_true(seen[i] > MUTATIONS / 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mutations),
	};

	xdp_run_prepare();
	return cmocka_run_group_tests_name("damaged tunnels", tests, setup, teardown);
}
