/* SPDX-License-Identifier: GPL-2.0 */
/* Figures of all chosen cases, as tables of Markdown or as JSON. */
#ifndef WEIR_BENCH_REPORT_H
#define WEIR_BENCH_REPORT_H

#include "bench.h"

struct settings {
	int rounds;
	__u32 repeat;
	const char *only; /* part of the names of chosen cases; NULL: all */
	bool json;
};

int bench_report(struct bench *bench, const struct settings *settings);

#endif
