// SPDX-License-Identifier: GPL-2.0
#include "top.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "loader/tcp/life.h"
#include "loader/base/error.h"
#include "loader/trace/rows.h"
#include "loader/tcp/shortcuts.h"
#include "top_sockets.h"

#define ENDED_ROOM (16u << 20) /* bytes of events: 100000 ends between two times they are taken */

struct own {
	struct top_sockets *sockets;
};

/* ---- the tracer: the programs of `tcp life` tell of ends, an iterator of what lives ---- */

static int choose(struct trace_run *run)
{
	run->about.config.lines = 1;
	run->about.config.counted = 0;
	return trace_resize(run, "events", ENDED_ROOM);
}

static int begun(struct trace_run *run)
{
	struct own *own = run->own;
	int err = life_begun(run);

	return err ? err : top_sockets_open(&own->sockets, run);
}

static void forget(struct trace_run *run)
{
	struct own *own = run->own;

	top_sockets_close(own->sockets);
}

const struct tracer tracer_top = {
	.name = "top",
	.answers = "who moves how many bytes",
	.hooks = life_hooks,
	.hook_count = LIFE_HOOKS,
	.live_only = true,
	.own_size = sizeof(struct own),
	.elf = life_elf,
	.choose = choose,
	.begun = begun,
	.forget = forget,
};

/* ---- what makes a row ---- */

static const char *const by_names[] = {
	[TOP_BY_PROCESS] = "process",
	[TOP_BY_CONNECTION] = "connection",
	[TOP_BY_PORT] = "port",
};

#define WAYS (sizeof(by_names) / sizeof(by_names[0]))

int top_by_parse(enum top_by *by, const char *text)
{
	for (size_t i = 0; i < WAYS; i++)
		if (!strcmp(text, by_names[i])) {
			*by = i;
			return 0;
		}
	return misuse("--by '%s': a row is a process, a connection or a port", text);
}

static enum top_by by_of(const struct trace_run *run)
{
	const struct top_settings *settings = run->settings;

	return settings ? settings->by : TOP_BY_PROCESS;
}

static __u16 server_port(const struct top_use *u)
{
	return u->role == WEIR_PASSIVE	? u->ends.local_port
	       : u->role == WEIR_ACTIVE ? u->ends.remote_port
					: 0;
}

#define ORDER(a, b) (((a) > (b)) - ((a) < (b)))

static int by_process(const void *a, const void *b)
{
	const struct top_use *x = a, *y = b;

	return ORDER(x->owner.pid, y->owner.pid);
}

static int by_connection(const void *a, const void *b)
{
	const struct top_use *x = a, *y = b;
	int order = memcmp(&x->ends, &y->ends, sizeof(x->ends));

	return order ? order : ORDER(x->socket, y->socket);
}

static int by_port(const void *a, const void *b)
{
	const struct top_use *x = a, *y = b;
	int order = ORDER(x->role, y->role);

	return order ? order : ORDER(server_port(x), server_port(y));
}

static int (*const compare[WAYS])(const void *a, const void *b) = {
	[TOP_BY_PROCESS] = by_process,
	[TOP_BY_CONNECTION] = by_connection,
	[TOP_BY_PORT] = by_port,
};

/* ---- sums ---- */

struct sum {
	const struct top_use *first; /* of those with the same key; NULL: of all */
	__u64 sent, received;
	__u64 segs_out, retransmits;
	__u64 living, ended;
	__u64 measured; /* of both, with a known RTT */
	__u64 rtt_us;	/* of these, added up */
	__u32 rtt_us_max;
};

static void add(struct sum *s, const struct top_use *u)
{
	s->sent += u->sent;
	s->received += u->received;
	s->segs_out += u->segs_out;
	s->retransmits += u->retransmits;
	s->living += !u->ended;
	s->ended += u->ended;
	if (!u->srtt_us)
		return;
	s->measured++;
	s->rtt_us += u->srtt_us;
	if (u->srtt_us > s->rtt_us_max)
		s->rtt_us_max = u->srtt_us;
}

