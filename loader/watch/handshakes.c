// SPDX-License-Identifier: GPL-2.0
#include "handshakes.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "loader/base/error.h"

static __u64 now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

/* ---- latencies ---- */

static double bucket_floor(int bucket)
{
	if (bucket < 4)
		return bucket;
	return (double)((4ull + bucket % 4) << (bucket / 4 - 1));
}

static double quantile(const struct weir_latency *h, __u64 samples, double q)
{
	double rank = q * samples, below = 0;

	for (int i = 0; i < WEIR_LATENCY_BUCKETS; i++) {
		double floor = bucket_floor(i), value;

		if (!h->bucket[i] || below + h->bucket[i] < rank) {
			below += h->bucket[i];
			continue;
		}
		value = floor + (bucket_floor(i + 1) - floor) * (rank - below) / h->bucket[i];
		return value < h->us_max ? value : h->us_max;
	}
	return h->us_max;
}

void handshake_latency_of(const struct weir_latency *h, struct handshake_latency *latency)
{
	__u64 samples = 0;

	for (int i = 0; i < WEIR_LATENCY_BUCKETS; i++)
		samples += h->bucket[i];
	*latency = (struct handshake_latency){.samples = samples};
	if (!samples)
		return;
	latency->mean_us = (double)h->us_sum / samples;
	latency->p50_us = quantile(h, samples, 0.50);
	latency->p90_us = quantile(h, samples, 0.90);
	latency->p99_us = quantile(h, samples, 0.99);
	latency->max_us = h->us_max;
}

/* ---- reading ---- */

static int read_stats(int fd, __u32 slot, struct weir_endpoint_stats *stats)
{
	int err = bpf_map_lookup_elem(fd, &slot, stats);

	return err ? fail(err, "endpoint counters: %s", strerror(-err)) : 0;
}

static int read_counters(int fd, struct weir_tc_counters *sum)
{
	int cpus = libbpf_num_possible_cpus(), err;
	struct weir_tc_counters *per_cpu;
	__u32 zero = 0;

	if (cpus < 0)
		return fail(cpus, "number of CPUs: %s", strerror(-cpus));
	per_cpu = calloc(cpus, sizeof(*per_cpu));
	if (!per_cpu)
		return fail(-ENOMEM, "handshake counters: out of memory");
	err = bpf_map_lookup_elem(fd, &zero, per_cpu);
	memset(sum, 0, sizeof(*sum));
	for (int i = 0; !err && i < cpus; i++) {
		sum->events_lost += per_cpu[i].events_lost;
		sum->no_endpoint += per_cpu[i].no_endpoint;
		sum->redirected += per_cpu[i].redirected;
	}
	free(per_cpu);
	return err ? fail(err, "handshake counters: %s", strerror(-err)) : 0;
}

struct in_flight {
	__u64 half_open[WEIR_ENDPOINTS];
	__u64 unanswered[WEIR_ENDPOINTS];
	__u64 unfinished[WEIR_ENDPOINTS];
};

static void count_way(const struct weir_handshake *way, __u64 now, struct in_flight *counts)
{
	if ((__s64)(now - way->syn_ns) <= (__s64)WEIR_HANDSHAKE_TIMEOUT)
		counts->half_open[way->endpoint]++;
	else if (way->state == WEIR_SYN_SEEN)
		counts->unanswered[way->endpoint]++;
	else
		counts->unfinished[way->endpoint]++;
}

/* The program gives handshakes up only while SYNs come: what is older is given up here, so that
 * figures are right at any time. A handshake that ends during the scan is in both or neither. */
static int scan_table(int fd, struct in_flight *counts)
{
	struct weir_handshakes *table = malloc(sizeof(*table));
	__u64 now = now_ns();
	__u32 zero = 0;
	int err;

	if (!table)
		return fail(-ENOMEM, "handshakes in flight: out of memory");
	err = bpf_map_lookup_elem(fd, &zero, table);
	for (int set = 0; !err && set < WEIR_HANDSHAKE_SETS; set++) {
		for (int lane = 0; lane < WEIR_HANDSHAKE_WAYS; lane++)
			if (table->tags[set] >> 16 * lane & 0xffff)
				count_way(&table->way[lane][set], now, counts);
	}
	free(table);
	return err ? fail(err, "handshakes in flight: %s", strerror(-err)) : 0;
}

static enum handshake_verdict judge(const struct handshake_endpoint *e)
{
	const struct weir_endpoint_stats *s = &e->stats;

	if (s->accept_queue_full)
		return HANDSHAKE_ACCEPT_QUEUE_FULL;
	if (s->syn_queue_full)
		return HANDSHAKE_SYN_QUEUE_FULL;
	if (s->syn_cookies)
		return HANDSHAKE_SYN_COOKIES;
	if (s->unanswered)
		return HANDSHAKE_UNANSWERED;
	if (s->unfinished)
		return HANDSHAKE_UNFINISHED;
	return s->refused ? HANDSHAKE_REFUSED : HANDSHAKE_OK;
}

static void describe(struct handshake_endpoint *e, __u32 slot, const struct weir_endpoint *shared,
		     const struct in_flight *counts)
{
	e->others = slot == 0;
	e->role = shared->key >> WEIR_ENDPOINT_ROLE_SHIFT & 1;
	e->port = shared->key & 0xffff;
	e->queues = *shared;
	e->stats.unanswered += counts->unanswered[slot];
	e->stats.unfinished += counts->unfinished[slot];
	e->half_open = counts->half_open[slot];
	e->half_open_peak = shared->half_open_peak > 0 ? shared->half_open_peak : 0;
	if (e->half_open_peak < e->half_open)
		e->half_open_peak = e->half_open;
	handshake_latency_of(&e->stats.synack_latency, &e->synack);
	handshake_latency_of(&e->stats.ack_latency, &e->ack);
	e->verdict = judge(e);
}

