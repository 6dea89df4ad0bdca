// SPDX-License-Identifier: GPL-2.0
#include "counters.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "loader/base/error.h"

const char *const verdict_names[WEIR_VERDICTS] = {
	[WEIR_PASS] = "pass",	      [WEIR_DROP] = "drop",	  [WEIR_TX] = "tx",
	[WEIR_REDIRECT] = "redirect", [WEIR_ABORTED] = "aborted",
};

const char *const class_names[WEIR_CLASSES] = {
	[WEIR_TCP4] = "tcp4",
	[WEIR_UDP4] = "udp4",
	[WEIR_ICMP4] = "icmp4",
	[WEIR_OTHER4] = "other4",
	[WEIR_FRAGMENT4] = "fragment4",
	[WEIR_TCP6] = "tcp6",
	[WEIR_UDP6] = "udp6",
	[WEIR_ICMP6] = "icmp6",
	[WEIR_OTHER6] = "other6",
	[WEIR_FRAGMENT6] = "fragment6",
	[WEIR_ARP] = "arp",
	[WEIR_NON_IP] = "non_ip",
	[WEIR_MALFORMED] = "malformed",
	[WEIR_UNDECIDED] = "undecided",
};

const char *const reason_names[WEIR_REASONS] = {
	[WEIR_BY_RULE] = "rule",
	[WEIR_BY_LIMIT] = "limit",
	[WEIR_BY_MALFORMED] = "malformed",
	[WEIR_BY_UNDECIDED] = "undecided",
	[WEIR_BY_REDIRECT] = "redirect",
	[WEIR_BY_LOST] = "lost",
	[WEIR_BY_NO_BACKEND] = "no_backend",
	[WEIR_BY_NO_ROUTE] = "no_route",
	[WEIR_BY_TOO_BIG] = "too_big",
	[WEIR_BY_TTL] = "ttl",
	[WEIR_BY_FRAGMENT] = "fragment",
	[WEIR_BY_NAT_FULL] = "nat_full",
	[WEIR_BY_NAT_UNKNOWN] = "nat_unknown",
	[WEIR_BY_MARTIAN] = "martian",
	[WEIR_BY_CHECKSUM] = "checksum",
	[WEIR_BY_HEADROOM] = "headroom",
	[WEIR_BY_BAD_TUNNEL] = "bad_tunnel",
};

const char *const drop_meanings[COUNTERS_DROPS] = {
	[WEIR_BY_RULE] = "a drop rule matched",
	[WEIR_BY_LIMIT] = "over the rate of a limit rule",
	[WEIR_BY_MALFORMED] = "rules are loaded and the headers contradict themselves",
	[WEIR_BY_UNDECIDED] = "rules are loaded and the headers go too deep to decide",
	[WEIR_BY_REDIRECT] = "a redirect rule matched and the packet could not be handed over",
	[WEIR_BY_LOST] =
		"redirected by XDP, but the target did not take it (down, full, no NAPI there)",
	[WEIR_BY_NO_BACKEND] = "the service has no backend that is alive",
	[WEIR_BY_NO_ROUTE] = "no route to the backend, or no neighbour there",
	[WEIR_BY_TOO_BIG] = "does not fit the way to the backend; the sender is told",
	[WEIR_BY_TTL] = "its time to live ends here; the sender is told",
	[WEIR_BY_FRAGMENT] = "a later fragment whose first one was not seen",
	[WEIR_BY_NAT_FULL] = "a new NAT flow, but there is no room or no port for it",
	[WEIR_BY_NAT_UNKNOWN] = "for a NAT service, but of no known flow",
	[WEIR_BY_MARTIAN] = "source and destination are the same, or cannot be answered",
	[WEIR_BY_CHECKSUM] = "its checksum is unfinished and cannot be finished here",
	[WEIR_BY_HEADROOM] = "the driver left no room for another header",
	[WEIR_BY_BAD_TUNNEL] = "--decap: no packet inside, or one with an impossible source",
	[WEIR_REASONS] = "the program itself failed",
};

/* struct weir_device_counters holds nothing but 64-bit counters, so that sums and differences
 * of it are those of an array. */
#define WORDS (sizeof(struct weir_device_counters) / sizeof(__u64))
_Static_assert(sizeof(struct weir_device_counters) % sizeof(__u64) == 0, "whole counters");

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

int counters_read(int map_fd, struct counters_sample *sample)
{
	int cpus = libbpf_num_possible_cpus();
	__u64 *sum = (__u64 *)&sample->total, *values;
	__u32 key = 0;
	int err = 0;

	if (cpus < 0)
		return fail(cpus, "counters: number of CPUs: %s", strerror(-cpus));
	values = calloc(cpus, sizeof(sample->total));
	if (!values)
		return fail(-ENOMEM, "counters: out of memory");
	if (bpf_map_lookup_elem(map_fd, &key, values)) {
		err = fail(-errno, "counters: reading the map: %s", strerror(errno));
		goto out;
	}
	sample->seconds = now();
	memset(sum, 0, sizeof(sample->total));
	for (int cpu = 0; cpu < cpus; cpu++)
		for (size_t i = 0; i < WORDS; i++)
			sum[i] += values[cpu * WORDS + i];
out:
	free(values);
	return err;
}

static bool ran_backwards(const __u64 *before, const __u64 *after)
{
	for (size_t i = 0; i < WORDS; i++)
		if (after[i] < before[i])
			return true;
	return false;
}

