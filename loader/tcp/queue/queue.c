// SPDX-License-Identifier: GPL-2.0
#include "queue.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <linux/bpf.h>

#include "loader/base/error.h"
#include "loader/host/features.h"
#include "loader/out/endpoint.h"
#include "loader/out/out.h"
#include "loader/trace/log2.h"
#include "queue_advice.h"
#include "queue_kernel.h"
#include "queue_reading.h"
#include "tcp_queue.skel.h"

#define ADVICE_ROOM 512

struct queue_own {
	struct snapshot *snapshot;
	struct counts before; /* of the interval */
};

static const struct trace_hook hooks[] = {
	{"cgroup_skb/ingress", "SYN at a listener", true},
	{"sockops", "word of what is admitted", true},
	{"tp_btf/kfree_skb", "last ACK of a handshake that is dropped", true},
	{"tp_btf/consume_skb", "line for a dropped SYN", true},
	{"tp_btf/tcp_send_reset", "RST by tcp_abort_on_overflow", false},
	{"tp_btf/tcp_retransmit_synack", "SYN-ACKs sent again", false},
	{"tp_btf/tcp_retransmit_skb", "own SYNs sent again, which TCPSynRetrans counts", false},
	{"tp_btf/tcp_destroy_sock", "room for new listeners in place of closed ones", false},
};

static int choose(struct trace_run *run)
{
	struct tcp_queue_bpf__rodata *constants = trace_rodata(run);

	constants->full_at_limit = features_synq_full_at_max();
	trace_want(run, "weir_queue_done", run->about.config.lines);
	trace_want(run, "weir_queue_gone", run->about.config.counted);
	return 0;
}

/* Listeners have no peer, and one of IPv6 may have clients of IPv4. */
static int open_snapshot(struct trace_run *run)
{
	struct weir_trace_filter filter = run->about.config.filter;
	struct queue_own *own = run->own;

	if (own->snapshot)
		return 0;
	filter.peer_bits = 0;
	filter.peer_ranges = 0;
	filter.family = filter.family == 6 ? 6 : 0;
	return snapshot_open(&own->snapshot, &filter, WEIR_STATE_BIT(BPF_TCP_LISTEN));
}

static int take_reading(struct queue_reading *r, struct trace_run *run)
{
	struct queue_own *own = run->own;
	int err = open_snapshot(run);

	*r = (struct queue_reading){};
	return err ? err : queue_read(r, run, own->snapshot);
}

static int begun(struct trace_run *run)
{
	struct queue_reading r;
	int err;

	if (!run->about.config.counted)
		return 0;
	err = take_reading(&r, run);
	if (!err)
		err = queue_kernel_begin(run, &r);
	queue_reading_free(&r);
	return err;
}

static void forget(struct trace_run *run)
{
	struct queue_own *own = run->own;

	snapshot_close(own->snapshot);
	counts_free(&own->before);
}

const struct tracer tracer_queue = {
	.name = "queue",
	.answers = "SYN and accept queues of listeners: what they drop, and why",
	.hooks = hooks,
	.hook_count = sizeof(hooks) / sizeof(hooks[0]),
	.own_size = sizeof(struct queue_own),
	.elf = tcp_queue_bpf__elf_bytes,
	.choose = choose,
	.begun = begun,
	.forget = forget,
};

/* ---- lines ---- */

static const char *const verdicts[] = {
	[WEIR_Q_SYN_ACCEPT] = "syn_dropped_accept_queue",
	[WEIR_Q_SYN_SYN] = "syn_dropped_syn_queue",
	[WEIR_Q_SYN_RESERVE] = "syn_dropped_syn_reserve",
	[WEIR_Q_SYN_OTHER] = "syn_dropped_other",
	[WEIR_Q_ACK] = "ack_dropped_accept_queue",
	[WEIR_Q_COOKIE_ACK] = "cookie_ack_dropped_accept_queue",
	[WEIR_Q_CAME_IN] = "came_in",
};

static json_t *listener_json(const struct weir_queue_listener *l)
{
	return out_end(l->address, l->port, l->family);
}

