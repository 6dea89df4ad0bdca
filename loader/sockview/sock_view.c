// SPDX-License-Identifier: GPL-2.0
#include "sock_view.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loader/base/error.h"
#include "loader/out/out.h"
#include "loader/tend/policy.h"
#include "loader/sock/settings.h"
#include "loader/tend/tend.h"

/* ---- readings ---- */

static int read_maps(struct sock_view *v, const struct instance *in, struct sock_stats *now)
{
	struct sock_maps m;
	int err = sock_maps_open(&m, in);

	if (err)
		return err;
	err = sock_stats_read(now, &m);
	v->on = m.control->on;
	v->room = m.pair_count;
	v->used = 0;
	for (__u32 i = 0; i < m.pair_count; i++)
		v->used += m.pairs[i].state != WEIR_PAIR_FREE;
	sock_maps_close(&m);
	return err;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct sock_scope *)a)->name, ((const struct sock_scope *)b)->name);
}

static int take(struct sock_view *v, const struct instance *in, struct sock_stats *now)
{
	int err;

	sock_scopes_free(v->scopes, v->scope_count);
	v->scopes = NULL;
	v->tender = 0;
	v->on = false;
	v->scope_count = sock_scopes(in, &v->scopes);
	if (v->scope_count <= 0) {
		err = v->scope_count;
		v->scope_count = 0;
		return err;
	}
	qsort(v->scopes, v->scope_count, sizeof(*v->scopes), by_name);
	err = read_maps(v, in, now);
	if (!err)
		v->tender = tender_process(in);
	/* Links that a damaged instance has left, without maps. */
	if (err == -ENOENT && !failure())
		err = fail(err, "the socket programs' maps are not there; 'weir sock detach --all' "
				"and 'weir sock attach' make them again");
	return err;
}

int sock_view_take(struct sock_view *v, const struct instance *in)
{
	struct sock_stats now = {};
	int err = take(v, in, &now);

	if (err) {
		sock_stats_free(&now);
		return err;
	}
	sock_stats_free(&v->before);
	v->before = v->now;
	v->now = now;
	return 0;
}

int sock_view_read(struct sock_view *v)
{
	struct instance in;
	int err = instance_open(&in, false);

	if (!err)
		err = sock_view_take(v, &in);
	instance_close(&in);
	return err;
}

void sock_view_free(struct sock_view *v)
{
	sock_scopes_free(v->scopes, v->scope_count);
	sock_stats_free(&v->now);
	sock_stats_free(&v->before);
	*v = (struct sock_view){};
}

/* ---- cgroups ---- */

const char *sock_scope_name(const struct sock_scope *scope)
{
	static char text[4][PATH_MAX];
	static int next;
	char *out = text[next++ % 4];

	if (*scope->name)
		snprintf(out, PATH_MAX, "%s", scope->name);
	else
		snprintf(out, PATH_MAX, "#%llu", scope->cgroup);
	return out;
}

const char *sock_cgroup_label(const struct sock_scope *scopes, int count, __u64 cgroup)
{
	struct sock_scope unknown = {.cgroup = cgroup};

	for (int i = 0; i < count; i++)
		if (scopes[i].cgroup == cgroup)
			return sock_scope_name(&scopes[i]);
	/* Detached since, with connections that it left. */
	if (cgroup_name(cgroup, unknown.name, sizeof(unknown.name)))
		unknown.name[0] = '\0';
	return sock_scope_name(&unknown);
}

/* A cgroup that was removed has no path. */
static int parse_name(const char *name, struct cgroup *cgroup)
{
	char *end;
	int err;

	*cgroup = (struct cgroup){.fd = -1};
	if (*name == '#') {
		snprintf(cgroup->path, sizeof(cgroup->path), "%s", name);
		errno = 0;
		cgroup->id = strtoull(name + 1, &end, 10);
		return errno || *end || !cgroup->id ? misuse("'%.60s' is no cgroup", name) : 0;
	}
	err = cgroup_open(cgroup, name);
	if (!err)
		close(cgroup->fd);
	cgroup->fd = -1;
	return err;
}

