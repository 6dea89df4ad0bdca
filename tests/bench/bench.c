// SPDX-License-Identifier: GPL-2.0
/*
 * make bench: what weir's programs cost per packet, beside the peers installed here. It measures
 * and compares; it never passes or fails on a time.
 *
 * Cases are interleaved: a round takes one sample of each, so that a change of the machine's speed
 * meets all. `net` is the cost above the empty program in the same surroundings: its minimum is
 * that of the case less that of its empty program, its median that of the rounds' differences.
 * Peers are compared by the minimum, which other load on the machine disturbs least.
 */
#include <errno.h>
#include <jansson.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench.h"
#include "loader/base/error.h"

static struct {
	int rounds;
	__u32 repeat;
	const char *only;
	bool json;
} settings = {.rounds = 11, .repeat = 900000};

struct figures {
	double bare_min, min, median, net_min, net_median;
};

static struct bench bench;

struct bench_case *bench_add(struct bench *b, const char *hook, const char *name)
{
	struct bench_case *c = &b->cases[b->count];

	if (b->count == BENCH_CASES) {
		fprintf(stderr, "bench: raise BENCH_CASES\n");
		abort();
	}
	b->count++;
	c->hook = hook;
	c->name = name;
	return c;
}

static struct bench_case *find(const char *name)
{
	for (int i = 0; i < bench.count; i++)
		if (!strcmp(bench.cases[i].name, name))
			return &bench.cases[i];
	return NULL;
}

/* The peers of chosen cases are chosen too. */
static void choose(void)
{
	for (int i = 0; i < bench.count; i++) {
		struct bench_case *c = &bench.cases[i], *peer = c->peer ? find(c->peer) : NULL;

		if (settings.only && !strstr(c->name, settings.only))
			continue;
		c->wanted = true;
		if (peer)
			peer->wanted = true;
	}
}

/* The empty programs against themselves: what is left is the error of all other figures. */
static int add_noise(void)
{
	struct packet_layout layout = {.family = 4, .proto = IPPROTO_UDP, .payload = 34};
	struct bench_case *xdp = bench_add(&bench, "XDP", "empty program against itself");
	struct bench_case *tc = bench_add(&bench, "TC", "empty program against itself, at TC");
	const struct bpf_program *empty_xdp = empty_program("empty_xdp");
	const struct bpf_program *empty_tc = empty_program("empty_tc");
	int err;

	if (!empty_xdp || !empty_tc)
		return -EINVAL;
	packet_build(&xdp->packet, &layout);
	packet_build(&tc->packet, &layout);
	err = plain(xdp, empty_xdp, XDP_DROP);
	return err ? err : plain(tc, empty_tc, TC_ACT_UNSPEC);
}

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

static struct figures summarize(const struct bench_case *c)
{
	double sorted[BENCH_ROUNDS], net[BENCH_ROUNDS];
	struct figures f = {
		.bare_min = least(c->bare_ns, settings.rounds),
		.min = least(c->ns, settings.rounds),
	};

	for (int i = 0; i < settings.rounds; i++) {
		sorted[i] = c->ns[i];
		net[i] = c->ns[i] - c->bare_ns[i];
	}
	f.median = median(sorted, settings.rounds);
	f.net_min = f.min - f.bare_min;
	f.net_median = median(net, settings.rounds);
	return f;
}

static int take(const struct bench_case *c, const struct entry *entry, double *ns)
{
	return c->live ? live_sample(c, entry, settings.repeat, ns)
		       : sample(c, entry, settings.repeat, ns);
}

