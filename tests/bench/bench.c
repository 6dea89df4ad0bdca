// SPDX-License-Identifier: GPL-2.0
/*
 * make bench: what weir's programs cost per packet, beside the peers installed here. It measures
 * and compares; it never passes or fails on a time.
 *
 * Cases are interleaved: a round takes one sample of each, so that a change of the machine's speed
 * meets all.
 */
#include <errno.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report.h"
#include "loader/base/error.h"

static struct settings settings = {.rounds = 7, .repeat = 450000};

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

struct bench_case *bench_find(struct bench *b, const char *name)
{
	for (int i = 0; i < b->count; i++)
		if (!strcmp(b->cases[i].name, name))
			return &b->cases[i];
	return NULL;
}

/* The peers of chosen cases are chosen too. */
static void choose(void)
{
	for (int i = 0; i < bench.count; i++) {
		struct bench_case *c = &bench.cases[i],
				  *peer = c->peer ? bench_find(&bench, c->peer) : NULL;

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
		err = add_balance_live(&bench);
	if (!err)
		err = add_weir_tc(&bench);
	choose();
	if (!err)
		err = measure();
	if (!err)
		err = bench_report(&bench, &settings);
	if (err) {
		fprintf(stderr, "%s\n", failure() ? failure() : strerror(-err));
		return 2;
	}
	return 0;
}
