// SPDX-License-Identifier: GPL-2.0
#include "why.h"

#include <stdarg.h>
#include <stdio.h>

#include "loader/out/out.h"
#include "loader/out/units.h"
#include "loader/tend/policy.h"

void why_step(json_t *steps, const char *name, const char *format, ...)
{
	char text[PATH_MAX + 512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	json_array_append_new(steps,
			      json_pack("{s:s, s:o}", "step", name, "says", out_string(text)));
}

/* Clauses of one sentence, which grows. */
struct words {
	char text[900];
	size_t used;
};

static void also(struct words *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void also(struct words *w, const char *format, ...)
{
	va_list args;

	if (w->used && w->used + 2 < sizeof(w->text))
		w->used += sprintf(w->text + w->used, ", ");
	va_start(args, format);
	w->used += vsnprintf(w->text + w->used, sizeof(w->text) - w->used, format, args);
	va_end(args);
	if (w->used >= sizeof(w->text))
		w->used = sizeof(w->text) - 1;
}

static const char *bytes_text(__u64 bytes)
{
	static char text[4][UNIT_ROOM];
	static int next;

	return unit_format(text[next++ % 4], UNIT_BYTES, bytes);
}

static const char *time_text(__u64 ns)
{
	static char text[4][UNIT_ROOM];
	static int next;

	return unit_format(text[next++ % 4], UNIT_US, ns / 1e3);
}

static const char *end_name(int end)
{
	return end == WEIR_CONNECTED ? "client" : "server";
}

/* ---- an end ---- */

struct meaning {
	__u32 flag;
	const char *text;
};

static const struct meaning options_set[] = {
	{WEIR_SOCK_ZEROCOPY, "SO_ZEROCOPY"},
	{WEIR_SOCK_ULP, "an upper layer protocol"},
	{WEIR_SOCK_LOWAT, "SO_RCVLOWAT"},
	{WEIR_SOCK_BUSY, "SO_BUSY_POLL"},
	{WEIR_SOCK_OPTIONS, "an option that needs packets"},
	{WEIR_SOCK_URGENT, "urgent data"},
	{WEIR_SOCK_TWICE, "claimed by another socket as well"},
};

static const struct meaning calls_seen[] = {
	{WEIR_SAW_BLOCKING, "reads that may sleep"},
	{WEIR_SAW_WAITALL, "MSG_WAITALL"},
	{WEIR_SAW_OOB, "MSG_OOB"},
	{WEIR_SAW_TRUNC, "MSG_TRUNC"},
	{WEIR_SAW_ZEROCOPY, "MSG_ZEROCOPY"},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *tcp_state(__u8 state)
{
	static const char *const names[] = {"closed",	   "established", "connecting", "accepting",
					    "closing",	   "half-closed", "time-wait",	"closed",
					    "half-closed", "closing",	  "listening",	"closing"};

	return state < COUNT(names) ? names[state] : "?";
}

static void tell_socket(json_t *steps, const struct connection *c, int end)
{
	const struct weir_sock_record *r = c->end[end];
	struct words w = {};

	if (!r) {
		why_step(steps, end_name(end), "not seen");
		return;
	}
	also(&w, "%s", tcp_state(r->tcp_state));
	also(&w, "network namespace %llu", r->netns);
	also(&w, r->flags & WEIR_SOCK_NONBLOCK ? "O_NONBLOCK" : "not O_NONBLOCK");
	for (size_t i = 0; i < COUNT(options_set); i++)
		if (r->flags & options_set[i].flag)
			also(&w, "%s", options_set[i].text);
	if (r->queued)
		also(&w, "%s of memory with unread bytes", bytes_text(r->queued));
	also(&w, "by TCP %s sent and %s received", bytes_text(r->bytes_sent),
	     bytes_text(r->bytes_received));
	why_step(steps, end_name(end), "%s", w.text);
}

static void tell_evidence(json_t *steps, const struct connection *c, int end)
{
	const struct weir_sock_record *r = c->end[end];
	const struct weir_evidence *e;
	struct words w = {};

	if (!r || r->sock.state == WEIR_SOCK_BORN)
		return;
	e = &r->sock.evidence;
	if (!e->recvs && !e->empty && !e->sends)
		return;
	also(&w, "%u reads gave %s", e->recvs, bytes_text(e->received));
	also(&w, "%u found nothing", e->empty);
	also(&w, "%u sends took %s", e->sends, bytes_text(e->sent));
	also(&w, "%u times a send was answered", e->turns);
	if (e->odd)
		also(&w, "%u times bytes were gone that no recvmsg() gave out", e->odd);
	for (size_t i = 0; i < COUNT(calls_seen); i++)
		if (e->saw & calls_seen[i].flag)
			also(&w, "%s", calls_seen[i].text);
	why_step(steps, end == WEIR_CONNECTED ? "client calls" : "server calls",
		 "when observed: %s", w.text);
}

/* ---- the connection ---- */

static void tell_addresses(json_t *steps, const struct connection *c, const struct sock_known *k)
{
	const struct weir_sock_record *known = connection_known(c);
	struct sock_end client = connection_client(c), server = connection_server(c);
	char from[SOCK_END_TEXT], to[SOCK_END_TEXT];

	sock_end_format(&client, from);
	sock_end_format(&server, to);
	why_step(steps, "connection", "%s to %s, known for %s, cgroup %s", from, to,
		 time_text(known->ns - known->sock.born_ns),
		 sock_cgroup_label(k->scopes, k->scope_count, known->sock.cgroup));
	if (c->end[WEIR_CONNECTED] && c->end[WEIR_ACCEPTED]) {
		struct sock_end seen_server = sock_remote(c->end[WEIR_CONNECTED]);
		struct sock_end seen_client = sock_remote(c->end[WEIR_ACCEPTED]);

		if (sock_end_equal(&seen_server, &server) && sock_end_equal(&seen_client, &client))
			return;
		sock_end_format(&seen_server, to);
		sock_end_format(&seen_client, from);
		why_step(steps, "nat",
			 "the client knows the server as %s, the server knows the client as %s", to,
			 from);
	}
}

static void tell_traffic(json_t *steps, const struct connection *c)
{
	for (int end = 0; end < WEIR_ENDS && c->pair.state != WEIR_PAIR_FREE; end++) {
		const struct weir_way *way = &c->pair.way[end];
		struct words w = {};

		also(&w, "%llu message%s with %s short-cut", way->messages,
		     way->messages == 1 ? "" : "s", bytes_text(way->bytes));
		if (way->tcp_bytes)
			also(&w, "%s by TCP since", bytes_text(way->tcp_bytes));
		if (way->gated)
			also(&w, "%llu message%s waited for bytes sent by TCP to be read first",
			     way->gated, way->gated == 1 ? "" : "s");
		if (way->spilled)
			also(&w, "%llu as the reader had %s or %d messages unread", way->spilled,
			     bytes_text(c->pair.limit), WEIR_QUEUED_MAX);
		if (way->streamed)
			also(&w, "%llu as small ones without an answer", way->streamed);
		if (way->missed)
			also(&w, "%u as the other socket was gone", way->missed);
		why_step(steps, end == WEIR_CONNECTED ? "from client" : "from server", "%s",
			 w.text);
	}
}

/* ---- the judgement ---- */

static void tell_refused(json_t *steps, const struct connection *c)
{
	const struct weir_sock_record *known = connection_known(c);
	enum weir_refusal reason = connection_refusal(c);
	const struct weir_sock *s = &known->sock;

	if (reason == WEIR_REFUSALS)
		why_step(steps, "judgement", "stays on TCP: it was short-cut, and was given back");
	else
		why_step(steps, "judgement", "stays on TCP: %s", sock_refusal_texts[reason]);
	if (s->again_ns == WEIR_NEVER)
		why_step(steps, "again", "never: it stays there");
	else if (s->again_ns > known->ns)
		why_step(steps, "again", "in %s, once it has %d more segments with data",
			 time_text(s->again_ns - known->ns), WEIR_AGAIN_SEGS);
	else
		why_step(steps, "again", "once it has %d more segments with data", WEIR_AGAIN_SEGS);
	if (reason != WEIR_REFUSALS)
		why_step(steps, "remedy", "%s", sock_refusal_remedies[reason]);
}

static void tell_judged_now(json_t *steps, const struct connection *c)
{
	struct sock_judgement j = sock_judge(c->end);
	enum weir_refusal before = connection_refusal(c);

	switch (j.verdict) {
	case SOCK_PROMOTE:
		why_step(steps, "judgement",
			 "requests and answers, read by recvmsg() without sleeping: it is "
			 "about to be short-cut");
		break;
	case SOCK_REFUSE:
		why_step(steps, "judgement", "by what the %s does it stays on TCP: %s",
			 end_name(j.end), sock_refusal_texts[j.reason]);
		why_step(steps, "remedy", "%s", sock_refusal_remedies[j.reason]);
		break;
	default: why_step(steps, "judgement", "not enough was seen yet to tell"); break;
	}
	if (j.verdict != SOCK_REFUSE && before != WEIR_REFUSALS)
		why_step(steps, "before", "stayed on TCP: %s", sock_refusal_texts[before]);
}

/* One end is known: what the kernel tells of its socket and of the other one says more. */
static void tell_unpaired(json_t *steps, const struct connection *c,
			  const struct strangers *sockets, const struct sock_known *k)
{
	const struct weir_sock_record *known = connection_known(c);
	struct sock_end local = sock_local(known), remote = sock_remote(known);

	for (size_t i = 0; i < sockets->count; i++) {
		const struct stranger *s = &sockets->list[i];

		if (!sock_end_equal(&s->local, &local) || !sock_end_equal(&s->remote, &remote) ||
		    (known->sock.confirmed && !stranger_peer(sockets, s)))
			continue;
		why_outside(steps, s, stranger_peer(sockets, s), known->sock.port, k);
		return;
	}
	why_step(steps, "judgement", "stays on TCP: %s",
		 known->sock.confirmed ? "its other end has closed, or its cgroup was detached"
				       : "only one end is known");
}

static void tell_state(json_t *steps, const struct connection *c, const struct strangers *sockets,
		       const struct sock_known *k)
{
	switch (c->state) {
	case CONNECTION_SHORTCUT:
		why_step(steps, "judgement", "short-cut for %s",
			 time_text(connection_known(c)->ns - c->pair.since_ns));
		break;
	case CONNECTION_JOINING:
		why_step(steps, "judgement",
			 "is being put on the short cut; its sends go by TCP still");
		break;
	case CONNECTION_LEAVING:
		why_step(steps, "judgement",
			 "its sends go by TCP; it leaves the short cut when all is read "
			 "and nobody waits inside of recv(), or when it closes");
		break;
	case CONNECTION_UNPAIRED: tell_unpaired(steps, c, sockets, k); break;
	case CONNECTION_TCP: tell_refused(steps, c); break;
	case CONNECTION_OBSERVED: tell_judged_now(steps, c); break;
	default:
		why_step(steps, "judgement",
			 "not judged yet: it takes %d segments with data, and a tenth of a second",
			 WEIR_OBSERVE_SEGS);
		break;
	}
	if (!k->tender && c->state != CONNECTION_SHORTCUT)
		why_step(steps, "remedy", "nobody tends, so that nothing is promoted: 'weir run'");
	if (!k->on)
		why_step(steps, "remedy",
			 "the short cut is switched off: 'weir sock attach' switches it on");
}

static json_t *end_json(const struct weir_sock_record *r)
{
	char local[SOCK_END_TEXT], remote[SOCK_END_TEXT];
	struct sock_end l, m;

	if (!r)
		return json_null();
	l = sock_local(r);
	m = sock_remote(r);
	sock_end_format(&l, local);
	sock_end_format(&m, remote);
	return json_pack(
		"{s:s, s:s, s:s, s:I, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "local",
		local, "remote", remote, "tcp_state", tcp_state(r->tcp_state), "netns",
		(json_int_t)r->netns, "cookie", (json_int_t)r->sock.cookie, "nonblocking",
		!!(r->flags & WEIR_SOCK_NONBLOCK), "unread_memory_bytes", (json_int_t)r->queued,
		"tcp_bytes_sent", (json_int_t)r->bytes_sent, "tcp_bytes_received",
		(json_int_t)r->bytes_received, "reads", (json_int_t)r->sock.evidence.recvs,
		"empty_reads", (json_int_t)r->sock.evidence.empty, "sends",
		(json_int_t)r->sock.evidence.sends, "turns", (json_int_t)r->sock.evidence.turns,
		"unseen_reads", (json_int_t)r->sock.evidence.odd);
}

json_t *why_connection(const struct connection *c, const struct strangers *sockets,
		       const struct sock_known *k)
{
	json_t *steps = json_array();
	json_t *o = connection_json(c, k->scopes, k->scope_count);

	tell_addresses(steps, c, k);
	for (int end = 0; end < WEIR_ENDS; end++) {
		tell_socket(steps, c, end);
		tell_evidence(steps, c, end);
	}
	tell_traffic(steps, c);
	tell_state(steps, c, sockets, k);
	json_object_set_new(o, "known", json_true());
	json_object_set_new(o, "ends",
			    json_pack("{s:o, s:o}", "client", end_json(c->end[WEIR_CONNECTED]),
				      "server", end_json(c->end[WEIR_ACCEPTED])));
	json_object_set_new(o, "steps", steps);
	return o;
}
