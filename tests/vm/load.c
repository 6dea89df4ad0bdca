// SPDX-License-Identifier: GPL-2.0
/*
 * Whether the running kernel's verifier accepts the programs under every kind of switches that
 * the loader sets. Verifiers differ: a bound that 6.12 follows may be lost on 6.1.
 */
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "sockops/abi.h"
#include "tc/abi.h"
#include "trace/abi/by.h"
#include "xdp/abi.h"

#include "weir_birth.skel.h"
#include "weir_shortcut.skel.h"
#include "weir_tc.skel.h"
#include "weir_tend.skel.h"
#include "loader/program/xdp_program.h"
#include "loader/balance/maps.h"
#include "loader/base/error.h"
#include "loader/sock/probe.h"
#include "loader/tcp/retransmit.h"
#include "loader/tcp/rtt.h"
#include "loader/tcp/tracers.h"
#include "loader/kernel/snapshot.h"

#define LOOPBACK   1
#define ALL_FIELDS ((1u << WEIR_FIELDS) - 1)
#define LOG_END	   1500 /* bytes of a verifier's log that say what it refuses */

struct xdp_case {
	const char *name;
	struct weir_xdp_config config;
};

struct tc_case {
	const char *name;
	struct weir_tc_config config;
};

static const struct xdp_case xdp_cases[] = {
	{"no rules", {.ethernet = 1, .table_bytes = 4096}},
	{"no rules, L3 device", {.table_bytes = 4096}},
	{"sources only", {.ethernet = 1, .table_bytes = 4096, .fields = 1u << WEIR_F_SRC}},
	{"ports only", {.ethernet = 1, .table_bytes = 4096, .fields = 1u << WEIR_F_DPORT}},
	{"all fields", {.ethernet = 1, .table_bytes = 4096, .fields = ALL_FIELDS}},
	{"all fields, large table",
	 {.ethernet = 1, .table_bytes = 64u << 20, .fields = ALL_FIELDS}},
	{"limits", {.ethernet = 1, .table_bytes = 4096, .fields = ALL_FIELDS, .limits = 1}},
	{"redirects", {.ethernet = 1, .table_bytes = 4096, .fields = ALL_FIELDS, .redirects = 1}},
	{"redirects by TC",
	 {.ethernet = 1, .table_bytes = 4096, .fields = ALL_FIELDS, .redirects = 1, .via_tc = 1}},
	{"redirects, unfinished checksums",
	 {.ethernet = 1,
	  .table_bytes = 4096,
	  .fields = ALL_FIELDS,
	  .redirects = 1,
	  .partial_sums = 1}},
	{"all switches",
	 {.ethernet = 1,
	  .table_bytes = 1u << 20,
	  .fields = ALL_FIELDS,
	  .limits = 1,
	  .redirects = 1,
	  .partial_sums = 1,
	  .frags = 1}},
	{"all switches, L3 device",
	 {.table_bytes = 1u << 20,
	  .fields = ALL_FIELDS,
	  .limits = 1,
	  .redirects = 1,
	  .partial_sums = 1,
	  .frags = 1}},
};

#define EVERY_MODE ((1u << WEIR_MODES) - 1)
#define DSR_MODES  (1u << WEIR_DSR_L2 | 1u << WEIR_DSR_IPIP)

/* What balances needs beside its modes. */
#define BALANCE	 .ethernet = 1, .table_bytes = 4096, .tick_shift = 8, .service_bytes = SERVICES
#define SERVICES 16384

