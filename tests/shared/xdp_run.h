/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Runs frames through the XDP program with BPF_PROG_TEST_RUN and reads what it counted. All
 * functions end the process with a line on stderr when the kernel refuses what they ask for.
 */
#ifndef WEIR_TESTS_XDP_RUN_H
#define WEIR_TESTS_XDP_RUN_H

#include "loader/balance/maps.h"
#include "loader/rules/rule.h"
#include "loader/rules/table.h"
#include "packets.h"
#include "xdp/abi.h"

struct xdp_run {
	struct weir_xdp_bpf *skel;
	int program;
	int link;
	int device;
};

/* What one frame did. */
struct xdp_result {
	int code;	       /* XDP_* */
	struct weir_meta meta; /* in front of the frame; zero: nothing */
	struct packet packet;  /* the frame as it came out */
	struct weir_device_counters counters;
};

/* Enters a network namespace of the process's own: no test sees or touches a real device. */
void xdp_run_prepare(void);

/* Loads the program with these switches. With a set of rules they are compiled, and the fields,
 * actions and size of their table override `config`, as they do at attach. */
void xdp_run_open(struct xdp_run *run, const struct weir_xdp_config *config,
		  const struct rule_set *set, const struct table_names *names);
/* The same with the balancer's maps; NULL: without. */
void xdp_run_open_balance(struct xdp_run *run, const struct weir_xdp_config *config,
			  const struct rule_set *set, const struct table_names *names,
			  const struct balance_maps *maps);
/* Another copy on all maps of `live`, with config.explain. */
void xdp_run_open_explain(struct xdp_run *run, const struct xdp_run *live);
void xdp_run_close(struct xdp_run *run);

/* One frame, with all counters of the device at 0 before it. */
void xdp_run_frame(struct xdp_run *run, const struct packet *packet, struct xdp_result *result);
/* One frame; the counters are left alone and those of `result` are 0. */
void xdp_run_only(struct xdp_run *run, const struct packet *packet, struct xdp_result *result);
/* The same frame many times, as fast as the kernel can; the counters are added up. */
void xdp_run_repeat(struct xdp_run *run, const struct packet *packet, unsigned int times,
		    struct weir_device_counters *counters);

struct weir_counter xdp_run_rule(const struct xdp_run *run, __u32 slot);
/* Buckets of limits that hold a source; and all of them, brought over from another program. */
size_t xdp_run_buckets(const struct xdp_run *run);
void xdp_run_copy_buckets(struct xdp_run *to, const struct xdp_run *from);
bool xdp_run_redirects(const struct xdp_run *run);
/* The loopback device of the namespace takes this place in the devmap. */
void xdp_run_redirect_target(struct xdp_run *run, __u32 target);

/* Whether the only packet counted is this one, in this cell and, unless it is WEIR_REASONS, for
 * this reason. */
bool xdp_run_counted_only(const struct weir_device_counters *counters, enum weir_verdict verdict,
			  enum weir_class class, enum weir_reason reason, __u32 bytes);

/* A set of rules from the words of `rule add`; free it with rule_set_free(). */
void rules_from_text(struct rule_set *set, const char *const *text, size_t count);

#endif
