// SPDX-License-Identifier: GPL-2.0
#include "retransmit.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include "loader/base/error.h"
#include "loader/host/clock.h"
#include "loader/out/endpoint.h"
#include "loader/out/out.h"
#include "loader/trace/by.h"
#include "loader/trace/counts.h"
#include "loader/trace/rows.h"
#include "loader/kernel/owners.h"
#include "loader/kernel/snapshot.h"
#include "loader/tcp/states/states.h"
#include "tcp_retransmit.skel.h"
#include "trace/abi/retransmit.h"

#define MARKS	     (offsetof(struct weir_retransmit_counts, born_ns) / sizeof(__u64))
#define OWNERS_PAUSE 10 /* times as long as a look at all files took, until the next */

struct retransmit_own {
	struct owners *owners;
	__u64 owners_ns;      /* when they were read */
	__u64 owners_next_ns; /* when they may be again */
	struct snapshot *snapshot;
	struct counts rows;		    /* the reading before, for intervals */
	struct weir_retransmit_counts told; /* of the total: up to then, in rows and beside them */
};

static const struct trace_hook hooks[] = {
	{"tp_btf/tcp_retransmit_skb", "retransmit", true},
	{"tp_btf/tcp_retransmit_synack", "retransmit of a SYN-ACK", false},
	{"tp_btf/inet_sock_set_state", "what a connection sent behind its last retransmit", false},
};

static const char *const kinds[WEIR_RETRANSMIT_KINDS] = {
	[WEIR_RETRANSMIT_SYN] = "syn",	   [WEIR_RETRANSMIT_SYNACK] = "synack",
	[WEIR_RETRANSMIT_RTO] = "rto",	   [WEIR_RETRANSMIT_FAST] = "fast",
	[WEIR_RETRANSMIT_TLP] = "tlp",	   [WEIR_RETRANSMIT_SLOW_START] = "slow_start",
	[WEIR_RETRANSMIT_OTHER] = "other",
};

static int choose(struct trace_run *run)
{
	struct tcp_retransmit_bpf__rodata *constants = trace_rodata(run);
	const struct weir_by *by = run->settings;
	bool tells_errors = hook_arguments("tcp_retransmit_skb") >= 3;

	if (by)
		constants->by = *by;
	trace_want(run, "weir_retransmit", tells_errors);
	trace_want(run, "weir_retransmit2", !tells_errors);
	trace_want(run, "weir_closed", run->about.config.counted);
	return constants->by.what ? 0 : trace_resize(run, "rows", 1);
}

static void forget(struct trace_run *run)
{
	struct retransmit_own *own = run->own;

	owners_free(own->owners);
	snapshot_close(own->snapshot);
	counts_free(&own->rows);
}

const struct tracer tracer_retransmit = {
	.name = "retransmit",
	.answers = "what is sent again, and why",
	.hooks = hooks,
	.hook_count = sizeof(hooks) / sizeof(hooks[0]),
	.own_size = sizeof(struct retransmit_own),
	.elf = tcp_retransmit_bpf__elf_bytes,
	.choose = choose,
	.forget = forget,
};

/* ---- lines ---- */

static void look_at_owners(struct retransmit_own *own)
{
	own->owners_ns = clock_now_ns();
	owners_free(own->owners);
	own->owners = NULL;
	if (owners_read(&own->owners))
		forget_failure();
	own->owners_next_ns = own->owners_ns + OWNERS_PAUSE * (clock_now_ns() - own->owners_ns);
}

/* A socket that came behind the last look is looked for once more. */
static const struct weir_owner *owner_of(struct retransmit_own *own,
					 const struct weir_retransmit_event *e)
{
	const struct weir_owner *owner = NULL;

	if (e->inode && own->owners)
		owner = owners_find_inode(own->owners, e->socket, e->inode);
	if (owner || !e->inode || e->ns < own->owners_ns || clock_now_ns() < own->owners_next_ns)
		return owner;
	look_at_owners(own);
	return own->owners ? owners_find_inode(own->owners, e->socket, e->inode) : NULL;
}

/* The kernel counts timers in ticks, and says nowhere how long one is but here. */
static double tick_us(void)
{
	struct timespec tick;

	return clock_getres(CLOCK_MONOTONIC_COARSE, &tick) ? 0 : tick.tv_nsec / 1e3;
}

static json_t *error_json(int error)
{
	const char *name = error < 0 ? strerrorname_np(-error) : NULL;

	return !error ? json_null() : json_string(name ?: "NET_XMIT_DROP");
}

