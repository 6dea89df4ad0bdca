// SPDX-License-Identifier: GPL-2.0
#include "life.h"

#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>

#include "loader/base/error.h"
#include "loader/base/options.h"
#include "loader/out/endpoint.h"
#include "loader/out/out.h"
#include "loader/trace/by.h"
#include "loader/trace/counts.h"
#include "loader/trace/log2.h"
#include "loader/trace/rows.h"
#include "loader/kernel/owners.h"
#include "loader/kernel/snapshot.h"
#include "shortcuts.h"
#include "tcp_life.skel.h"
#include "trace/abi/life.h"

struct own {
	struct counts before; /* of `ended` */
};

/* ---- the tracer ---- */

const struct trace_hook life_hooks[LIFE_HOOKS] = {
	{"tp_btf/inet_sock_set_state", "end of a connection", true},
	{"tp_btf/tcp_rcv_space_adjust", "process of a connection that others began and ended",
	 false},
};

const void *life_elf(size_t *size)
{
	return tcp_life_bpf__elf_bytes(size);
}

struct elders {
	int map;
	const struct owners *owners;
};

/* What the programs have learned of it in the meantime is better. One that ends just now may stay in the
 * map until its address is used again. */
static int remember(void *arg, const struct weir_socket *s)
{
	const struct elders *e = arg;
	const struct weir_owner *owner = owners_find(e->owners, s->address);
	struct weir_life life = {.role = s->role};
	int err;

	if (s->mini)
		return 0;
	if (owner)
		life.owner = *owner;
	err = bpf_map_update_elem(e->map, &s->address, &life, BPF_NOEXIST);
	return err && err != -EEXIST && err != -E2BIG
		       ? fail(err, "cannot write down the connections that are there: %s",
			      strerror(-err))
		       : 0;
}

int life_begun(struct trace_run *run)
{
	struct elders e = {.map = trace_map(run, "sockets")};
	struct snapshot *snapshot = NULL;
	struct owners *owners = NULL;
	int err = e.map < 0 ? e.map : owners_read(&owners);

	e.owners = owners;
	if (!err)
		err = snapshot_open(&snapshot, &run->about.config.filter, LIFE_STATES);
	if (!err)
		err = snapshot_read(snapshot, remember, &e);
	snapshot_close(snapshot);
	owners_free(owners);
	return err;
}

/* JSON of sums has it in each of them. */
static int begun(struct trace_run *run)
{
	if (run->about.config.lines || !options.json)
		shortcuts_tell();
	return life_begun(run);
}

static void forget(struct trace_run *run)
{
	struct own *own = run->own;

	counts_free(&own->before);
}

const struct tracer tracer_life = {
	.name = "life",
	.answers = "connections when they end: bytes, duration, retransmits, who ended them",
	.hooks = life_hooks,
	.hook_count = LIFE_HOOKS,
	.own_size = sizeof(struct own),
	.elf = life_elf,
	.begun = begun,
	.forget = forget,
};

/* ---- words ---- */

json_t *life_role(unsigned int role)
{
	return role == WEIR_ACTIVE    ? json_string("active")
	       : role == WEIR_PASSIVE ? json_string("passive")
				      : json_null();
}

json_t *life_retransmitted_percent(__u64 retransmits, __u64 segments)
{
	return segments ? json_real(100.0 * retransmits / segments) : json_null();
}

static const char *const end_names[WEIR_ENDS] = {
	[WEIR_END_FIN] = "fin",
	[WEIR_END_RST_SENT] = "rst_sent",
	[WEIR_END_RST_RECEIVED] = "rst_received",
	[WEIR_END_RST] = "rst",
	[WEIR_END_TIMEOUT] = "timeout",
	[WEIR_END_ERROR] = "error",
};

static const char *const closer_names[WEIR_CLOSERS] = {
	[WEIR_CLOSER_UNKNOWN] = "unknown",
	[WEIR_CLOSER_LOCAL] = "local",
	[WEIR_CLOSER_PEER] = "peer",
};

static json_t *end_name(const struct weir_life_event *e)
{
	if (e->end == WEIR_END_ERROR)
		return out_string(strerrorname_np(e->error) ?: end_names[WEIR_END_ERROR]);
	return json_string(e->end < WEIR_ENDS ? end_names[e->end] : end_names[WEIR_END_ERROR]);
}

static json_t *closer_name(const struct weir_life_event *e)
{
	return e->closer == WEIR_CLOSER_LOCAL || e->closer == WEIR_CLOSER_PEER
		       ? json_string(closer_names[e->closer])
		       : json_null();
}

static json_t *us_or_null(__u32 us)
{
	return us ? json_integer(us) : json_null();
}

/* ---- lines ---- */