int sock_scope_find(const char *name, const struct sock_scope *scopes, int count,
		    struct cgroup *cgroup)
{
	int err = parse_name(name, cgroup);

	for (int i = 0; !err && i < count; i++)
		if (scopes[i].cgroup == cgroup->id)
			return 0;
	return err ? err
		   : fail(-ENOENT, "cgroup '%s' is not attached; 'weir sock show' lists what is",
			  name);
}

static json_t *local_json(const struct sock_scope *scope)
{
	json_t *list = json_array();
	char text[SOCK_PREFIX_TEXT];

	for (size_t i = 0; i < scope->local_count; i++) {
		sock_prefix_format(&scope->local[i], text);
		json_array_append_new(list, json_string(text));
	}
	return list;
}

json_t *sock_scope_json(const struct sock_scope *scope)
{
	char ports[SOCK_PORTS_TEXT];

	sock_ports_format(scope->config.port, scope->config.port_ranges, ports);
	return json_pack("{s:o, s:I, s:s, s:o, s:I}", "cgroup", out_string(sock_scope_name(scope)),
			 "cgroup_id", (json_int_t)scope->cgroup, "ports", ports, "local",
			 local_json(scope), "limit_bytes", (json_int_t)scope->config.limit);
}

/* Its settings in words, for the line below its counters. */
static void set_note(json_t *o, const struct sock_scope *scope)
{
	char ports[SOCK_PORTS_TEXT], limit[SOCK_LIMIT_TEXT], local[SOCK_PREFIX_TEXT] = "anywhere";
	char text[SOCK_PORTS_TEXT + SOCK_PREFIX_TEXT + 160], more[32] = "";

	sock_ports_format(scope->config.port, scope->config.port_ranges, ports);
	sock_limit_format(scope->config.limit, limit);
	if (scope->local_count)
		sock_prefix_format(&scope->local[0], local);
	if (scope->local_count > 1)
		snprintf(more, sizeof(more), " and %zu more", scope->local_count - 1);
	snprintf(text, sizeof(text), "ports: %s; to: %s%s; at most %s unread%s", ports, local, more,
		 limit, *scope->name ? "" : "; this cgroup was removed");
	json_object_set_new(o, "note", json_string(text));
}

/* ---- counters ---- */

static void set_count(json_t *o, const char *name, __u64 value)
{
	json_object_set_new(o, name, json_integer((json_int_t)value));
}

static void set_rate(json_t *o, const char *name, __u64 delta, double seconds)
{
	char key[64];

	snprintf(key, sizeof(key), "%s_per_second", name);
	json_object_set_new(o, key, json_real(delta / seconds));
}

static const struct {
	const char *name;
	size_t at;
} way_fields[] = {
	{"messages", offsetof(struct weir_way, messages)},
	{"bytes", offsetof(struct weir_way, bytes)},
	{"tcp_bytes", offsetof(struct weir_way, tcp_bytes)},
	{"gated", offsetof(struct weir_way, gated)},
	{"spilled", offsetof(struct weir_way, spilled)},
	{"streamed", offsetof(struct weir_way, streamed)},
};

/* delta: NULL when there is no rate. */
static void set_way(json_t *o, const struct weir_way *total, const struct weir_way *delta,
		    double seconds)
{
	for (size_t i = 0; i < sizeof(way_fields) / sizeof(way_fields[0]); i++) {
		const char *name = way_fields[i].name;
		size_t at = way_fields[i].at;

		set_count(o, name, *(const __u64 *)((const char *)total + at));
		if (delta)
			set_rate(o, name, *(const __u64 *)((const char *)delta + at), seconds);
	}
	set_count(o, "missed", total->missed);
}

static void set_refusals(json_t *o, const struct weir_sock_totals *total)
{
	enum weir_refusal top = sock_top_refusal(total);
	json_t *reasons = json_object();

	/* Nobody counts what the user left out. */
	for (int i = 0; i < WEIR_REFUSALS; i++)
		if (i != WEIR_R_SETTINGS)
			set_count(reasons, sock_refusal_names[i], total->refused[i]);
	set_count(o, "refused", sock_refused(total));
	json_object_set_new(o, "refused_by_reason", reasons);
	json_object_set_new(o, "top_reason",
			    top == WEIR_REFUSALS ? json_null()
						 : json_string(sock_refusal_names[top]));
}

