// SPDX-License-Identifier: GPL-2.0
#include "states.h"

#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>

#include "loader/base/error.h"
#include "loader/out/endpoint.h"
#include "loader/out/out.h"
#include "loader/trace/counts.h"
#include "loader/trace/log2.h"
#include "loader/trace/rows.h"
#include "loader/kernel/owners.h"
#include "minis.h"
#include "tcp_states.skel.h"
#include "trace/abi/states.h"

#define LOOKS_FOR_MINIS "iter/tcp"
#define LOOKS_FOR_OWNER "iter/task_file"

static const struct trace_hook hooks[] = {
	{"tp_btf/inet_sock_set_state", "change of state", true},
	{LOOKS_FOR_MINIS, "word of mini-sockets", false},
	{LOOKS_FOR_OWNER, "process of sockets that are older than the command", false},
};

#define BECOMES_MINI "now a mini-socket"

/* run->own */
struct states {
	struct minis minis;
	struct counts before;
};

/* ---- the tracer ---- */

struct older {
	struct owners *owners;
	int map;
};

static int note_older(void *arg, const struct weir_socket *socket)
{
	const struct older *older = arg;
	const struct weir_owner *owner = owners_find(older->owners, socket->address);

	if (owner)
		bpf_map_update_elem(older->map, &socket->address, owner, BPF_ANY);
	return 0;
}

/* Sockets that are older than the tracer have an owner at least. */
static int states_begun(struct trace_run *run)
{
	struct older older = {.map = trace_map(run, "older")};
	struct snapshot *snapshot;
	int err;

	if (hook_lacks(LOOKS_FOR_MINIS) || hook_lacks(LOOKS_FOR_OWNER))
		return 0;
	if (older.map < 0)
		return older.map;
	err = owners_read(&older.owners);
	if (err)
		return err;
	err = snapshot_open(&snapshot, &run->about.config.filter, ~0u);
	if (!err) {
		err = snapshot_read(snapshot, note_older, &older);
		snapshot_close(snapshot);
	}
	owners_free(older.owners);
	return err;
}

static void forget_states(struct trace_run *run)
{
	struct states *s = run->own;

	if (s->minis.not_followed)
		notice("%llu mini-sockets were not followed: %d at once are, as long as their "
		       "namespaces last",
		       s->minis.not_followed, MINIS_MAX);
	minis_forget(&s->minis);
	counts_free(&s->before);
}

const struct tracer tracer_states = {
	.name = "states",
	.answers = "how long sockets stay in each state",
	.hooks = hooks,
	.hook_count = sizeof(hooks) / sizeof(hooks[0]),
	.own_size = sizeof(struct states),
	.elf = tcp_states_bpf__elf_bytes,
	.begun = states_begun,
	.forget = forget_states,
};

const char *tcp_state_name(unsigned int state)
{
	static const char *const names[] = {
		NULL,	     "ESTABLISHED", "SYN_SENT",	    "SYN_RECV",	  "FIN_WAIT1",
		"FIN_WAIT2", "TIME_WAIT",   "CLOSE",	    "CLOSE_WAIT", "LAST_ACK",
		"LISTEN",    "CLOSING",	    "NEW_SYN_RECV",
	};

	return state < sizeof(names) / sizeof(names[0]) && names[state] ? names[state] : "?";
}

/* ---- lines ---- */

static json_t *remark(const struct weir_state_event *e, bool looked)
{
	if (e->error)
		return json_string(strerrorname_np(e->error) ?: "?");
	if (looked)
		return json_string(e->mini ? "mini-socket, seen by looking"
					   : "mini-socket gone, seen by looking");
	return e->mini ? json_string(BECOMES_MINI) : json_null();
}

/* Who looks knows a least time and a most. */
static json_t *line(const struct weir_state_event *e, bool looked, __u64 least_ns)
{
	char socket[24];
	json_t *row = json_object();

	snprintf(socket, sizeof(socket), "%016llx", e->socket);
	json_object_set_new(row, "time", out_time(e->ns));
	row_add_owner(row, &e->owner);
	row_add_ends(row, &e->ends);
	json_object_set_new(row, "family", json_integer(e->ends.family));
	json_object_set_new(row, "old_state", json_string(tcp_state_name(e->from)));
	json_object_set_new(row, "new_state", json_string(tcp_state_name(e->to)));
	json_object_set_new(row, "in_old_state_us",
			    e->lasted_ns ? json_real(e->lasted_ns / 1e3) : json_null());
	json_object_set_new(row, "in_old_state_us_least",
			    e->lasted_ns ? json_real(least_ns / 1e3) : json_null());
	json_object_set_new(row, "mini_socket", json_boolean(e->mini));
	json_object_set_new(row, "seen_by", json_string(looked ? "iterator" : "event"));
	json_object_set_new(row, "error",
			    e->error ? json_string(strerrorname_np(e->error) ?: "?") : json_null());
	json_object_set_new(row, "socket", json_string(socket));
	json_object_set_new(row, "netns_inode", json_integer(e->ends.netns));
	json_object_set_new(row, "remark", remark(e, looked));
	return row;
}