static int by_role_and_port(const void *left, const void *right)
{
	const struct handshake_endpoint *a = left, *b = right;

	if (a->others != b->others)
		return a->others - b->others;
	if (a->role != b->role)
		return (int)a->role - (int)b->role;
	return (int)a->port - (int)b->port;
}

int handshakes_read(const struct handshake_maps *maps, struct handshake_endpoint **list,
		    size_t *count, struct weir_tc_counters *counters)
{
	struct handshake_endpoint *found = calloc(WEIR_ENDPOINTS, sizeof(*found));
	struct weir_endpoints endpoints;
	struct in_flight counts = {};
	__u32 zero = 0;
	size_t n = 0;
	int err;

	if (!found)
		return fail(-ENOMEM, "handshakes: out of memory");
	err = bpf_map_lookup_elem(maps->endpoints, &zero, &endpoints);
	if (err) {
		fail(err, "endpoints: %s", strerror(-err));
		goto out;
	}
	for (__u32 slot = 0; !err && slot < WEIR_ENDPOINTS; slot++)
		if (!slot || endpoints.slot[slot].key)
			err = read_stats(maps->endpoint_stats, slot, &found[slot].stats);
	if (!err)
		err = scan_table(maps->handshakes, &counts);
	if (!err && counters)
		err = read_counters(maps->tc_counters, counters);
	if (err)
		goto out;
	for (__u32 slot = 0; slot < WEIR_ENDPOINTS; slot++) {
		if (!found[slot].stats.syn)
			continue;
		describe(&found[slot], slot, &endpoints.slot[slot], &counts);
		found[n++] = found[slot];
	}
	qsort(found, n, sizeof(*found), by_role_and_port);
	*list = found;
	*count = n;
	found = NULL;
out:
	free(found);
	return err;
}

/* ---- words ---- */

const char *handshake_verdict_name(enum handshake_verdict verdict)
{
	static const char *const names[HANDSHAKE_VERDICTS] = {
		[HANDSHAKE_ACCEPT_QUEUE_FULL] = "accept_queue_full",
		[HANDSHAKE_SYN_QUEUE_FULL] = "syn_queue_full",
		[HANDSHAKE_SYN_COOKIES] = "syn_cookies",
		[HANDSHAKE_UNANSWERED] = "unanswered",
		[HANDSHAKE_UNFINISHED] = "unfinished",
		[HANDSHAKE_REFUSED] = "refused",
		[HANDSHAKE_OK] = "ok",
	};

	return names[verdict];
}

bool handshake_verdict_is_loss(enum handshake_verdict verdict)
{
	return verdict == HANDSHAKE_ACCEPT_QUEUE_FULL || verdict == HANDSHAKE_SYN_QUEUE_FULL ||
	       verdict == HANDSHAKE_UNANSWERED;
}

/* Words to put behind "port 80: ". */
static void advise(const struct handshake_endpoint *e, char *text, size_t size)
{
	const struct weir_endpoint_stats *s = &e->stats;
	const char *syns = s->syn == 1 ? "SYN" : "SYNs";

	switch (e->verdict) {
	case HANDSHAKE_ACCEPT_QUEUE_FULL:
		snprintf(text, size,
			 "%llu %s met a full accept queue (%u/%u): the application accepts too "
			 "slowly, or its listen() backlog or net.core.somaxconn is too small",
			 s->accept_queue_full, s->accept_queue_full == 1 ? "SYN" : "SYNs",
			 e->queues.accept_queue_peak, e->queues.queue_max);
		break;
	case HANDSHAKE_SYN_QUEUE_FULL:
		snprintf(text, size,
			 "%llu %s met a full SYN queue (%u/%u) and no cookies are sent: set "
			 "net.ipv4.tcp_syncookies to 1, or raise the listen() backlog, "
			 "net.core.somaxconn and net.ipv4.tcp_max_syn_backlog",
			 s->syn_queue_full, s->syn_queue_full == 1 ? "SYN" : "SYNs",
			 e->queues.syn_queue_peak, e->queues.queue_max);
		break;
	case HANDSHAKE_SYN_COOKIES:
		snprintf(text, size,
			 "%llu %s answered by a SYN cookie (SYN queue %u/%u): a SYN flood, or a "
			 "listen() backlog too small for the rate of connections",
			 s->syn_cookies, s->syn_cookies == 1 ? "SYN was" : "SYNs were",
			 e->queues.syn_queue_peak, e->queues.queue_max);
		break;
	case HANDSHAKE_UNANSWERED:
		snprintf(text, size, "%llu of %llu %s never answered: %s", s->unanswered, s->syn,
			 syns,
			 e->role == WEIR_CLIENT
				 ? "packets are dropped on the way or by the server's queues"
				 : "a local filter drops them or the host is not the destination");
		break;
	case HANDSHAKE_UNFINISHED:
		snprintf(text, size,
			 "%llu of %llu handshakes lack the third packet: forged addresses (a SYN "
			 "flood), or SYN-ACKs lost on their way back",
			 s->unfinished, s->syn);
		break;
	case HANDSHAKE_REFUSED:
		snprintf(text, size, "%llu of %llu %s refused: nothing listens there", s->refused,
			 s->syn, syns);
		break;
	default: text[0] = '\0';
	}
}

void handshake_advice(const struct handshake_endpoint *e, char *text, size_t size)
{
	char words[320];

	advise(e, words, sizeof(words));
	if (!words[0])
		text[0] = '\0';
	else if (e->others)
		snprintf(text, size, "other ports: %s", words);
	else
		snprintf(text, size, "%sport %u: %s", e->role == WEIR_CLIENT ? "to " : "", e->port,
			 words);
}