static void set_counters(json_t *o, __u32 live, const struct weir_sock_totals *total,
			 const struct weir_sock_totals *delta, double seconds)
{
	static const char *const ends[WEIR_ENDS] = {"from_clients", "from_servers"};
	struct weir_way sum = sock_both_ways(total), since = {};
	double share;

	if (delta)
		since = sock_both_ways(delta);
	share = sock_shortcut_share(delta ? &since : &sum);
	set_count(o, "pairs", live);
	set_count(o, "pairs_total", total->pairs);
	set_count(o, "released", total->released);
	set_way(o, &sum, delta ? &since : NULL, seconds);
	json_object_set_new(o, "shortcut_percent", share < 0 ? json_null() : json_real(share));
	set_refusals(o, total);
	for (int end = 0; end < WEIR_ENDS; end++) {
		json_t *one = json_object();

		set_way(one, &total->way[end], delta ? &delta->way[end] : NULL, seconds);
		json_object_set_new(o, ends[end], one);
	}
}

static void add_totals(struct weir_sock_totals *to, const struct weir_sock_totals *more)
{
	to->pairs += more->pairs;
	to->released += more->released;
	for (int end = 0; end < WEIR_ENDS; end++) {
		struct weir_way *a = &to->way[end];
		const struct weir_way *b = &more->way[end];

		a->messages += b->messages;
		a->bytes += b->bytes;
		a->tcp_bytes += b->tcp_bytes;
		a->gated += b->gated;
		a->spilled += b->spilled;
		a->streamed += b->streamed;
		a->missed += b->missed;
	}
	for (int i = 0; i < WEIR_REFUSALS; i++)
		to->refused[i] += more->refused[i];
}

/* All ports of a cgroup. */
struct scope_sum {
	__u32 live;
	struct weir_sock_totals total, delta;
};

static json_t *port_json(const struct sock_view *v, const struct sock_port_stats *port,
			 struct scope_sum *sum)
{
	bool rated = v->before.seconds > 0;
	json_t *o = json_object();
	struct weir_sock_totals delta;

	sock_stats_between(&v->before, &v->now, port, &delta);
	json_object_set_new(o, "port", port->port ? json_integer(port->port) : json_null());
	set_counters(o, port->live, &port->total, rated ? &delta : NULL,
		     v->now.seconds - v->before.seconds);
	sum->live += port->live;
	add_totals(&sum->total, &port->total);
	add_totals(&sum->delta, &delta);
	return o;
}

/* The ports of a cgroup, and with `sum` what they come to. */
static json_t *ports_json(const struct sock_view *v, __u64 cgroup, struct scope_sum *sum)
{
	json_t *list = json_array();

	*sum = (struct scope_sum){};
	for (size_t i = 0; i < v->now.count; i++)
		if (v->now.port[i].cgroup == cgroup)
			json_array_append_new(list, port_json(v, &v->now.port[i], sum));
	return list;
}

static json_t *scope_row(const struct sock_view *v, const struct sock_scope *scope)
{
	json_t *o = sock_scope_json(scope), *ports;
	struct scope_sum sum;

	ports = ports_json(v, scope->cgroup, &sum);
	set_counters(o, sum.live, &sum.total, v->before.seconds > 0 ? &sum.delta : NULL,
		     v->now.seconds - v->before.seconds);
	set_note(o, scope);
	json_object_set_new(o, "by_port", ports);
	return o;
}

static double length(const struct sock_view *v)
{
	return v->before.seconds > 0 ? v->now.seconds - v->before.seconds : 0;
}

json_t *sock_view_json(const struct sock_view *v, __u64 only)
{
	json_t *cgroups = json_array();

	for (int i = 0; i < v->scope_count; i++)
		if (!only || v->scopes[i].cgroup == only)
			json_array_append_new(cgroups, scope_row(v, &v->scopes[i]));
	return json_pack("{s:f, s:o, s:b, s:o}", "seconds", length(v), "tender_process",
			 v->tender ? json_integer(v->tender) : json_null(), "on", v->on, "cgroups",
			 cgroups);
}

