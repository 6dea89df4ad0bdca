/* SPDX-License-Identifier: GPL-2.0 */
/* Loads weir's XDP program with rules, compiled as `weir rule` compiles them, but pins nothing. */
#ifndef WEIR_BENCH_WEIR_RULES_H
#define WEIR_BENCH_WEIR_RULES_H

#include "prefixes.h"
#include "xdp/abi.h"
#include "weir_xdp.skel.h"

struct weir_setup {
	const char *const *rules;	/* as behind `weir rule add`, up to a NULL; or NULL */
	const struct prefix_list *list; /* before them, a drop rule for these sources; or NULL */
	__u8 list_family;		/* 4, or 6 as prefix_to_ip6() has it */
	bool veth;			/* the device is veth: checksums may be unfinished */
};

/* Redirects go to live_exit(), whatever the device's name. 0 or < 0 with a fail() line. */
int weir_load(struct weir_xdp_bpf **skel, const struct weir_setup *setup);

#endif