static json_t *congestion_json(unsigned int state)
{
	static const char *const names[] = {"open", "disorder", "cwr", "recovery", "loss"};

	return state < sizeof(names) / sizeof(names[0]) ? json_string(names[state]) : json_null();
}

/* What a half-open connection has not got is null. */
static void add_connection(json_t *row, const struct weir_retransmit_event *e)
{
	bool whole = e->state != BPF_TCP_NEW_SYN_RECV;

	json_object_set_new(row, "rto_us", whole ? json_real(e->rto * tick_us()) : json_null());
	json_object_set_new(row, "srtt_us", e->srtt_us ? json_integer(e->srtt_us) : json_null());
	json_object_set_new(row, "congestion",
			    whole ? congestion_json(e->congestion) : json_null());
	json_object_set_new(row, "bytes_sent", whole ? json_integer(e->bytes_sent) : json_null());
	json_object_set_new(row, "bytes_retransmitted",
			    whole ? json_integer(e->bytes_retrans) : json_null());
}

json_t *retransmit_row(struct trace_run *run, const void *event, size_t size)
{
	const struct weir_retransmit_event *e = event;
	const struct weir_owner *owner;
	__u32 pid = run->about.config.filter.pid;
	json_t *row;

	if (size < sizeof(*e) || e->kind >= WEIR_RETRANSMIT_KINDS)
		return NULL;
	owner = owner_of(run->own, e);
	if (pid && (!owner || owner->pid != pid))
		return NULL;
	row = json_object();
	json_object_set_new(row, "time", out_time(e->ns));
	row_add_owner(row, owner);
	row_add_ends(row, &e->ends);
	json_object_set_new(row, "netns_inode", json_integer(e->ends.netns));
	json_object_set_new(row, "state", json_string(tcp_state_name(e->state)));
	json_object_set_new(row, "kind", json_string(kinds[e->kind]));
	json_object_set_new(row, "timeouts_in_a_row", json_integer(e->row));
	json_object_set_new(row, "sequence", json_integer(e->sequence));
	json_object_set_new(row, "bytes", json_integer(e->bytes));
	json_object_set_new(row, "segments", json_integer(e->segments));
	json_object_set_new(row, "error", error_json(e->error));
	add_connection(row, e);
	return row;
}

/* ---- the summary ---- */

struct reading {
	struct counts rows, total, sockets;
};

static void add_bytes(struct counts *counts, const void *key, __u64 sent, __u64 again)
{
	struct weir_retransmit_counts *n = (void *)counts_find(counts, key);

	if (!n)
		return;
	n->bytes_sent += sent;
	n->bytes_retrans += again;
}

/* What a connection that lives has sent behind its last retransmit. */
static int add_living(void *arg, const struct weir_socket *socket)
{
	struct reading *r = arg;
	const struct weir_retransmit_socket *known =
		socket->mini ? NULL : (void *)counts_find(&r->sockets, &socket->address);
	__u64 sent, again;
	__u32 zero = 0;

	if (!known || socket->bytes_sent < known->bytes_sent ||
	    socket->bytes_retrans < known->bytes_retrans)
		return 0;
	sent = socket->bytes_sent - known->bytes_sent;
	again = socket->bytes_retrans - known->bytes_retrans;
	add_bytes(&r->total, &zero, sent, again);
	add_bytes(&r->rows, &known->key, sent, again);
	return 0;
}

static int look_at_living(struct trace_run *run, struct reading *r)
{
	struct retransmit_own *own = run->own;
	__u32 states = ~(WEIR_STATE_BIT(BPF_TCP_LISTEN) | WEIR_STATE_BIT(BPF_TCP_TIME_WAIT) |
			 WEIR_STATE_BIT(BPF_TCP_NEW_SYN_RECV));
	int err = 0;

	if (!r->sockets.count)
		return 0;
	if (!own->snapshot)
		err = snapshot_open(&own->snapshot, &run->about.config.filter, states);
	return err ? err : snapshot_read(own->snapshot, add_living, r);
}

/* The sockets last: what one sends meanwhile is told of next time, and never twice. */
static int read_all(struct trace_run *run, struct reading *r)
{
	const struct {
		const char *map;
		struct counts *counts;
	} all[] = {{"rows", &r->rows}, {"total", &r->total}, {"sockets", &r->sockets}};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		int err = counts_of_marks(all[i].counts, run, all[i].map, MARKS);

		if (err)
			return err;
	}
	return look_at_living(run, r);
}