void counters_between(const struct counters_sample *before, const struct counters_sample *after,
		      struct counters_sample *delta)
{
	const __u64 *old = (const __u64 *)&before->total, *new = (const __u64 *)&after->total;
	__u64 *difference = (__u64 *)&delta->total;
	bool restarted = ran_backwards(old, new);

	for (size_t i = 0; i < WORDS; i++)
		difference[i] = new[i] - (restarted ? 0 : old[i]);
	delta->seconds = after->seconds - before->seconds;
}

static void add(struct weir_counter *sum, const struct weir_counter *counter)
{
	sum->packets += counter->packets;
	sum->bytes += counter->bytes;
}

struct weir_counter counters_of_verdict(const struct weir_device_counters *c, unsigned int verdict)
{
	struct weir_counter sum = {0};

	for (int i = 0; i < WEIR_CLASSES; i++)
		add(&sum, &c->cell[verdict][i]);
	return sum;
}

struct weir_counter counters_of_class(const struct weir_device_counters *c, unsigned int class)
{
	struct weir_counter sum = {0};

	for (int i = 0; i < WEIR_VERDICTS; i++)
		add(&sum, &c->cell[i][class]);
	return sum;
}

struct weir_counter counters_of_reason(const struct weir_device_counters *c, unsigned int reason)
{
	return c->reason[reason];
}

const char *drop_name(unsigned int drop)
{
	return drop < WEIR_REASONS ? reason_names[drop] : verdict_names[WEIR_ABORTED];
}

struct weir_counter counters_of_drop(const struct weir_device_counters *c, unsigned int drop)
{
	return drop < WEIR_REASONS ? counters_of_reason(c, drop)
				   : counters_of_verdict(c, WEIR_ABORTED);
}

struct weir_counter counters_of_all(const struct weir_device_counters *c)
{
	struct weir_counter sum = {0};

	for (int i = 0; i < WEIR_VERDICTS; i++) {
		struct weir_counter part = counters_of_verdict(c, i);

		add(&sum, &part);
	}
	return sum;
}

int counters_top_reason(const struct weir_device_counters *c)
{
	int top = -1;

	for (int r = 0; r < WEIR_REASONS; r++)
		if (c->reason[r].packets > (top < 0 ? 0 : c->reason[top].packets))
			top = r;
	return top;
}

/* ---- JSON ---- */

json_t *counter_json(struct weir_counter total, const struct weir_counter *delta, double seconds)
{
	json_t *json = json_pack("{s:I,s:I}", "packets", (json_int_t)total.packets, "bytes",
				 (json_int_t)total.bytes);

	if (json && delta && seconds > 0) {
		json_object_set_new(json, "packets_per_second",
				    json_real(delta->packets / seconds));
		json_object_set_new(json, "bits_per_second",
				    json_real(8.0 * delta->bytes / seconds));
	}
	return json;
}

static json_t *
parts_json(const struct weir_device_counters *total, const struct counters_sample *delta,
	   const char *const *names, unsigned int count,
	   struct weir_counter (*part)(const struct weir_device_counters *, unsigned int))
{
	json_t *json = json_object();

	for (unsigned int i = 0; i < count; i++) {
		struct weir_counter recent = {0};

		if (delta)
			recent = part(&delta->total, i);
		json_object_set_new(json, names[i],
				    counter_json(part(total, i), delta ? &recent : NULL,
						 delta ? delta->seconds : 0));
	}
	return json;
}

static json_t *share_json(const struct weir_device_counters *c)
{
	double all = counters_of_all(c).packets, tcp, udp;

	if (!all)
		return json_object();
	tcp = counters_of_class(c, WEIR_TCP4).packets + counters_of_class(c, WEIR_TCP6).packets;
	udp = counters_of_class(c, WEIR_UDP4).packets + counters_of_class(c, WEIR_UDP6).packets;
	return json_pack("{s:f,s:f,s:f}", "tcp_percent", 100 * tcp / all, "udp_percent",
			 100 * udp / all, "other_percent", 100 * (all - tcp - udp) / all);
}

json_t *counters_json(const struct weir_device_counters *total, const struct counters_sample *delta)
{
	const struct weir_device_counters *latest = delta ? &delta->total : total;
	struct weir_counter part = {0};
	int top = counters_top_reason(latest);
	json_t *json;

	if (delta)
		part = counters_of_all(&delta->total);
	json = counter_json(counters_of_all(total), delta ? &part : NULL,
			    delta ? delta->seconds : 0);
	json_object_set_new(
		json, "verdicts",
		parts_json(total, delta, verdict_names, WEIR_VERDICTS, counters_of_verdict));
	json_object_set_new(json, "classes",
			    parts_json(total, delta, class_names, WEIR_CLASSES, counters_of_class));
	json_object_set_new(
		json, "reasons",
		parts_json(total, delta, reason_names, WEIR_REASONS, counters_of_reason));
	json_object_set_new(json, "top_reason",
			    top < 0 ? json_null() : json_string(reason_names[top]));
	json_object_set_new(json, "share", share_json(latest));
	if (delta)
		part = delta->total.decapsulated;
	json_object_set_new(json, "decapsulated",
			    counter_json(total->decapsulated, delta ? &part : NULL,
					 delta ? delta->seconds : 0));
	json_object_set_new(json, "limit_evictions", json_integer(total->limit_evictions));
	return json;
}