json_t *queue_row(struct trace_run *run, const void *event, size_t size)
{
	const struct weir_queue_event *e = event;
	bool in = e->what == WEIR_Q_CAME_IN;
	const char *verdict;
	json_t *row;

	(void)run;
	if (size < sizeof(*e) || e->what >= sizeof(verdicts) / sizeof(verdicts[0]) ||
	    !verdicts[e->what])
		return NULL;
	verdict = e->reset ? "ack_reset_accept_queue" : verdicts[e->what];
	row = json_object();
	json_object_set_new(row, "time", out_time(e->ns));
	json_object_set_new(row, "listener", listener_json(&e->listener));
	json_object_set_new(row, "client",
			    out_end(e->ends.remote, e->ends.remote_port, e->ends.family));
	json_object_set_new(row, "local",
			    out_end(e->ends.local, e->ends.local_port, e->ends.family));
	json_object_set_new(row, "verdict", json_string(verdict));
	json_object_set_new(row, "accept_queue", in ? json_null() : json_integer(e->accept_queue));
	json_object_set_new(row, "syn_queue", in ? json_null() : json_integer(e->syn_queue));
	json_object_set_new(row, "queue_limit", in ? json_null() : json_integer(e->limit));
	json_object_set_new(row, "drops", json_integer(e->drops));
	json_object_set_new(row, "waited_us", json_real(e->waited_ns / 1e3));
	json_object_set_new(row, "netns_inode", json_integer(e->listener.netns));
	return row;
}

/* ---- the summary ---- */

/* One row: what is counted in the interval, and all that stands beside it. */
struct row {
	const struct weir_queue_listener *listener;
	const struct weir_queue_counts *counts;
	const struct queue_sockets *sockets; /* NULL: closed */
	struct queue_clients clients;
};

static const struct {
	const char *field;
	enum weir_queue_count count;
} fields[] = {
	{"admitted", WEIR_Q_ADMITTED},
	{"cookies_sent", WEIR_Q_COOKIE},
	{"syns_dropped_accept_queue", WEIR_Q_SYN_ACCEPT},
	{"syns_dropped_syn_queue", WEIR_Q_SYN_SYN},
	{"syns_dropped_syn_reserve", WEIR_Q_SYN_RESERVE},
	{"syns_dropped_other", WEIR_Q_SYN_OTHER},
	{"syns_repeated_while_queued", WEIR_Q_AGAIN},
	{"syns_refused_by_filter", WEIR_Q_REFUSED},
	{"acks_dropped", WEIR_Q_ACK},
	{"cookie_acks_dropped", WEIR_Q_COOKIE_ACK},
	{"resets", WEIR_Q_RESET},
	{"synack_retransmits", WEIR_Q_SYNACKS},
};

static const struct weir_queue_counts no_counts;

static __u64 dropped(const __u64 *count)
{
	return count[WEIR_Q_SYN_ACCEPT] + count[WEIR_Q_SYN_SYN] + count[WEIR_Q_SYN_RESERVE] +
	       count[WEIR_Q_SYN_OTHER] + count[WEIR_Q_ACK] + count[WEIR_Q_COOKIE_ACK];
}

/* In microseconds; the slots are coarser than what is known of the shortest and the longest. */
static json_t *wait_quantile(const struct weir_queue_counts *c, double q)
{
	double us = log2_quantile(c->slot, q);

	if (isnan(us))
		return json_null();
	us = fmax(us, ~c->wait_least_not_ns / 1e3);
	return json_real(fmin(us, c->wait_most_ns / 1e3));
}

static void add_waits(json_t *json, const struct row *row)
{
	const struct weir_queue_counts *c = row->counts;

	json_object_set_new(json, "clients_delayed", json_integer(c->waited));
	json_object_set_new(json, "delay_us_mean",
			    c->waited ? json_real(c->waited_ns / 1e3 / c->waited) : json_null());
	json_object_set_new(json, "delay_us_p50", wait_quantile(c, 0.50));
	json_object_set_new(json, "delay_us_p99", wait_quantile(c, 0.99));
	json_object_set_new(json, "delay_us_most",
			    c->wait_most_ns ? json_real(c->wait_most_ns / 1e3) : json_null());
	json_object_set_new(json, "clients_waiting", json_integer(row->clients.waiting));
	json_object_set_new(json, "clients_gave_up",
			    json_integer(row->clients.gave_up + c->count[WEIR_Q_GAVE_UP]));
}

static __u64 most(__u64 marked, __u64 now)
{
	return marked > now ? marked : now;
}

/* A queue may be deeper now than at any SYN. */
static void add_queues(json_t *json, const struct row *row)
{
	const struct queue_sockets *s = row->sockets;
	const struct weir_queue_counts *c = row->counts;

	json_object_set_new(json, "sockets", json_integer(s ? s->count : 0));
	json_object_set_new(json, "queue_limit", json_integer(s ? s->limit : c->limit_most));
	json_object_set_new(json, "accept_queue", s ? json_integer(s->accept_queue) : json_null());
	json_object_set_new(json, "accept_queue_most",
			    json_integer(most(c->accept_most, s ? s->accept_deepest : 0)));
	json_object_set_new(json, "syn_queue", s ? json_integer(s->syn_queue) : json_null());
	json_object_set_new(json, "syn_queue_young", s ? json_integer(s->syn_young) : json_null());
	json_object_set_new(json, "syn_queue_most",
			    json_integer(most(c->syn_most, s ? s->syn_deepest : 0)));
}