static void forget_reading(struct reading *r)
{
	counts_free(&r->rows);
	counts_free(&r->total);
	counts_free(&r->sockets);
}

static json_t *kinds_json(const struct weir_retransmit_counts *n, __u64 *segments)
{
	json_t *object = json_object();

	*segments = 0;
	for (int i = 0; i < WEIR_RETRANSMIT_KINDS; i++) {
		json_object_set_new(object, kinds[i], json_integer(n->segments[i]));
		*segments += n->segments[i];
	}
	return object;
}

static void add_row(json_t *rows, __u32 what, const struct weir_by_key *key,
		    const struct weir_retransmit_counts *n)
{
	json_t *row = by_row(what, key), *object;
	__u64 segments;

	object = kinds_json(n, &segments);
	json_object_set_new(row, "segments", json_integer(segments));
	json_object_set_new(row, "kinds", object);
	json_object_set_new(row, "failed", json_integer(n->failed));
	json_object_set_new(row, "bytes_sent", json_integer(n->bytes_sent));
	json_object_set_new(row, "bytes_retransmitted", json_integer(n->bytes_retrans));
	json_object_set_new(row, "retransmitted_percent",
			    n->bytes_sent ? json_real(100.0 * n->bytes_retrans / n->bytes_sent)
					  : json_null());
	if (segments || n->failed)
		json_array_append(rows, row);
	json_decref(row);
}

/* What was known of this row: not of one that had to make room before it came again. */
static const __u64 *known_before(const struct counts *now, size_t i, const struct counts *before)
{
	const __u64 *was = before->count ? counts_find(before, counts_key(now, i)) : NULL;

	return was && was[MARKS] == counts_value(now, i)[MARKS] ? was : NULL;
}

/* A walk may miss a socket, or come when its record is gone and its row was read before: what it has
 * sent is not taken back, and told of once. */
static void keep_highest(struct counts *now, const struct counts *before)
{
	for (size_t i = 0; i < now->count; i++) {
		const __u64 *was = known_before(now, i, before);
		__u64 *value = counts_value(now, i);

		for (size_t c = 0; was && c < MARKS; c++)
			if (value[c] < was[c])
				value[c] = was[c];
	}
}

/* The rows, what came since `before`; and it is added up. */
static void add_rows(json_t *rows, __u32 what, const struct counts *now,
		     const struct counts *before, struct weir_retransmit_counts *sum)
{
	for (size_t i = 0; i < now->count; i++) {
		struct weir_retransmit_counts n;

		counts_since(&n, now, i, known_before(now, i, before) ? before : NULL);
		for (size_t c = 0; c < MARKS; c++)
			((__u64 *)sum)[c] += ((__u64 *)&n)[c];
		add_row(rows, what, counts_key(now, i), &n);
	}
}

/* What is in the total and was not told of yet: of rows that had to make room. */
static void add_rest(json_t *rows, __u32 what, const struct counts *total,
		     struct weir_retransmit_counts *told)
{
	struct weir_retransmit_counts n = {};
	__u64 *sum = (__u64 *)told, *rest = (__u64 *)&n;

	for (size_t c = 0; total->count && c < MARKS; c++) {
		__u64 all = counts_value(total, 0)[c];

		rest[c] = all > sum[c] ? all - sum[c] : 0;
		sum[c] += rest[c];
	}
	add_row(rows, what, NULL, &n);
}

static json_t *summary_json(__u32 what, const struct reading *r, const struct counts *before,
			    struct weir_retransmit_counts *told)
{
	json_t *rows = json_array();

	if (what)
		add_rows(rows, what, &r->rows, before, told);
	add_rest(rows, what, &r->total, told);
	return json_pack("{s:o,s:o}", "by", by_json(what), "rows", by_sorted(rows, "segments"));
}

json_t *retransmit_summary(struct trace_run *run, double seconds)
{
	static const struct counts none;
	struct retransmit_own *own = run->own;
	struct weir_retransmit_counts told = {};
	struct reading r = {};
	json_t *summary = NULL;
	struct weir_by by;

	if (!by_of(run, &by) && !read_all(run, &r)) {
		keep_highest(&r.rows, &own->rows);
		if (seconds)
			told = own->told;
		summary = summary_json(by.what, &r, seconds ? &own->rows : &none, &told);
		counts_free(&own->rows);
		own->rows = r.rows;
		own->told = told;
		r.rows = (struct counts){};
	}
	forget_reading(&r);
	return summary;
}
