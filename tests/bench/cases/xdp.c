// SPDX-License-Identifier: GPL-2.0
/* weir's XDP program: counting alone, block lists, general rules, limits, redirects. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/bench.h"
#include "filter.h"
#include "list.h"
#include "loader/program/xdp_program.h"
#include "loader/base/error.h"
#include "weir_rules.h"

#define LIST_SEED 0xb10c

static const struct packet_layout tcp4 = {
	.family = 4,
	.proto = IPPROTO_TCP,
	.flags = PACKET_DATA,
	.sport = 40000,
	.dport = 443,
	.payload = 34,
};

static struct bench_case *add_case(struct bench *bench, const char *name,
				   const struct packet_layout *layout, const struct cell *cell)
{
	struct bench_case *c = bench_add(bench, "XDP", name);

	packet_build(&c->packet, layout);
	c->counted = cell_packets;
	c->owner = cell;
	return c;
}

static int add_counting(struct bench *bench)
{
	static const struct {
		const char *name;
		__u8 family, proto;
		enum weir_class class;
	} kinds[] = {
		{"weir, counting only: TCP, IPv4", 4, IPPROTO_TCP, WEIR_TCP4},
		{"weir, counting only: TCP, IPv6", 6, IPPROTO_TCP, WEIR_TCP6},
		{"weir, counting only: UDP, IPv4", 4, IPPROTO_UDP, WEIR_UDP4},
	};
	struct weir_xdp_bpf *skel;
	struct bench_case *c;
	int err = weir_load(&skel, &(struct weir_setup){});

	for (size_t i = 0; !err && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct packet_layout layout = tcp4;

		layout.family = kinds[i].family;
		layout.proto = kinds[i].proto;
		c = add_case(bench, kinds[i].name, &layout,
			     cell_of(skel, WEIR_PASS, kinds[i].class));
		err = plain(c, xdp_program_of(skel), XDP_PASS);
	}
	if (err)
		return err;
	c = add_case(bench, "weir, counting only: passed, live on veth", &tcp4,
		     cell_of(skel, WEIR_PASS, WEIR_TCP4));
	return live_case(c, xdp_program_of(skel), "empty_pass", LIVE_AT_PROGRAM);
}

enum how {
	ONE_SOURCE,
	RANDOM_SOURCES,
	LIVE,
};

struct block_case {
	const char *name, *peer;
	__u32 (*draw)(const struct prefix_list *list, __u64 *seed);
	enum how how;
};

static int add_block_list(struct bench *bench, size_t prefixes, __u8 family,
			  const struct block_case *cases, int count)
{
	struct prefix_list *list = malloc(sizeof(*list));
	struct weir_xdp_bpf *skel;
	int err = 0;

	if (list)
		*list = prefixes_make(prefixes, false, LIST_SEED);
	if (!list || !list->prefix)
		return fail(-ENOMEM, "bench: out of memory");
	err = weir_load(&skel, &(struct weir_setup){.list = list, .list_family = family});
	for (int i = 0; !err && i < count; i++) {
		bool hit = cases[i].draw == prefixes_inside;

		err = add_list_case(bench,
				    &(struct list_case){
					    .name = cases[i].name,
					    .peer = cases[i].peer,
					    .program = xdp_program_of(skel),
					    .verdict = hit ? XDP_DROP : XDP_PASS,
					    .list = list,
					    .draw = cases[i].draw,
					    .family = family,
					    .random = cases[i].how == RANDOM_SOURCES,
					    .live = cases[i].how == LIVE,
					    .counted = cell_packets,
					    .owner = cell_of(skel, hit ? WEIR_DROP : WEIR_PASS,
							     family == 6 ? WEIR_TCP6 : WEIR_TCP4),
				    });
	}
	prefixes_free(list);
	free(list);
	return err;
}

static int add_block_lists(struct bench *bench)
{
	static const struct block_case of_10k[] = {
		{"weir, 10k prefixes: hit, one source", FILTER_HIT_ONE, prefixes_inside,
		 ONE_SOURCE},
		{"weir, 10k prefixes: hit, random sources", FILTER_HIT_MANY, prefixes_inside,
		 RANDOM_SOURCES},
		{"weir, 10k prefixes: miss, one source", FILTER_MISS_ONE, prefixes_close,
		 ONE_SOURCE},
		{"weir, 10k prefixes: miss, random sources", FILTER_MISS_MANY, prefixes_outside,
		 RANDOM_SOURCES},
		{"weir, 10k prefixes: miss, neighbours of hosts", FILTER_MISS_MANY, prefixes_close,
		 RANDOM_SOURCES},
		{"weir, 10k prefixes: hit, live on veth", FILTER_LIVE, prefixes_inside, LIVE},
	};
	static const struct block_case of_100k[] = {
		{"weir, 100k prefixes: hit, one source", FILTER_HIT_ONE, prefixes_inside,
		 ONE_SOURCE},
		{"weir, 100k prefixes: hit, random sources", FILTER_HIT_MANY, prefixes_inside,
		 RANDOM_SOURCES},
		{"weir, 100k prefixes: miss, one source", FILTER_MISS_ONE, prefixes_close,
		 ONE_SOURCE},
		{"weir, 100k prefixes: miss, random sources", FILTER_MISS_MANY, prefixes_outside,
		 RANDOM_SOURCES},
		{"weir, 100k prefixes: miss, neighbours of hosts", FILTER_MISS_MANY, prefixes_close,
		 RANDOM_SOURCES},
	};
	static const struct block_case of_10k_ip6[] = {
		{"weir, 10k IPv6 prefixes: hit, random sources", FILTER_HIT6_MANY, prefixes_inside,
		 RANDOM_SOURCES},
		{"weir, 10k IPv6 prefixes: miss, random sources", FILTER_MISS6_MANY,
		 prefixes_outside, RANDOM_SOURCES},
	};
	int err = add_block_list(bench, 10000, 4, of_10k, sizeof(of_10k) / sizeof(of_10k[0]));

	if (!err)
		err = add_block_list(bench, 100000, 4, of_100k,
				     sizeof(of_100k) / sizeof(of_100k[0]));
	if (!err)
		err = add_block_list(bench, 10000, 6, of_10k_ip6,
				     sizeof(of_10k_ip6) / sizeof(of_10k_ip6[0]));
	return err;
}

/* Addresses of 20.0.0.0/8, which no rule here names. */
static void draw_source20(void *from, __be32 address[4])
{
	__u64 *seed = from;

	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	address[0] = htonl(20u << 24 | *seed >> 40);
}

