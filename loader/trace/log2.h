/* SPDX-License-Identifier: GPL-2.0 */
/* Histograms as the programs of trace/ count them: slot n from 2^n to 2^(n+1) - 1, slot 0 also 0,
 * and the last all that is longer. */
#ifndef WEIR_TRACE_LOG2_H
#define WEIR_TRACE_LOG2_H

#include <jansson.h>
#include <linux/types.h>

#include "trace/abi/trace.h"

/* In the unit of the slots, as if the values of a slot lay evenly in it: at most a factor of two off. NaN
 * when nothing was counted, or where the last slot has no upper end. */
double log2_quantile(const __u64 slot[WEIR_LOG2_SLOTS], double q);

/* [{"least_us", "most_us", "samples"}], from the first slot that counted something to the last; null: no end. */
json_t *log2_json(const __u64 slot[WEIR_LOG2_SLOTS]);

#endif