static int measure(void)
{
	int err = 0;

	for (int round = 0; round < settings.rounds; round++) {
		for (int i = 0; i < bench.count; i++) {
			struct bench_case *c = &bench.cases[i];

			if (!c->wanted)
				continue;
			err = take(c, &c->bare, &c->bare_ns[round]);
			if (!err)
				err = take(c, &c->subject, &c->ns[round]);
			if (err)
				return err;
		}
		fprintf(stderr, "round %d of %d\n", round + 1, settings.rounds);
	}
	return 0;
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

static void print_table(const char *kernel)
{
	printf("%s, Linux %s, %d rounds of %u packets\n\n", cpu_model(), kernel, settings.rounds,
	       settings.repeat);
	printf("| hook | case | empty ns | ns min | **net ns min** | net ns median | times empty | "
	       "net, times peer |\n");
	printf("|---|---|--:|--:|--:|--:|--:|--:|\n");
	for (int i = 0; i < bench.count; i++) {
		const struct bench_case *c = &bench.cases[i],
					*peer = c->peer ? find(c->peer) : NULL;
		struct figures f = summarize(c);

		if (!c->wanted)
			continue;
		printf("| %s | %s | %.1f | %.1f | **%.1f** | %.1f | %.2f | ", c->hook, c->name,
		       f.bare_min, f.min, f.net_min, f.net_median, f.min / f.bare_min);
		if (peer)
			printf("%.2f |\n", f.net_min / summarize(peer).net_min);
		else
			printf("- |\n");
	}
}

static json_t *case_document(const struct bench_case *c)
{
	const struct bench_case *peer = c->peer ? find(c->peer) : NULL;
	struct figures f = summarize(c);
	json_t *document = json_pack(
		"{s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:f}", "hook", c->hook, "case", c->name,
		"empty_ns_min", f.bare_min, "ns_min", f.min, "ns_median", f.median, "net_ns_min",
		f.net_min, "net_ns_median", f.net_median, "ratio_to_empty", f.min / f.bare_min);

	if (peer) {
		struct figures p = summarize(peer);

		json_object_set_new(document, "peer", json_string(peer->name));
		json_object_set_new(document, "net_ratio_min", json_real(f.net_min / p.net_min));
		json_object_set_new(document, "net_ratio_median",
				    json_real(f.net_median / p.net_median));
	}
	return document;
}

static void print_json(const char *kernel)
{
	json_t *cases = json_array();
	json_t *document = json_pack("{s:s, s:s, s:i, s:i, s:o}", "cpu", cpu_model(), "kernel",
				     kernel, "rounds", settings.rounds, "packets_per_sample",
				     (int)settings.repeat, "cases", cases);

	for (int i = 0; i < bench.count; i++)
		if (bench.cases[i].wanted)
			json_array_append_new(cases, case_document(&bench.cases[i]));
	json_dumpf(document, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(4));
	putchar('\n');
	json_decref(document);
}

/* Caches stay warm; other load on the CPU costs wall time only, which is not what is measured. */
static void stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		notice("bench: not pinned to CPU %d: %s", cpu, strerror(errno));
}

/* libbpf explains a program that the verifier refuses; what it says of sections that only libxdp
 * reads is noise. */
static int libbpf_says(enum libbpf_print_level level, const char *format, va_list args)
{
	if (level != LIBBPF_WARN || strstr(format, "skipping unrecognized data section"))
		return 0;
	return vfprintf(stderr, format, args);
}

static long number(const char *text, long least_value, long most)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*end || end == text || value < least_value || value > most) {
		fprintf(stderr, "bench: '%s' is not a number from %ld to %ld\n", text, least_value,
			most);
		exit(1);
	}
	return value;
}

static void parse_options(int argc, char **argv)
{
	int cpu = sched_getcpu(), option;

	while ((option = getopt(argc, argv, "r:n:f:c:j")) != -1) {
		switch (option) {
		case 'r': settings.rounds = number(optarg, 1, BENCH_ROUNDS); break;
		case 'n': settings.repeat = number(optarg, 30, 100000000); break;
		case 'f': settings.only = optarg; break;
		case 'c': cpu = number(optarg, 0, CPU_SETSIZE - 1); break;
		case 'j': settings.json = true; break;
		default:
			fprintf(stderr, "usage: bench [-r ROUNDS] [-n PACKETS] [-f PART-OF-NAME] "
					"[-c CPU] [-j]\n");
			exit(1);
		}
	}
	settings.repeat -= settings.repeat % 30;
	stay_on(cpu);
}

int main(int argc, char **argv)
{
	struct utsname host;
	int err;

	parse_options(argc, argv);
	libbpf_set_print(libbpf_says);
	err = sample_prepare();
	if (!err)
		err = live_prepare();
	if (!err)
		err = add_noise();
	if (!err)
		err = add_xdp_filter(&bench);
	if (!err)
		err = add_weir_xdp(&bench);
	if (!err)
		err = add_balance(&bench);
	if (!err)
		err = add_weir_tc(&bench);
	choose();
	if (!err)
		err = measure();
	if (err) {
		fprintf(stderr, "%s\n", failure() ? failure() : strerror(-err));
		return 2;
	}
	uname(&host);
	if (settings.json)
		print_json(host.release);
	else
		print_table(host.release);
	return 0;
}