static const struct xdp_case balance_cases[] = {
	{"nat", {BALANCE, .modes = 1u << WEIR_NAT}},
	{"dsr-l2", {BALANCE, .modes = 1u << WEIR_DSR_L2}},
	{"dsr-ipip", {BALANCE, .modes = 1u << WEIR_DSR_IPIP}},
	{"dsr-l2, common", {BALANCE, .modes = 1u << WEIR_DSR_L2, .common = 1}},
	{"dsr-ipip, common", {BALANCE, .modes = 1u << WEIR_DSR_IPIP, .common = 1}},
	{"dsr, common", {BALANCE, .modes = DSR_MODES, .common = 1}},
	{"dsr, common, no XDP_TX", {BALANCE, .modes = DSR_MODES, .common = 1, .no_tx = 1}},
	{"dsr, common, frags", {BALANCE, .modes = DSR_MODES, .common = 1, .frags = 1}},
	{"dsr, common, explained", {BALANCE, .modes = DSR_MODES, .common = 1, .explain = 1}},
	{"dsr, common, large table",
	 {.ethernet = 1,
	  .modes = DSR_MODES,
	  .tick_shift = 8,
	  .service_bytes = 64u << 20,
	  .common = 1}},
	{"all modes", {BALANCE, .modes = EVERY_MODE}},
	{"all modes, large table",
	 {.ethernet = 1, .modes = EVERY_MODE, .tick_shift = 8, .service_bytes = 64u << 20}},
	{"all modes by TC", {BALANCE, .modes = EVERY_MODE, .via_tc = 1}},
	{"all modes, unfinished checksums", {BALANCE, .modes = EVERY_MODE, .partial_sums = 1}},
	{"all modes, frags", {BALANCE, .modes = EVERY_MODE, .frags = 1}},
	{"all modes behind rules",
	 {BALANCE, .modes = EVERY_MODE, .fields = ALL_FIELDS, .limits = 1, .redirects = 1}},
	{"decap", {BALANCE, .decap = 1}},
	{"decap behind rules", {BALANCE, .decap = 1, .fields = ALL_FIELDS, .redirects = 1}},
	{"decap and all modes", {BALANCE, .decap = 1, .modes = EVERY_MODE}},
	{"all balancing",
	 {BALANCE, .modes = EVERY_MODE, .decap = 1, .fields = ALL_FIELDS, .limits = 1,
	  .redirects = 1, .partial_sums = 1, .frags = 1}},
	{"all balancing, explained",
	 {BALANCE, .modes = EVERY_MODE, .decap = 1, .fields = ALL_FIELDS, .limits = 1,
	  .redirects = 1, .partial_sums = 1, .frags = 1, .explain = 1}},
};

static const struct tc_case tc_cases[] = {
	{"handshakes", {.ethernet = 1, .handshakes = 1}},
	{"handshakes, L3 device", {.handshakes = 1}},
	{"redirects", {.ethernet = 1, .redirects = 1}},
	{"all switches", {.ethernet = 1, .handshakes = 1, .redirects = 1, .synq_full_at_max = 1}},
};

struct birth_case {
	const char *name;
	struct weir_sock_config config;
};

static const struct birth_case birth_cases[] = {
	{"every connection", {.limit = WEIR_LIMIT_DEFAULT}},
	{"one range of ports", {.limit = WEIR_LIMIT_DEFAULT, .port_ranges = 1, .port = {{80, 80}}}},
	{"all ranges of ports, local prefixes",
	 {.limit = WEIR_LIMIT_MAX,
	  .local = 1,
	  .port_ranges = WEIR_PORT_RANGES,
	  .port = {{1, 65535}, [WEIR_PORT_RANGES - 1] = {1, 65535}}}},
};

static int number, failed;

static void report(const char *program, const char *name, int err)
{
	printf("%s %d - %s: %s\n", err ? "not ok" : "ok", ++number, program, name);
	fflush(stdout);
	failed += err != 0;
}

/* The balancer's maps are made all or none. */
static void choose_balance_maps(struct weir_xdp_bpf *skel, const struct weir_xdp_config *config)
{
	if (config->modes)
		bpf_map__set_value_size(bpf_map__inner_map(skel->maps.services),
					config->service_bytes);
	else
		balance_maps_use(skel, NULL);
	bpf_map__set_autocreate(skel->maps.explanation, config->explain);
}

static void load_xdp(const struct xdp_case *c)
{
	struct weir_xdp_bpf *skel = weir_xdp_bpf__open();
	int err = -1;

	if (skel) {
		skel->rodata->config = c->config;
		skel->rodata->config.ifindex = LOOPBACK;
		bpf_map__set_value_size(bpf_map__inner_map(skel->maps.rules),
					c->config.table_bytes);
		/* As the loader does: maps that the switches leave unused are not made. */
		bpf_map__set_autocreate(skel->maps.rules, c->config.fields);
		bpf_map__set_autocreate(skel->maps.rule_counters, c->config.fields);
		bpf_map__set_autocreate(skel->maps.buckets, c->config.limits);
		bpf_map__set_autocreate(skel->maps.redirect_devs, c->config.redirects);
		choose_balance_maps(skel, &c->config);
		xdp_choose_program(skel);
		err = weir_xdp_bpf__load(skel);
	}
	report("XDP", c->name, err);
	weir_xdp_bpf__destroy(skel);
}

static void load_tc(const struct tc_case *c)
{
	struct weir_tc_bpf *skel = weir_tc_bpf__open();
	int err = -1;

	if (skel) {
		skel->rodata->config = c->config;
		skel->rodata->config.ifindex = LOOPBACK;
		err = weir_tc_bpf__load(skel);
	}
	report("TC", c->name, err);
	weir_tc_bpf__destroy(skel);
}