static json_t *row_json(const struct row *row, const struct queue_reading *r)
{
	const __u64 *count = row->counts->count;
	json_t *json = json_object();
	char advice[ADVICE_ROOM];
	__u64 syns = 0;

	for (int i = WEIR_Q_ADMITTED; i <= WEIR_Q_SYN_OTHER; i++)
		syns += count[i];
	json_object_set_new(json, "listener", listener_json(row->listener));
	json_object_set_new(json, "netns_inode", json_integer(row->listener->netns));
	add_queues(json, row);
	json_object_set_new(json, "syns", json_integer(syns));
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		json_object_set_new(json, fields[i].field, json_integer(count[fields[i].count]));
	json_object_set_new(json, "dropped", json_integer(dropped(count)));
	add_waits(json, row);
	json_object_set_new(json, "advice",
			    queue_advice(advice, sizeof(advice), count, row->sockets,
					 queue_space_of(r, row->listener->cookie))
				    ? json_string(advice)
				    : json_null());
	return json;
}

static struct row row_of(const struct queue_reading *r, const struct counts *interval,
			 const struct weir_queue_listener *listener)
{
	const void *counts = counts_find(interval, listener);

	return (struct row){
		.listener = listener,
		.counts = counts ? counts : &no_counts,
		.sockets = queue_sockets_of(r, listener),
		.clients = queue_clients_of(r, listener),
	};
}

/* Those that drop most come first. */
static int compare_rows(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	__u64 dx = dropped(x->counts->count), dy = dropped(y->counts->count);

	if (dx != dy)
		return dx > dy ? -1 : 1;
	if (x->listener->netns != y->listener->netns)
		return x->listener->netns < y->listener->netns ? -1 : 1;
	if (x->listener->port != y->listener->port)
		return x->listener->port < y->listener->port ? -1 : 1;
	return memcmp(x->listener, y->listener, sizeof(*x->listener));
}

static bool says_nothing(const struct row *row)
{
	for (int i = 0; i < WEIR_Q_COUNTS; i++)
		if (row->counts->count[i])
			return false;
	return true;
}

/* Listeners that are there, and those of which something was counted. */
static json_t *listeners_json(const struct queue_reading *r, const struct counts *interval)
{
	struct row *rows = calloc(r->socket_count + interval->count + 1, sizeof(*rows));
	json_t *array = rows ? json_array() : NULL;
	size_t count = 0;

	for (size_t i = 0; rows && i < r->socket_count; i++)
		rows[count++] = row_of(r, interval, &r->sockets[i].listener);
	for (size_t i = 0; rows && i < interval->count; i++) {
		const struct weir_queue_listener *l = counts_key(interval, i);

		if (!l->port || queue_sockets_of(r, l))
			continue;
		rows[count] = row_of(r, interval, l);
		count += !says_nothing(&rows[count]);
	}
	if (count)
		qsort(rows, count, sizeof(*rows), compare_rows);
	for (size_t i = 0; i < count; i++)
		json_array_append_new(array, row_json(&rows[i], r));
	free(rows);
	return array;
}

/* The kernel counts by namespace: a part of one cannot be compared. */
static bool is_whole(const struct weir_trace_filter *f)
{
	return !f->cgroup && !f->family && !f->port_ranges && !f->peer_ranges && !f->peer_bits;
}

static json_t *summary_json(struct trace_run *run, const struct queue_reading *r,
			    const struct counts *interval)
{
	json_t *summary = json_object(), *kernel;

	json_object_set_new(summary, "listeners", listeners_json(r, interval));
	kernel = is_whole(&run->about.config.filter) ? queue_kernel_json(run, r) : json_null();
	if (!kernel) {
		json_decref(summary);
		return NULL;
	}
	json_object_set_new(summary, "kernel", kernel);
	return summary;
}

/* What came since the last call; `before` takes the place of what was noted then. */
static int take_interval(struct counts *interval, struct counts *before, const struct counts *now)
{
	int err = counts_copy(interval, now);

	if (err)
		return err;
	counts_subtract(interval, before);
	counts_free(before);
	return counts_copy(before, now);
}

json_t *queue_summary(struct trace_run *run, double seconds)
{
	struct queue_own *own = run->own;
	struct counts interval = {};
	struct queue_reading r;
	json_t *summary = NULL;
	int err = take_reading(&r, run);

	if (!err)
		err = seconds ? take_interval(&interval, &own->before, &r.after)
			      : counts_copy(&interval, &r.after);
	if (!err)
		summary = summary_json(run, &r, &interval);
	counts_free(&interval);
	queue_reading_free(&r);
	return summary;
}
