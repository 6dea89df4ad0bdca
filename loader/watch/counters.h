/* SPDX-License-Identifier: GPL-2.0 */
/* What a device's XDP program has counted, and how fast. */
#ifndef WEIR_COUNTERS_H
#define WEIR_COUNTERS_H

#include <jansson.h>

#include "xdp/abi.h"

/* The names of the enums in xdp/abi.h, as JSON and metrics have them: "pass", "tcp4", "rule"... */
extern const char *const verdict_names[WEIR_VERDICTS];
extern const char *const class_names[WEIR_CLASSES];
extern const char *const reason_names[WEIR_REASONS];

/* What was dropped: for a reason of enum weir_reason, or, behind them, as the program itself failed. */
#define COUNTERS_DROPS (WEIR_REASONS + 1)
const char *drop_name(unsigned int drop);
extern const char *const drop_meanings[COUNTERS_DROPS];

struct counters_sample {
	double seconds; /* CLOCK_MONOTONIC; 0: never read */
	struct weir_device_counters total;
};

/* Sums the device's `counters` map over all CPUs. 0, or < 0 with a fail() line. */
int counters_read(int map_fd, struct counters_sample *sample);

/* What was counted from `before` to `after`; total is then the difference and seconds its length.
 * A device that was attached anew in between counts from 0 again: what it has counted since is
 * the difference then, and no counter ever seems to run backwards. */
void counters_between(const struct counters_sample *before, const struct counters_sample *after,
		      struct counters_sample *delta);

struct weir_counter counters_of_verdict(const struct weir_device_counters *c, unsigned int verdict);
struct weir_counter counters_of_class(const struct weir_device_counters *c, unsigned int class);
struct weir_counter counters_of_reason(const struct weir_device_counters *c, unsigned int reason);
struct weir_counter counters_of_drop(const struct weir_device_counters *c, unsigned int drop);
struct weir_counter counters_of_all(const struct weir_device_counters *c);

/* Index into c->reason of the reason with the most packets; -1 when nothing was dropped. */
int counters_top_reason(const struct weir_device_counters *c);

/* {"packets", "bytes"} of total and, when delta is given, the rates in it:
 * "packets_per_second", "bits_per_second". */
json_t *counter_json(struct weir_counter total, const struct weir_counter *delta, double seconds);

/* {"packets"..., "verdicts": {"pass": {...}...}, "classes": {...}, "reasons": {...},
 * "decapsulated": {...}, "limit_evictions", "top_reason", "share": {"tcp_percent"...}}. Shares
 * and top reason are of delta when there is one, else of the total. */
json_t *counters_json(const struct weir_device_counters *total,
		      const struct counters_sample *delta);

#endif
