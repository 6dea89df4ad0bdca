/* SPDX-License-Identifier: GPL-2.0 */
/* The table of what was dropped, of all CPUs. */
#ifndef WEIR_TCP_DROP_COUNTS_H
#define WEIR_TCP_DROP_COUNTS_H

#include "loader/trace/counts.h"
#include "loader/trace/run.h"

/* Keys are struct weir_drop_kind, and there is one value: packets. 0 or < 0 with a fail() line. */
int drop_counts_read(struct counts *c, struct trace_run *run);

#endif
