// SPDX-License-Identifier: GPL-2.0
#include "connect.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "loader/out/endpoint.h"
#include "loader/out/out.h"
#include "loader/trace/by.h"
#include "loader/trace/counts.h"
#include "loader/trace/log2.h"
#include "loader/trace/rows.h"
#include "tcp_connect.skel.h"

struct connect_own {
	struct counts before;
};

static const struct trace_hook hooks[] = {
	{"tp_btf/inet_sock_set_state", "time of a connection", true},
	{"sockops", "the search for a local port apart from the handshake", false},
	{"tp/syscalls/sys_enter_connect", "a connect() that fails before its first SYN", false},
	{"tp/syscalls/sys_exit_connect", "a connect() that fails before its first SYN", false},
	{"tp/syscalls/sys_exit_accept", "the wait for accept()", false},
	{"tp/syscalls/sys_exit_accept4", "the wait for accept4()", false},
	{"tp_btf/tcp_rcv_space_adjust", "who accepted without a system call", false},
};

/* ---- the run ---- */

/* System calls are traced for who listens: all tasks take a slower way into the kernel meanwhile. */
static int choose(struct trace_run *run)
{
	struct tcp_connect_bpf__rodata *constants = trace_rodata(run);
	const struct weir_connect_settings *chosen = run->settings;
	__u32 role = chosen ? chosen->role : 0;
	bool listens = role != WEIR_CONNECT_ACTIVE;

	constants->settings.role = role;
	trace_want(run, "weir_port_found", role != WEIR_CONNECT_PASSIVE);
	trace_want(run, "weir_connect_enter", !role);
	trace_want(run, "weir_connect_exit", !role);
	trace_want(run, "weir_accept", listens);
	trace_want(run, "weir_accept4", listens);
	trace_want(run, "weir_first_read", listens);
	return 0;
}

static void forget(struct trace_run *run)
{
	struct connect_own *own = run->own;

	counts_free(&own->before);
}

const struct tracer tracer_connect = {
	.name = "connect",
	.answers = "how long connections take to be made, and why some are not",
	.hooks = hooks,
	.hook_count = sizeof(hooks) / sizeof(hooks[0]),
	.own_size = sizeof(struct connect_own),
	.elf = tcp_connect_bpf__elf_bytes,
	.choose = choose,
	.forget = forget,
};

/* ---- words ---- */

static const char *role_name(unsigned int role)
{
	return role == WEIR_CONNECT_ACTIVE ? "active" : "passive";
}

static const char *result_name(unsigned int role, unsigned int result)
{
	static const char *const names[WEIR_CONNECT_RESULTS] = {
		[WEIR_CONNECT_REFUSED] = "refused",
		[WEIR_CONNECT_TIMED_OUT] = "timed_out",
		[WEIR_CONNECT_UNREACHABLE] = "unreachable",
		[WEIR_CONNECT_FORBIDDEN] = "forbidden",
		[WEIR_CONNECT_NO_PORT] = "no_free_port",
		[WEIR_CONNECT_IN_USE] = "port_in_use",
		[WEIR_CONNECT_CLOSED] = "closed",
		[WEIR_CONNECT_RESET] = "reset",
		[WEIR_CONNECT_LISTENER] = "listener_closed",
		[WEIR_CONNECT_FAILED] = "failed",
	};

	if (result == WEIR_CONNECT_MADE)
		return role == WEIR_CONNECT_ACTIVE ? "established" : "accepted";
	return result < WEIR_CONNECT_RESULTS ? names[result] : "?";
}

static json_t *error_json(int error)
{
	const char *name = error ? strerrorname_np(error) : NULL;

	return name ? json_string(name) : json_null();
}

/* ---- lines ---- */

static json_t *phase_json(const struct weir_connect_event *e, enum weir_connect_phase phase)
{
	return e->known & 1 << phase ? json_real(e->phase_ns[phase] / 1e3) : json_null();
}

static void add_accept_wait(json_t *row, const struct weir_connect_event *e)
{
	json_t *wait = phase_json(e, WEIR_CONNECT_ACCEPT_WAIT);

	json_object_set_new(row, "accept_wait_us", e->at_most ? json_null() : json_incref(wait));
	json_object_set_new(row, "accept_wait_at_most_us", json_incref(wait));
	json_decref(wait);
}

