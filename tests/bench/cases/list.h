/* SPDX-License-Identifier: GPL-2.0 */
/* Cases of address lists, the same packets for weir and its peer. */
#ifndef WEIR_BENCH_CASES_LIST_H
#define WEIR_BENCH_CASES_LIST_H

#include "tests/bench/bench.h"
#include "prefixes.h"

/* A prefix of an IPv4 list stands for one of IPv6 too: hosts become 2001:db8:HHHH:HHHH::1/128,
 * others lie in the same 32 bits. */
void prefix_to_ip6(const struct ip4_prefix *prefix, __be32 address[4], __u32 *bits);

struct list_case {
	const char *name, *peer;
	const struct bpf_program *program;
	__u32 verdict;
	const struct prefix_list *list;
	__u32 (*draw)(const struct prefix_list *list, __u64 *seed);
	__u8 family;
	bool random; /* each packet from another address */
	bool live;   /* dropped frames on a veth device */
	__u64 (*counted)(const void *owner);
	const void *owner;
};

int add_list_case(struct bench *bench, const struct list_case *listed);

#endif