static size_t sum_up(struct sum *sums, const struct top_use *uses, size_t count, enum top_by by)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		if (!i || compare[by](&uses[i - 1], &uses[i]))
			sums[n++] = (struct sum){.first = &uses[i]};
		add(&sums[n - 1], &uses[i]);
	}
	return n;
}

static int most_first(const void *a, const void *b)
{
	const struct sum *x = a, *y = b;
	int order = ORDER(y->sent + y->received, x->sent + x->received);

	return order ? order : ORDER(x->first, y->first);
}

/* ---- JSON ---- */

static void set_connection(json_t *row, const struct top_use *u)
{
	row_add_ends(row, &u->ends);
	json_object_set_new(row, "role", life_role(u->role));
	json_object_set_new(row, "netns_inode", json_integer(u->ends.netns));
}

static void set_port(json_t *row, const struct top_use *u)
{
	__u16 port = server_port(u);

	json_object_set_new(row, "role", life_role(u->role));
	json_object_set_new(row, "server_port", port ? json_integer(port) : json_null());
}

static void set_key(json_t *row, const struct top_use *u, enum top_by by)
{
	if (by != TOP_BY_PORT)
		row_add_owner(row, &u->owner);
	if (by == TOP_BY_CONNECTION)
		set_connection(row, u);
	if (by == TOP_BY_PORT)
		set_port(row, u);
}

static json_t *row_of(const struct sum *s, enum top_by by, double seconds)
{
	json_t *row = json_object();

	if (s->first)
		set_key(row, s->first, by);
	json_object_set_new(row, "bytes_sent", json_integer(s->sent));
	json_object_set_new(row, "bytes_received", json_integer(s->received));
	json_object_set_new(row, "bytes_sent_per_second", json_real(s->sent / seconds));
	json_object_set_new(row, "bytes_received_per_second", json_real(s->received / seconds));
	json_object_set_new(row, "connections", json_integer(s->living));
	json_object_set_new(row, "connections_ended", json_integer(s->ended));
	json_object_set_new(row, "segments_out", json_integer(s->segs_out));
	json_object_set_new(row, "retransmitted_segments", json_integer(s->retransmits));
	json_object_set_new(row, "retransmitted_percent",
			    life_retransmitted_percent(s->retransmits, s->segs_out));
	json_object_set_new(row, "rtt_us_mean",
			    s->measured ? json_real((double)s->rtt_us / s->measured) : json_null());
	json_object_set_new(row, "rtt_us_max",
			    s->measured ? json_integer(s->rtt_us_max) : json_null());
	return row;
}

static json_t *summary_of(struct top_use *uses, size_t count, enum top_by by, double seconds)
{
	struct sum *sums = calloc(count + 1, sizeof(*sums)), total = {};
	json_t *rows = json_array();
	size_t n;

	if (!sums || !rows) {
		free(sums);
		json_decref(rows);
		return NULL;
	}
	for (size_t i = 0; i < count; i++)
		add(&total, &uses[i]);
	if (count)
		qsort(uses, count, sizeof(*uses), compare[by]);
	n = sum_up(sums, uses, count, by);
	qsort(sums, n, sizeof(*sums), most_first);
	for (size_t i = 0; i < n; i++)
		json_array_append_new(rows, row_of(&sums[i], by, seconds));
	free(sums);
	return json_pack("{s:s,s:o,s:o}", "by", by_names[by], "total", row_of(&total, by, seconds),
			 "rows", rows);
}

/* A process's sockets are not told apart before it is known whose they are. */
static size_t only_of(struct top_use *uses, size_t count, __u32 pid)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++)
		if (!pid || uses[i].owner.pid == pid)
			uses[kept++] = uses[i];
	return kept;
}

int top_meanwhile(struct trace_run *run)
{
	struct own *own = run->own;

	return top_sockets_take_ended(own->sockets);
}

json_t *top_summary(struct trace_run *run, double seconds)
{
	struct own *own = run->own;
	json_t *summary;
	struct top_use *uses;
	long count = top_sockets_look(own->sockets, &uses);

	if (count < 0)
		return NULL;
	count = only_of(uses, count, run->about.config.filter.pid);
	summary = summary_of(uses, count, by_of(run), seconds);
	shortcuts_tell_of(summary);
	return summary;
}
