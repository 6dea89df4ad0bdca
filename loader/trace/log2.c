// SPDX-License-Identifier: GPL-2.0
#include "log2.h"

#include <math.h>

#define LAST (WEIR_LOG2_SLOTS - 1) /* which has no upper end */

double log2_quantile(const __u64 slot[WEIR_LOG2_SLOTS], double q)
{
	double rank = 0, below = 0, floor = 0, ceiling = 0;

	for (int i = 0; i < WEIR_LOG2_SLOTS; i++)
		rank += q * slot[i];
	for (int i = 0; i < LAST; i++) {
		if (!slot[i])
			continue;
		floor = i ? ldexp(1, i) : 0;
		ceiling = ldexp(1, i + 1);
		if (below + slot[i] >= rank)
			return floor + (ceiling - floor) * (rank - below) / slot[i];
		below += slot[i];
	}
	return ceiling > 0 && !slot[LAST] ? ceiling : NAN;
}

json_t *log2_json(const __u64 slot[WEIR_LOG2_SLOTS])
{
	json_t *histogram = json_array();
	int from = 0, to = WEIR_LOG2_SLOTS - 1;

	while (from <= to && !slot[from])
		from++;
	while (to > from && !slot[to])
		to--;
	for (int i = from; i <= to; i++)
		json_array_append_new(
			histogram, json_pack("{s:I,s:o,s:I}", "least_us",
					     i ? (json_int_t)1 << i : 0, "most_us",
					     i < LAST ? json_integer(((json_int_t)1 << (i + 1)) - 1)
						      : json_null(),
					     "samples", (json_int_t)slot[i]));
	return histogram;
}