struct rule_case {
	const char *name, *peer;
	const char *const *rules;
	__u32 code;
	enum weir_verdict verdict;
	enum how how;
	bool veth;
};

/* The first packet of a source meets an empty bucket: that one is not measured. */
static int prime(const struct weir_xdp_bpf *skel, const struct packet *packet)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet->bytes,
		    .data_size_in = packet->length, .repeat = 1);

	return bpf_prog_test_run_opts(bpf_program__fd(xdp_program_of(skel)), &opts) ? -errno : 0;
}

static int add_rule_case(struct bench *bench, const struct rule_case *r)
{
	struct weir_xdp_bpf *skel;
	struct bench_case *c;
	__u64 seed = LIST_SEED;
	int err = weir_load(&skel, &(struct weir_setup){.rules = r->rules, .veth = r->veth});

	if (err)
		return err;
	c = add_case(bench, r->name, &tcp4, cell_of(skel, r->verdict, WEIR_TCP4));
	c->peer = r->peer;
	err = prime(skel, &c->packet);
	if (err)
		return fail(err, "%s: BPF_PROG_TEST_RUN: %s", r->name, strerror(-err));
	if (r->how == RANDOM_SOURCES)
		return vary_sources(c, xdp_program_of(skel), r->code, draw_source20, &seed);
	return plain(c, xdp_program_of(skel), r->code);
}

static int add_rules(struct bench *bench)
{
	static const char *const general[] = {
		"drop src 203.0.113.0/24 proto tcp dport 22",
		"drop src 10.0.0.0/8",
		"drop dst 192.0.2.128/25 proto udp",
		"drop proto tcp dport 23",
		"drop proto udp sport 19",
		"drop src 198.18.0.0/15 dst 192.0.2.0/24 proto tcp dport 8000-8999",
		"pass src 198.51.100.128/25",
		"drop proto tcp sport 0-1023 dport 1024-65535",
		"drop src 2001:db8:bad::/48",
		"drop src 198.51.100.0/26 proto tcp sport 1024-39999",
		NULL,
	};
	static const char *const wide[] = {"limit 100M/s burst 1000000", NULL};
	static const char *const narrow[] = {"limit 1/h burst 1", NULL};
	static const char *const away[] = {"redirect exit proto tcp dport 443", NULL};
	static const struct rule_case cases[] = {
		{"weir, 10 general rules: no match, one source", FILTER_ALL_MISS, general, XDP_PASS,
		 WEIR_PASS, ONE_SOURCE, false},
		{"weir, 10 general rules: no match, random sources", NULL, general, XDP_PASS,
		 WEIR_PASS, RANDOM_SOURCES, false},
		{"weir, limit: below the rate, one source", NULL, wide, XDP_PASS, WEIR_PASS,
		 ONE_SOURCE, false},
		{"weir, limit: below the rate, random sources", NULL, wide, XDP_PASS, WEIR_PASS,
		 RANDOM_SOURCES, false},
		{"weir, limit: above the rate, one source", NULL, narrow, XDP_DROP, WEIR_DROP,
		 ONE_SOURCE, false},
		{"weir, redirect rule: verdict", NULL, away, XDP_REDIRECT, WEIR_REDIRECT,
		 ONE_SOURCE, false},
		{"weir, redirect rule: verdict, checksum looked at (veth)", NULL, away,
		 XDP_REDIRECT, WEIR_REDIRECT, ONE_SOURCE, true},
	};
	struct weir_xdp_bpf *skel;
	struct bench_case *c;
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(cases) / sizeof(cases[0]); i++)
		err = add_rule_case(bench, &cases[i]);
	if (!err)
		err = weir_load(&skel, &(struct weir_setup){.rules = away, .veth = true});
	if (err)
		return err;
	c = add_case(bench, "weir, redirect rule: live from veth to veth", &tcp4,
		     cell_of(skel, WEIR_REDIRECT, WEIR_TCP4));
	return live_case(c, xdp_program_of(skel), "empty_redirect", LIVE_ELSEWHERE);
}

int add_weir_xdp(struct bench *bench)
{
	int err = add_counting(bench);

	if (!err)
		err = add_block_lists(bench);
	return err ? err : add_rules(bench);
}