static void load_birth(const struct birth_case *c)
{
	struct weir_birth_bpf *skel = weir_birth_bpf__open();
	int err = -1;

	if (skel) {
		memcpy((void *)&skel->rodata->config, &c->config, sizeof(c->config));
		err = weir_birth_bpf__load(skel);
	}
	report("sockets, birth", c->name, err);
	weir_birth_bpf__destroy(skel);
}

static void load_shortcut(void)
{
	struct weir_shortcut_bpf *skel = weir_shortcut_bpf__open_and_load();

	report("sockets", "short cut", !skel);
	weir_shortcut_bpf__destroy(skel);
}

static void load_tend(void)
{
	struct weir_tend_bpf *skel = weir_tend_bpf__open_and_load();

	report("sockets", "the tender's", !skel);
	weir_tend_bpf__destroy(skel);
}

/* Where something is missing no program of sockets is loaded, and one line says what it is. */
static void load_sockets(void)
{
	struct sock_probe probe;
	struct utsname kernel;
	bool refused;

	uname(&kernel);
	refused = sock_probe(&probe) || sock_probe_check(&probe);
	printf("# %s\n", refused	 ? failure()
			 : probe.verdict ? "sockets: FIONREAD needs the stream verdict"
					 : "sockets: FIONREAD is right without the stream verdict");
	if (!strncmp(kernel.release, "6.1.", 4)) {
		report("sockets", "refused for lack of tracepoints",
		       !refused || probe.tracepoints || !strstr(failure(), "lacks tracepoints"));
		return;
	}
	report("sockets", "all that they need is there", refused);
	for (size_t i = 0; i < sizeof(birth_cases) / sizeof(*birth_cases); i++)
		load_birth(&birth_cases[i]);
	load_shortcut();
	load_tend();
}

/* Each as for lines, as for a summary, and with all filters at once; what a hook's absence leaves out is
 * said by notices. */
static void load_tracer(const struct tracer *tracer)
{
	static const struct weir_trace_config kinds[] = {
		{.lines = 1},
		{.counted = 1},
		{.lines = 1,
		 .counted = 1,
		 .filter = {.netns = 1,
			    .pid = 1,
			    .cgroup = 1,
			    .family = 4,
			    .port_ranges = 16,
			    .peer_ranges = 16,
			    .peer_bits = 120,
			    .min_ns = 1}},
	};
	static const char *const names[] = {"lines", "summary", "all filters"};
	char name[64];

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		struct trace_run run;
		int err = trace_start(&run, tracer, &kinds[i], NULL, NULL);

		if (err)
			printf("# %s\n", failure());
		else
			trace_end(&run);
		snprintf(name, sizeof(name), "%s, %s", tracer->name, names[i]);
		report("tracer", name, err);
		forget_failure();
	}
}

/* What makes a row is read only where it was asked for. */
static void load_by(const struct tracer *tracer)
{
	static const struct weir_by all = {.what = ~0u};
	struct weir_trace_config config = {.lines = 1, .counted = 1, .filter = {.netns = 1}};
	struct trace_run run;
	int err = trace_start(&run, tracer, &config, NULL, &all);

	if (err)
		printf("# %s\n", failure());
	else
		trace_end(&run);
	report("tracer, by everything", tracer->name, err);
	forget_failure();
}

static void load_snapshot(void)
{
	static const struct weir_trace_filter everything;
	struct snapshot *snapshot = NULL;
	int err = snapshot_open(&snapshot, &everything, ~0u);

	if (err)
		printf("# %s\n", failure());
	report("iterator", "sockets", err);
	snapshot_close(snapshot);
	forget_failure();
}

static int libbpf_says(enum libbpf_print_level level, const char *format, va_list args)
{
	static char text[1 << 20];
	size_t length, begin;

	if (level != LIBBPF_WARN)
		return 0;
	vsnprintf(text, sizeof(text), format, args);
	length = strlen(text);
	begin = length > LOG_END ? length - LOG_END : 0;
	return fprintf(stderr, "%s", text + begin);
}

int main(void)
{
	libbpf_set_print(libbpf_says);
	for (size_t i = 0; i < sizeof(xdp_cases) / sizeof(*xdp_cases); i++)
		load_xdp(&xdp_cases[i]);
	for (size_t i = 0; i < sizeof(balance_cases) / sizeof(*balance_cases); i++)
		load_xdp(&balance_cases[i]);
	for (size_t i = 0; i < sizeof(tc_cases) / sizeof(*tc_cases); i++)
		load_tc(&tc_cases[i]);
	load_sockets();
	for (int i = 0; i < tracer_count; i++)
		load_tracer(tracers[i]);
	load_by(&tracer_rtt);
	load_by(&tracer_retransmit);
	load_snapshot();
	printf("1..%d\n", number);
	return failed > 0;
}