json_t *connect_row(struct trace_run *run, const void *event, size_t size)
{
	const struct weir_connect_event *e = event;
	json_t *row;

	(void)run;
	if (size < sizeof(*e))
		return NULL;
	row = json_object();
	json_object_set_new(row, "time", out_time(e->ns));
	row_add_owner(row, &e->owner);
	json_object_set_new(row, "role", json_string(role_name(e->role)));
	row_add_ends(row, &e->ends);
	json_object_set_new(row, "port_search_us", phase_json(e, WEIR_CONNECT_PORT_SEARCH));
	json_object_set_new(row, "handshake_us", phase_json(e, WEIR_CONNECT_HANDSHAKE));
	add_accept_wait(row, e);
	json_object_set_new(row, "total_us",
			    e->total_ns ? json_real(e->total_ns / 1e3) : json_null());
	json_object_set_new(row, "retransmits", json_integer(e->retransmits));
	json_object_set_new(row, "result", json_string(result_name(e->role, e->result)));
	json_object_set_new(row, "error", error_json(e->error));
	json_object_set_new(row, "netns_inode", json_integer(e->ends.netns));
	return row;
}

/* ---- summary ---- */

static json_t *times_json(const struct weir_connect_times *t)
{
	__u64 count = 0;

	for (int i = 0; i < WEIR_LOG2_SLOTS; i++)
		count += t->slot[i];
	return json_pack("{s:I,s:o,s:o,s:o,s:o}", "count", (json_int_t)count, "mean_us",
			 out_real(count ? (double)t->total_us / count : NAN), "p50_us",
			 out_real(log2_quantile(t->slot, 0.5)), "p99_us",
			 out_real(log2_quantile(t->slot, 0.99)), "histogram", log2_json(t->slot));
}

/* {"refused": 3, ...}, and the same in words. */
static __u64 add_failures(json_t *row, const struct weir_connect_endpoint *key,
			  const struct weir_connect_counts *n)
{
	json_t *failures = json_object();
	char text[256] = "";
	__u64 failed = 0;
	size_t used = 0;

	for (int i = WEIR_CONNECT_MADE + 1; i < WEIR_CONNECT_RESULTS; i++) {
		const char *name = result_name(key->role, i);

		if (!n->results[i])
			continue;
		failed += n->results[i];
		json_object_set_new(failures, name, json_integer(n->results[i]));
		if (used < sizeof(text))
			used += snprintf(text + used, sizeof(text) - used, "%s%s %llu",
					 used ? ", " : "", name, n->results[i]);
	}
	json_object_set_new(row, "failed", json_integer(failed));
	json_object_set_new(row, "failures", failures);
	json_object_set_new(row, "failures_text", json_string(text));
	return failed;
}

static void add_endpoint(json_t *rows, const struct weir_connect_endpoint *key,
			 const struct weir_connect_counts *n)
{
	json_t *row = json_object();

	json_object_set_new(row, "role", json_string(role_name(key->role)));
	json_object_set_new(row, "port", json_integer(key->port));
	json_object_set_new(row, "netns_inode", json_integer(key->netns));
	json_object_set_new(row, "connections", json_integer(n->results[WEIR_CONNECT_MADE]));
	json_object_set_new(row, "retransmitted", json_integer(n->retransmitted));
	if (!add_failures(row, key, n) && !n->results[WEIR_CONNECT_MADE]) {
		json_decref(row);
		return;
	}
	json_object_set_new(row, "port_search", times_json(&n->phase[WEIR_CONNECT_PORT_SEARCH]));
	json_object_set_new(row, "handshake", times_json(&n->phase[WEIR_CONNECT_HANDSHAKE]));
	json_object_set_new(row, "accept_wait", times_json(&n->phase[WEIR_CONNECT_ACCEPT_WAIT]));
	json_array_append_new(rows, row);
}

json_t *connect_summary(struct trace_run *run, double seconds)
{
	struct connect_own *own = run->own;
	struct weir_connect_counts n;
	struct counts now;
	json_t *rows;

	if (counts_of(&now, run, "endpoints"))
		return NULL;
	rows = json_array();
	for (size_t i = 0; i < now.count; i++) {
		counts_since(&n, &now, i, seconds ? &own->before : NULL);
		add_endpoint(rows, counts_key(&now, i), &n);
	}
	counts_free(&own->before);
	own->before = now;
	return json_pack("{s:o}", "endpoints", by_sorted(rows, "connections"));
}