static void add_rates(json_t *row, const struct weir_life_event *e)
{
	double seconds = e->since_ns ? (e->ns - e->since_ns) / 1e9 : 0;

	json_object_set_new(row, "duration_us", seconds ? json_real(seconds * 1e6) : json_null());
	json_object_set_new(row, "bytes_sent_per_second",
			    seconds ? json_real(e->sent / seconds) : json_null());
	json_object_set_new(row, "bytes_received_per_second",
			    seconds ? json_real(e->received / seconds) : json_null());
}

static void add_segments(json_t *row, const struct weir_life_event *e)
{
	json_object_set_new(row, "segments_out", json_integer(e->segs_out));
	json_object_set_new(row, "data_segments_out", json_integer(e->data_segs_out));
	json_object_set_new(row, "retransmitted_segments", json_integer(e->retransmits));
	json_object_set_new(row, "retransmitted_percent",
			    life_retransmitted_percent(e->retransmits, e->segs_out));
	json_object_set_new(row, "rtt_us", us_or_null(e->srtt_us));
	json_object_set_new(row, "rtt_min_us", us_or_null(e->rtt_min_us));
}

json_t *life_row(struct trace_run *run, const void *event, size_t size)
{
	const struct weir_life_event *e = event;
	json_t *row;

	(void)run;
	if (size < sizeof(*e))
		return NULL;
	row = json_object();
	json_object_set_new(row, "time", out_time(e->ns));
	json_object_set_new(row, "started", e->since_ns ? out_time(e->since_ns) : json_null());
	row_add_owner(row, &e->owner);
	row_add_ends(row, &e->ends);
	json_object_set_new(row, "role", life_role(e->role));
	json_object_set_new(row, "bytes_sent", json_integer(e->sent));
	json_object_set_new(row, "bytes_received", json_integer(e->received));
	add_rates(row, e);
	add_segments(row, e);
	json_object_set_new(row, "closed_first", closer_name(e));
	json_object_set_new(row, "reason", end_name(e));
	json_object_set_new(row, "netns_inode", json_integer(e->ends.netns));
	return row;
}

json_t *life_rows(struct trace_run *run)
{
	(void)run;
	shortcuts_tell();
	return NULL;
}

/* ---- the summary ---- */

static json_t *names_and_counts(const char *const *name, const __u64 *count, int n)
{
	json_t *o = json_object();

	for (int i = 0; i < n; i++)
		json_object_set_new(o, name[i], json_integer(count[i]));
	return o;
}

static json_t *summary_row(const struct weir_life_key *key, const struct weir_life_counts *n)
{
	json_t *row = json_object();

	json_object_set_new(row, "role", life_role(key->role));
	json_object_set_new(row, "server_port", key->port ? json_integer(key->port) : json_null());
	json_object_set_new(row, "connections_ended", json_integer(n->ended));
	json_object_set_new(row, "bytes_sent", json_integer(n->sent));
	json_object_set_new(row, "bytes_received", json_integer(n->received));
	json_object_set_new(row, "connections_timed", json_integer(n->timed));
	json_object_set_new(row, "duration_us_mean",
			    n->timed ? json_real(n->total_ns / 1e3 / n->timed) : json_null());
	json_object_set_new(row, "duration_us_p50", out_real(log2_quantile(n->slot, 0.5)));
	json_object_set_new(row, "duration_us_p99", out_real(log2_quantile(n->slot, 0.99)));
	json_object_set_new(row, "segments_out", json_integer(n->segs_out));
	json_object_set_new(row, "data_segments_out", json_integer(n->data_segs_out));
	json_object_set_new(row, "retransmitted_segments", json_integer(n->retransmits));
	json_object_set_new(row, "retransmitted_percent",
			    life_retransmitted_percent(n->retransmits, n->segs_out));
	json_object_set_new(row, "reasons", names_and_counts(end_names, n->end, WEIR_ENDS));
	json_object_set_new(row, "closed_first",
			    names_and_counts(closer_names, n->closer, WEIR_CLOSERS));
	return row;
}

static json_t *rows_of(const struct counts *now, const struct counts *before)
{
	json_t *rows = json_array();

	for (size_t i = 0; i < now->count; i++) {
		struct weir_life_counts n;

		counts_since(&n, now, i, before);
		if (n.ended)
			json_array_append_new(rows, summary_row(counts_key(now, i), &n));
	}
	return rows;
}

json_t *life_summary(struct trace_run *run, double seconds)
{
	struct own *own = run->own;
	json_t *rows, *summary;
	struct counts now;

	if (counts_of(&now, run, "ended"))
		return NULL;
	rows = rows_of(&now, seconds ? &own->before : NULL);
	counts_free(&own->before);
	own->before = now;
	summary = json_pack("{s:o}", "ports", by_sorted(rows, "connections_ended"));
	shortcuts_tell_of(summary);
	return summary;
}
