// SPDX-License-Identifier: GPL-2.0
#include "stress.h"

#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define SHOWN 8 /* broken streams, on stderr */

static const char *const damages[] = {"none", "corrupt", "reorder", "lose", "stall", NULL};
static const char *const edges[] = {"level", "edge", "both", NULL};

struct stress_option option = {.connections = 200,
			       .seed = 1,
			       .seconds = 5,
			       .bulk = 150000,
			       .think = 8,
			       .exchanges = 24,
			       .hang = 10,
			       .slow = 10,
			       .edge = 2};
struct link *links;
struct tally *tally;

static const struct option_line options[] = {
	{"--conns", OPTION_NUMBER, &option.connections, 1, 20000, NULL, "two streams each"},
	{"--seed", OPTION_NUMBER, &option.seed, 0, 1l << 62, NULL, "of everything random"},
	{"--seconds", OPTION_NUMBER, &option.seconds, 1, 600, NULL,
	 "connections part from 0.6 of this on"},
	{"--bytes", OPTION_NUMBER, &option.bytes, 0, 1l << 50, NULL,
	 "or when this many were sent; 0: no limit"},
	{"--bulk", OPTION_NUMBER, &option.bulk, 1, 1 << 30, NULL,
	 "largest bulk phase, bytes each way"},
	{"--exchanges", OPTION_NUMBER, &option.exchanges, 1, 100000, NULL,
	 "least of a phase of them"},
	{"--think", OPTION_NUMBER, &option.think, 0, 1000, NULL, "mean ms between exchanges"},
	{"--hang", OPTION_NUMBER, &option.hang, 1, 600, NULL,
	 "seconds without progress that are an error"},
	{"--slow", OPTION_NUMBER, &option.slow, 0, 100, NULL, "per cent of slow readers"},
	{"--epoll", OPTION_WORD, &option.edge, 0, 0, edges, "both: every other connection"},
	{"--break", OPTION_WORD, &option.damage, 0, 0, damages,
	 "damages one message, which must be found"},
	{},
};

void stress_help(void)
{
	printf(": many connections, every byte known beforehand and checked\n");
	show_options(options);
}

enum verdict {
	RIGHT,
	WRONG,
	HUNG,
};

static enum verdict judge(long index, enum side side, char *why, size_t size)
{
	const struct way *way = &links[index].ways[side];
	unsigned long long sent = way->sent, received = way->received;
	const char *first = way->why[!side][0] ? way->why[!side] : way->why[side];

	snprintf(why, size, "%s", first);
	if (way->hung)
		return HUNG;
	if (*first)
		return WRONG;
	if (!way->ended)
		snprintf(why, size, "no end seen after %llu of %llu bytes", received, sent);
	else if (way->prefix ? received > sent : received != sent)
		snprintf(why, size, "%llu bytes came, %llu were sent", received, sent);
	else
		return RIGHT;
	return WRONG;
}

static void count_streams(unsigned long verdicts[3])
{
	unsigned int shown = 0;
	char why[256];

	for (long i = 0; i < option.connections; i++) {
		for (int side = CLIENT; side <= SERVER; side++) {
			enum verdict verdict = judge(i, side, why, sizeof(why));

			verdicts[verdict]++;
			if (verdict != RIGHT && shown++ < SHOWN)
				fprintf(stderr, "sock: connection %ld, from the %s: %s%s\n", i,
					side == CLIENT ? "client" : "server",
					verdict == HUNG ? "hung: " : "", why);
		}
	}
}

static void report_bytes(void)
{
	unsigned long long sent = 0, by_tcp = 0;
	unsigned long short_cut = 0;

	for (long i = 0; i < option.connections; i++) {
		for (int side = CLIENT; side <= SERVER; side++) {
			const struct way *way = &links[i].ways[side];

			sent += way->sent;
			by_tcp += way->by_tcp;
			if (way->sent > way->by_tcp)
				short_cut++;
		}
	}
	json_whole("bytes", sent);
	json_whole("bytes_by_tcp", by_tcp);
	json_whole("short_cut_streams", short_cut);
}

int stress(int argc, char **argv)
{
	unsigned long verdicts[3] = {};
	struct rusage used;
	double begun;
	int listener;
	bool ran;

	parse_options(argc, argv, options, NULL);
	allow_files(2 * option.connections + 64); /* and one for each sendfile() under way */
	links = shared_memory(option.connections * sizeof(*links));
	tally = shared_memory(sizeof(*tally));
	listener = net_listen(option.connections);
	begun = now();
	ran = run_ends(stress_server, stress_client, &listener,
		       option.seconds + 2 * option.hang + 12);
	count_streams(verdicts);
	getrusage(RUSAGE_CHILDREN, &used);

	json_begin();
	json_whole("seed", option.seed);
	json_whole("streams", 2 * option.connections);
	json_whole("right", verdicts[RIGHT]);
	json_whole("wrong", verdicts[WRONG]);
	json_whole("hung", verdicts[HUNG]);
	report_bytes();
	json_whole("exchanges", tally->exchanges);
	json_whole("half_closes", tally->half_closes);
	json_whole("resets", tally->resets);
	json_whole("refused_bytes", tally->refused);
	json_whole("eagain", tally->full);
	json_whole("peeks", tally->peeks);
	json_whole("peeks_with_less", tally->peek_less);
	json_whole("fionread_checks", tally->size_asks);
	json_whole("fionread_less_than_peeked", tally->size_less);
	json_real("seconds", now() - begun);
	json_real("cpu_seconds", used.ru_utime.tv_sec + used.ru_stime.tv_sec +
					 (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
	json_end();
	return !ran || verdicts[RIGHT] != 2 * (unsigned long)option.connections;
}
