// SPDX-License-Identifier: GPL-2.0
#include "log2.h"

#include <math.h>

double log2_quantile(const __u64 slot[WEIR_LOG2_SLOTS], double q)
{
	double rank = 0, below = 0, floor = 0, ceiling = 0;

	for (int i = 0; i < WEIR_LOG2_SLOTS; i++)
		rank += q * slot[i];
	for (int i = 0; i < WEIR_LOG2_SLOTS; i++) {
		if (!slot[i])
			continue;
		floor = i ? ldexp(1, i) : 0;
		ceiling = ldexp(1, i + 1);
		if (below + slot[i] >= rank)
			return floor + (ceiling - floor) * (rank - below) / slot[i];
		below += slot[i];
	}
	return ceiling > 0 ? ceiling : NAN;
}
