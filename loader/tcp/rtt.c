// SPDX-License-Identifier: GPL-2.0
#include "rtt.h"

#include "loader/trace/by.h"
#include "loader/trace/counts.h"
#include "loader/trace/log2.h"
#include "tcp_rtt.skel.h"
#include "trace/abi/rtt.h"

/* The readings before, for intervals. */
struct rtt_own {
	struct counts rows, others;
};

static const struct trace_hook hooks[] = {
	{"tp_btf/tcp_probe", "round trip time", true},
};

static int choose(struct trace_run *run)
{
	struct tcp_rtt_bpf__rodata *constants = trace_rodata(run);
	const struct weir_by *by = run->settings;

	if (by)
		constants->by = *by;
	return constants->by.what ? 0 : trace_resize(run, "rows", 1);
}

static void forget(struct trace_run *run)
{
	struct rtt_own *own = run->own;

	counts_free(&own->rows);
	counts_free(&own->others);
}

const struct tracer tracer_rtt = {
	.name = "rtt",
	.answers = "round trip times, as histograms",
	.hooks = hooks,
	.hook_count = sizeof(hooks) / sizeof(hooks[0]),
	.own_size = sizeof(struct rtt_own),
	.elf = tcp_rtt_bpf__elf_bytes,
	.choose = choose,
	.forget = forget,
};

/* ---- rows ---- */

/* Within its slot a quantile is an estimate; none is below the least that was seen. */
static json_t *quantile_json(const struct weir_rtt_counts *n, double q)
{
	double us = log2_quantile(n->slot, q), least = n->least ? UINT32_MAX - n->least : 0;

	return us >= 0 ? json_real(us < least ? least : us) : json_null();
}

/* `keyed` false: of those that found no room. */
static void add_row(json_t *rows, __u32 by, const struct counts *now, size_t i,
		    const struct counts *before, bool keyed)
{
	struct weir_rtt_counts n;
	__u64 samples = 0;
	json_t *row;

	counts_since(&n, now, i, before);
	for (int slot = 0; slot < WEIR_LOG2_SLOTS; slot++)
		samples += n.slot[slot];
	if (!samples)
		return;
	row = by_row(by, keyed ? counts_key(now, i) : NULL);
	json_object_set_new(row, "samples", json_integer(samples));
	json_object_set_new(row, "mean_us", json_real((double)n.total_us / samples));
	json_object_set_new(row, "p50_us", quantile_json(&n, 0.50));
	json_object_set_new(row, "p99_us", quantile_json(&n, 0.99));
	json_object_set_new(row, "rtt_min_us",
			    n.least ? json_integer(UINT32_MAX - n.least) : json_null());
	json_object_set_new(row, "histogram", log2_json(n.slot));
	json_array_append_new(rows, row);
}

static json_t *rows_json(__u32 by, const struct rtt_own *now, const struct rtt_own *before)
{
	json_t *rows = json_array();

	for (size_t i = 0; by && i < now->rows.count; i++)
		add_row(rows, by, &now->rows, i, &before->rows, true);
	for (size_t i = 0; i < now->others.count; i++)
		add_row(rows, by, &now->others, i, &before->others, false);
	return by_sorted(rows, "samples");
}

static int read_counts(struct trace_run *run, struct rtt_own *now)
{
	int err = counts_of_marks(&now->rows, run, "rows", WEIR_RTT_MARKS);

	return err ? err : counts_of_marks(&now->others, run, "others", WEIR_RTT_MARKS);
}

json_t *rtt_summary(struct trace_run *run, double seconds)
{
	static const struct rtt_own none;
	struct rtt_own *own = run->own, now = {};
	struct weir_by by;
	json_t *summary = NULL;

	if (!by_of(run, &by) && !read_counts(run, &now))
		summary = json_pack("{s:o,s:o}", "by", by_json(by.what), "rows",
				    rows_json(by.what, &now, seconds ? own : &none));
	forget(run);
	*own = now;
	return summary;
}
