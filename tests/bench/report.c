// SPDX-License-Identifier: GPL-2.0
/*
 * `net` is the cost above the empty program in the same surroundings: its minimum is that of the
 * case less that of its empty program, its median that of the rounds' differences. Peers are
 * compared by the minimum, which other load on the machine disturbs least.
 *
 * Live frames a second are those that the CPU time of one frame, all the way, leaves room for.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "loader/base/error.h"
#include "memory.h"
#include "report.h"

#define NS_TO_MPPS 1000

struct figures {
	double bare_min, min, median, net_min, net_median;
	double share_min, share_median; /* of the empty program's throughput */
};

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *values, int count)
{
	qsort(values, count, sizeof(*values), by_value);
	return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static double least(const double *values, int count)
{
	double min = values[0];

	for (int i = 1; i < count; i++)
		if (values[i] < min)
			min = values[i];
	return min;
}

static struct figures summarize(const struct bench_case *c, int rounds)
{
	double sorted[BENCH_ROUNDS], net[BENCH_ROUNDS], share[BENCH_ROUNDS];
	struct figures f = {
		.bare_min = least(c->bare_ns, rounds),
		.min = least(c->ns, rounds),
	};

	for (int i = 0; i < rounds; i++) {
		sorted[i] = c->ns[i];
		net[i] = c->ns[i] - c->bare_ns[i];
		share[i] = c->bare_ns[i] / c->ns[i];
	}
	f.median = median(sorted, rounds);
	f.net_min = f.min - f.bare_min;
	f.net_median = median(net, rounds);
	f.share_min = f.bare_min / f.min;
	f.share_median = median(share, rounds);
	return f;
}

static const struct bench_case *peer_of(struct bench *bench, const struct bench_case *c)
{
	return c->peer ? bench_find(bench, c->peer) : NULL;
}

static const char *cpu_model(void)
{
	static char line[256] = "unknown CPU";
	FILE *f = fopen("/proc/cpuinfo", "r");
	char *colon = NULL;

	while (f && !colon && fgets(line, sizeof(line), f))
		if (!strncmp(line, "model name", 10))
			colon = strchr(line, ':');
	if (f)
		fclose(f);
	line[strcspn(line, "\n")] = 0;
	return colon ? colon + 2 : "unknown CPU";
}

/* ---- tables ---- */

static void print_costs(struct bench *bench, const struct settings *settings)
{
	printf("| hook | case | empty ns | ns min | **net ns min** | net ns median | times empty | "
	       "net, times peer |\n");
	printf("|---|---|--:|--:|--:|--:|--:|--:|\n");
	for (int i = 0; i < bench->count; i++) {
		const struct bench_case *c = &bench->cases[i], *peer = peer_of(bench, c);
		struct figures f = summarize(c, settings->rounds);

		if (!c->wanted)
			continue;
		printf("| %s | %s | %.1f | %.1f | **%.1f** | %.1f | %.2f | ", c->hook, c->name,
		       f.bare_min, f.min, f.net_min, f.net_median, f.min / f.bare_min);
		if (peer)
			printf("%.2f |\n", f.net_min / summarize(peer, settings->rounds).net_min);
		else
			printf("- |\n");
	}
}

static void print_live(const struct bench *bench, const struct settings *settings)
{
	bool begun = false;

	for (int i = 0; i < bench->count; i++) {
		const struct bench_case *c = &bench->cases[i];
		struct figures f = summarize(c, settings->rounds);

		if (!c->wanted || !c->live)
			continue;
		if (!begun)
			printf("\n| live on veth, one CPU | empty, Mpps | Mpps | **of empty** | "
			       "median of empty |\n|---|--:|--:|--:|--:|\n");
		begun = true;
		printf("| %s | %.2f | %.2f | **%.2f** | %.2f |\n", c->name, NS_TO_MPPS / f.bare_min,
		       NS_TO_MPPS / f.min, f.share_min, f.share_median);
	}
}

static int print_memory(void)
{
	struct memory memory;
	int err;

	printf("\n| maps | kB | of which |\n|---|--:|---|\n");
	for (size_t which = 0; !(err = memory_of(which, &memory)); which++) {
		printf("| %s | %.1f |", memory.services, memory.bytes / 1000.0);
		for (int i = 0; i < MEMORY_MAPS; i++)
			printf(" %s %.1f%s", memory.part[i].map, memory.part[i].bytes / 1000.0,
			       i + 1 < MEMORY_MAPS ? "," : " |\n");
	}
	return err < 0 ? err : 0;
}

/* ---- JSON ---- */

static json_t *case_document(struct bench *bench, const struct bench_case *c, int rounds)
{
	const struct bench_case *peer = peer_of(bench, c);
	struct figures f = summarize(c, rounds);
	json_t *document = json_pack(
		"{s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:f}", "hook", c->hook, "case", c->name,
		"empty_ns_min", f.bare_min, "ns_min", f.min, "ns_median", f.median, "net_ns_min",
		f.net_min, "net_ns_median", f.net_median, "ratio_to_empty", f.min / f.bare_min);

	if (c->live) {
		json_object_set_new(document, "live_empty_mpps",
				    json_real(NS_TO_MPPS / f.bare_min));
		json_object_set_new(document, "live_mpps", json_real(NS_TO_MPPS / f.min));
		json_object_set_new(document, "live_share_of_empty", json_real(f.share_min));
		json_object_set_new(document, "live_share_of_empty_median",
				    json_real(f.share_median));
	}
	if (peer) {
		struct figures p = summarize(peer, rounds);

		json_object_set_new(document, "peer", json_string(peer->name));
		json_object_set_new(document, "net_ratio_min", json_real(f.net_min / p.net_min));
		json_object_set_new(document, "net_ratio_median",
				    json_real(f.net_median / p.net_median));
	}
	return document;
}

static int add_memory(json_t *list)
{
	struct memory memory;
	int err;

	for (size_t which = 0; !(err = memory_of(which, &memory)); which++) {
		json_t *maps = json_object();

		for (int i = 0; i < MEMORY_MAPS; i++)
			json_object_set_new(maps, memory.part[i].map,
					    json_integer(memory.part[i].bytes));
		json_array_append_new(list, json_pack("{s:s, s:I, s:o}", "services",
						      memory.services, "bytes",
						      (json_int_t)memory.bytes, "map_bytes", maps));
	}
	return err < 0 ? err : 0;
}

static int print_json(struct bench *bench, const struct settings *settings, const char *kernel)
{
	json_t *cases = json_array(), *memory = json_array();
	json_t *document = json_pack("{s:s, s:s, s:i, s:i, s:o, s:o}", "cpu", cpu_model(), "kernel",
				     kernel, "rounds", settings->rounds, "packets_per_sample",
				     (int)settings->repeat, "cases", cases, "memory", memory);
	int err = add_memory(memory);

	for (int i = 0; i < bench->count; i++)
		if (bench->cases[i].wanted)
			json_array_append_new(
				cases, case_document(bench, &bench->cases[i], settings->rounds));
	if (!err) {
		json_dumpf(document, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(4));
		putchar('\n');
	}
	json_decref(document);
	return err;
}

int bench_report(struct bench *bench, const struct settings *settings)
{
	struct utsname host;

	if (uname(&host))
		return fail(-errno, "bench: uname: %s", strerror(errno));
	if (settings->json)
		return print_json(bench, settings, host.release);
	printf("%s, Linux %s, %d rounds of %u packets\n\n", cpu_model(), host.release,
	       settings->rounds, settings->repeat);
	print_costs(bench, settings);
	print_live(bench, settings);
	return print_memory();
}