/* A cgroup without any connection yet has a row as well: that nothing happens is to be seen. */
json_t *sock_view_rows(const struct sock_view *v, __u64 only)
{
	json_t *rows = json_array();

	for (int i = 0; i < v->scope_count; i++) {
		const struct sock_scope *scope = &v->scopes[i];
		struct scope_sum sum;
		json_t *ports, *port;
		size_t at;

		if (only && scope->cgroup != only)
			continue;
		ports = ports_json(v, scope->cgroup, &sum);
		if (!json_array_size(ports)) {
			port = json_pack("{s:n}", "port");
			set_counters(port, 0, &sum.total, &sum.delta, length(v));
			json_array_append_new(ports, port);
		}
		json_array_foreach (ports, at, port) {
			json_t *row = json_pack("{s:o, s:I}", "cgroup",
						out_string(sock_scope_name(scope)), "cgroup_id",
						(json_int_t)scope->cgroup);

			json_object_update(row, port);
			json_array_append_new(rows, row);
		}
		json_decref(ports);
	}
	return rows;
}

__u64 sock_view_pairs(const struct sock_view *v)
{
	__u64 pairs = 0;

	for (size_t i = 0; i < v->now.count; i++)
		pairs += v->now.port[i].live;
	return pairs;
}

void sock_view_tender(const struct sock_view *v, char *text, size_t room)
{
	if (v->tender)
		snprintf(text, room, "tended by process %d", v->tender);
	else
		snprintf(text, room,
			 "nobody tends: what is short-cut stays so, and new connections stay on "
			 "TCP; 'weir run' or 'weir sock attach %s' starts it again",
			 v->scope_count ? sock_scope_name(&v->scopes[0]) : "CGROUP");
}

/* ---- connections ---- */

static void set_end(json_t *o, const char *key, const struct sock_end *end)
{
	char text[SOCK_END_TEXT];

	sock_end_format(end, text);
	json_object_set_new(o, key, json_string(text));
}

static void set_reason(json_t *o, const struct connection *c)
{
	enum weir_refusal reason = connection_refusal(c);
	bool known = reason < WEIR_REFUSALS;

	json_object_set_new(o, "reason",
			    known ? json_string(sock_refusal_names[reason]) : json_null());
	json_object_set_new(o, "reason_text",
			    known ? json_string(sock_refusal_texts[reason]) : json_null());
}

static void set_pair(json_t *o, const struct weir_pair *p)
{
	static const struct weir_pair none;
	const struct weir_way *a, *b;

	if (p->state == WEIR_PAIR_FREE)
		p = &none;
	a = &p->way[WEIR_CONNECTED];
	b = &p->way[WEIR_ACCEPTED];
	set_count(o, "messages", a->messages + b->messages);
	set_count(o, "bytes", a->bytes + b->bytes);
	set_count(o, "gated", a->gated + b->gated);
	set_count(o, "spilled", a->spilled + b->spilled);
	set_count(o, "streamed", a->streamed + b->streamed);
}

json_t *connection_json(const struct connection *c, const struct sock_scope *scopes, int count)
{
	const struct weir_sock_record *known = connection_known(c);
	struct sock_end client = connection_client(c), server = connection_server(c);
	json_t *o = json_object();

	set_end(o, "client", &client);
	set_end(o, "server", &server);
	set_count(o, "port", known->sock.port);
	json_object_set_new(o, "cgroup",
			    out_string(sock_cgroup_label(scopes, count, known->sock.cgroup)));
	set_count(o, "cgroup_id", known->sock.cgroup);
	json_object_set_new(o, "state", json_string(connection_state_names[c->state]));
	set_reason(o, c);
	json_object_set_new(o, "age_seconds", json_real((known->ns - known->sock.born_ns) / 1e9));
	set_pair(o, &c->pair);
	set_count(o, "tcp_bytes", connection_tcp_bytes(c));
	return o;
}