/* The kernel lets short ones pass where a mini-socket begins. */
static bool lasted(const struct trace_run *run, const struct weir_state_event *e)
{
	return e->lasted_ns >= run->about.config.filter.min_ns;
}

json_t *states_row(struct trace_run *run, const void *event, size_t size)
{
	const struct weir_state_event *e = event;
	struct states *s = run->own;

	if (size < sizeof(*e))
		return NULL;
	if (e->mini && !hook_lacks(LOOKS_FOR_MINIS) && minis_follow(&s->minis, e))
		return NULL;
	return lasted(run, e) ? line(e, false, e->lasted_ns) : NULL;
}

struct looking {
	const struct trace_run *run;
	json_t *rows;
};

static void add_line(void *arg, const struct weir_state_event *event, __u64 least_ns)
{
	struct looking *l = arg;

	if (lasted(l->run, event))
		json_array_append_new(l->rows, line(event, true, least_ns));
}

json_t *states_rows(struct trace_run *run)
{
	struct looking l = {.run = run, .rows = json_array()};
	struct states *s = run->own;

	if (minis_look(&s->minis, &run->about.config.filter, add_line, &l)) {
		json_decref(l.rows);
		return NULL;
	}
	return l.rows;
}

/* ---- the summary ---- */

static json_t *change_json(__u32 change, const struct weir_state_counts *n)
{
	unsigned int from = change / 2 / WEIR_STATE_TO + 1, to = change / 2 % WEIR_STATE_TO + 1;
	json_t *mean = n->timed ? json_real(n->total_ns / 1e3 / n->timed) : json_null();
	bool mini = to > WEIR_STATE_FROM;

	if (mini)
		to = to == WEIR_STATE_MINI_TIME_WAIT ? TCP_TIME_WAIT : TCP_FIN_WAIT2;
	return json_pack("{s:s,s:s,s:b,s:s?,s:i,s:I,s:I,s:o,s:o,s:o}", "old_state",
			 tcp_state_name(from), "new_state", tcp_state_name(to), "mini_socket", mini,
			 "remark", mini ? BECOMES_MINI : NULL, "family", change % 2 ? 6 : 4,
			 "changes", (json_int_t)n->changes, "timed", (json_int_t)n->timed,
			 "in_old_state_us_mean", mean, "in_old_state_us_p50",
			 out_real(log2_quantile(n->slot, 0.5)), "in_old_state_us_p99",
			 out_real(log2_quantile(n->slot, 0.99)));
}

static json_t *changes_json(const struct counts *now, const struct counts *before)
{
	json_t *changes = json_array();

	for (size_t i = 0; i < now->count; i++) {
		struct weir_state_counts n;

		counts_since(&n, now, i, before);
		if (n.changes)
			json_array_append_new(changes,
					      change_json(*(const __u32 *)counts_key(now, i), &n));
	}
	return changes;
}

/* [IPv6][TIME_WAIT] */
struct census {
	json_int_t sockets[2][2];
};

static int count_mini(void *arg, const struct weir_socket *socket)
{
	struct census *c = arg;

	if (socket->mini)
		c->sockets[socket->ends.family == 6][socket->state == TCP_TIME_WAIT]++;
	return 0;
}

/* Those that there are now; null: not known, as mini-sockets have neither a process nor a cgroup. */
static json_t *minis_json(struct trace_run *run)
{
	const struct weir_trace_filter *filter = &run->about.config.filter;
	struct states *s = run->own;
	struct census c = {};
	json_t *minis;
	int err = 0;

	if (filter->pid || filter->cgroup || hook_lacks(LOOKS_FOR_MINIS))
		return json_null();
	if (!s->minis.snapshot)
		err = snapshot_open(&s->minis.snapshot, filter,
				    WEIR_STATE_BIT(TCP_FIN_WAIT2) | WEIR_STATE_BIT(TCP_TIME_WAIT));
	if (!err)
		err = snapshot_read(s->minis.snapshot, count_mini, &c);
	if (err)
		return NULL;
	minis = json_array();
	for (int i = 0; i < 4; i++)
		json_array_append_new(minis,
				      json_pack("{s:s,s:i,s:I}", "state",
						i % 2 ? "TIME_WAIT" : "FIN_WAIT2", "family",
						i / 2 ? 6 : 4, "sockets", c.sockets[i / 2][i % 2]));
	return minis;
}

json_t *states_summary(struct trace_run *run, double seconds)
{
	struct states *s = run->own;
	struct counts now;
	json_t *changes, *minis;

	(void)seconds;
	if (counts_of(&now, run, "changes"))
		return NULL;
	changes = changes_json(&now, &s->before);
	counts_free(&s->before);
	s->before = now;
	minis = minis_json(run);
	if (!minis) {
		json_decref(changes);
		return NULL;
	}
	return json_pack("{s:o,s:o}", "changes", changes, "mini_sockets", minis);
}
