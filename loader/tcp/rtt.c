// SPDX-License-Identifier: GPL-2.0
#include "rtt.h"

#include <errno.h>
#include <string.h>

#include <bpf/libbpf.h>

#include "loader/base/error.h"
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

static int open_rtt(struct trace_run *run, struct bpf_object **object,
		    struct weir_trace_config **config)
{
	struct tcp_rtt_bpf *skel = tcp_rtt_bpf__open();
	const struct weir_by *by = run->settings;

	if (!skel)
		return fail(-errno, "cannot open the tracing programs: %m");
	run->skeleton = skel;
	*object = skel->obj;
	*config = &skel->rodata->config;
	if (by)
		skel->rodata->by = *by;
	if (!skel->rodata->by.what)
		bpf_map__set_max_entries(skel->maps.rows, 1);
	return 0;
}

static void close_rtt(void *skeleton)
{
	tcp_rtt_bpf__destroy(skeleton);
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
	.open = open_rtt,
	.close = close_rtt,
	.forget = forget,
};

/* ---- rows ---- */

/* Within its slot a quantile is an estimate; none is below the least that was seen. */
static json_t *quantile_json(const struct weir_rtt_counts *n, double q)
{
	double us = log2_quantile(n->slot, q), least = n->least ? UINT32_MAX - n->least : 0;

	return us >= 0 ? json_real(us < least ? least : us) : json_null();
}

/* What came since `before`, which may be NULL; false: nothing. */
static bool difference(struct weir_rtt_counts *n, const __u64 *now, const __u64 *before,
		       __u64 *samples)
{
	memcpy(n, now, sizeof(*n));
	*samples = 0;
	for (int i = 0; i < WEIR_LOG2_SLOTS; i++) {
		n->slot[i] -= before ? before[i] : 0;
		*samples += n->slot[i];
	}
	n->total_us -= before ? ((const struct weir_rtt_counts *)before)->total_us : 0;
	return *samples;
}

/* `key` NULL: of those that found no room. */
static void add_row(json_t *rows, __u32 by, const struct weir_by_key *key, const __u64 *now,
		    const __u64 *before)
{
	struct weir_rtt_counts n;
	__u64 samples;
	json_t *row;

	if (!difference(&n, now, before, &samples))
		return;
	row = by_row(by, key);
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

	for (size_t i = 0; by && i < now->rows.count; i++) {
		const void *key = counts_key(&now->rows, i);

		add_row(rows, by, key, counts_value(&now->rows, i),
			counts_find(&before->rows, key));
	}
	for (size_t i = 0; i < now->others.count; i++)
		add_row(rows, by, NULL, counts_value(&now->others, i),
			counts_find(&before->others, counts_key(&now->others, i)));
	return by_sorted(rows, "samples");
}

static int read_counts(struct trace_run *run, struct rtt_own *now)
{
	int rows = trace_map(run, "rows"), others = trace_map(run, "others"), err;

	if (rows < 0 || others < 0)
		return -ENOENT;
	err = counts_read_marks(&now->rows, rows, WEIR_RTT_MARKS);
	if (!err)
		err = counts_read_marks(&now->others, others, WEIR_RTT_MARKS);
	return err;
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
