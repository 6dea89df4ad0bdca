/* SPDX-License-Identifier: GPL-2.0 */
/* What the programs of a run cost, as the kernel measures it while somebody asks. */
#ifndef WEIR_TRACE_OVERHEAD_H
#define WEIR_TRACE_OVERHEAD_H

#include "run.h"

struct overhead {
	int stats;	 /* fd: the kernel measures while it is open */
	double floor_ns; /* what measuring itself adds to each run: seen on an empty program */
	struct {
		__u64 runs, ns;
	} before[TRACE_PROGRAMS];
};

/* From now on. 0 or < 0 with a fail() line; overhead_end() is harmless after either. */
int overhead_begin(struct overhead *o, const struct trace_run *run);
void overhead_end(struct overhead *o);
/* Net of the floor, not below 0. */
double overhead_ns_per_run(__u64 runs, __u64 ns, double floor_ns);
/* {"seconds", "floor_ns", "programs": [{"program", "runs", "runs_per_second", "ns_per_run",
 * "cpu_percent" (of one CPU)}]} */
json_t *overhead_json(const struct overhead *o, const struct trace_run *run, double seconds);

#endif
