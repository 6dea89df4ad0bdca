/* SPDX-License-Identifier: GPL-2.0 */
/* How fast each rule matches, from reading to reading. */
#ifndef WEIR_RULE_RATES_H
#define WEIR_RULE_RATES_H

#include <jansson.h>
#include <stddef.h>

#include "xdp/abi.h"

struct rule_reading {
	__u32 id;
	struct weir_counter counter;
};

struct rule_rates {
	json_t *rows; /* {"rule", "text", "packets", "bytes"; and rates from the second reading
		       * on}, the fastest first */
	struct rule_reading *before;
	size_t count;
	double seconds; /* CLOCK_MONOTONIC of the last reading */
};

int rule_rates_read(struct rule_rates *rates); /* 0, or < 0 with a fail() line */
void rule_rates_free(struct rule_rates *rates);

#endif
