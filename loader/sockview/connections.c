// SPDX-License-Identifier: GPL-2.0
#include "connections.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loader/base/error.h"
#include "loader/service/address.h"

const char *const connection_state_names[CONNECTION_STATES] = {
	[CONNECTION_UNPAIRED] = "unpaired", [CONNECTION_NEW] = "new",
	[CONNECTION_OBSERVED] = "observed", [CONNECTION_TCP] = "tcp",
	[CONNECTION_JOINING] = "joining",   [CONNECTION_SHORTCUT] = "shortcut",
	[CONNECTION_LEAVING] = "leaving",
};

/* ---- states ---- */

static bool is_joined(const struct weir_sock_record *r)
{
	return r && r->sock.state == WEIR_SOCK_JOINED;
}

/* Slots are used again: a pair is this socket's if its cookie is. */
static bool find_pair(const struct sock_maps *m, const struct weir_sock_record *r,
		      struct weir_pair *pair)
{
	if (!is_joined(r) || r->sock.pair >= m->pair_count)
		return false;
	*pair = m->pairs[r->sock.pair];
	if (pair->state != WEIR_PAIR_FREE && pair->cookie[r->sock.end & 1] == r->sock.cookie)
		return true;
	pair->state = WEIR_PAIR_FREE;
	return false;
}

static bool any_in(const struct connection *c, enum weir_sock_state state)
{
	for (int end = 0; end < WEIR_ENDS; end++)
		if (c->end[end] && c->end[end]->sock.state == state)
			return true;
	return false;
}

static enum connection_state state_of(const struct connection *c, bool on)
{
	if (c->pair.state == WEIR_PAIR_JOINING)
		return CONNECTION_JOINING;
	if (c->pair.state == WEIR_PAIR_ON && on)
		return CONNECTION_SHORTCUT;
	if (any_in(c, WEIR_SOCK_JOINED))
		return CONNECTION_LEAVING;
	if (!c->end[WEIR_CONNECTED] || !c->end[WEIR_ACCEPTED])
		return CONNECTION_UNPAIRED;
	if (any_in(c, WEIR_SOCK_REFUSED))
		return CONNECTION_TCP;
	return any_in(c, WEIR_SOCK_OBSERVED) ? CONNECTION_OBSERVED : CONNECTION_NEW;
}

static struct connection describe(const struct walker *w, const struct sock_maps *m, size_t index,
				  long other)
{
	const struct weir_sock_record *r = &w->record[index];
	struct connection c = {};

	c.end[r->sock.end & 1] = r;
	if (other >= 0)
		c.end[!(r->sock.end & 1)] = &w->record[other];
	for (int end = 0; end < WEIR_ENDS; end++)
		if (find_pair(m, c.end[end], &c.pair))
			break;
	c.state = state_of(&c, m->control->on);
	return c;
}

/* ---- all of them ---- */

static int list_all(struct connections *c, const struct sock_maps *m,
		    bool (*wanted)(const struct connection *c, const void *data), const void *data)
{
	c->list = calloc(c->walker.count + 1, sizeof(*c->list));
	if (!c->list)
		return fail(-ENOMEM, "out of memory for %zu sockets", c->walker.count);
	for (size_t i = 0; i < c->walker.count; i++) {
		long other = walker_other(&c->walker, i);
		struct connection one;

		if (other >= 0 && (size_t)other < i)
			continue;
		one = describe(&c->walker, m, i, other);
		if (!wanted || wanted(&one, data))
			c->list[c->count++] = one;
	}
	return 0;
}

/* What carries most comes first. */
static int by_bytes(const void *a, const void *b)
{
	__u64 x = connection_shortcut_bytes(a), y = connection_shortcut_bytes(b);

	if (x == y) {
		x = connection_tcp_bytes(a);
		y = connection_tcp_bytes(b);
	}
	return x > y ? -1 : x < y;
}

int connections_read(struct connections *c, const struct sock_maps *m,
		     bool (*wanted)(const struct connection *c, const void *data), const void *data)
{
	int err;

	*c = (struct connections){};
	err = walker_open(&c->walker, m, false);
	if (err)
		return err;
	err = walker_walk(&c->walker, (struct weir_walk){.all = 1});
	if (!err)
		err = list_all(c, m, wanted, data);
	if (err)
		connections_free(c);
	else if (c->count)
		qsort(c->list, c->count, sizeof(*c->list), by_bytes);
	return err;
}

void connections_free(struct connections *c)
{
	free(c->list);
	walker_close(&c->walker);
	*c = (struct connections){};
}

/* ---- one of them ---- */

const struct weir_sock_record *connection_known(const struct connection *c)
{
	return c->end[WEIR_ACCEPTED] ? c->end[WEIR_ACCEPTED] : c->end[WEIR_CONNECTED];
}

__u64 connection_shortcut_bytes(const struct connection *c)
{
	return c->pair.state == WEIR_PAIR_FREE ? 0 : c->pair.way[0].bytes + c->pair.way[1].bytes;
}

/* What one end has received the other one has sent. */
__u64 connection_tcp_bytes(const struct connection *c)
{
	const struct weir_sock_record *a = c->end[WEIR_CONNECTED], *b = c->end[WEIR_ACCEPTED];

	if (a && b)
		return a->bytes_sent + b->bytes_sent;
	if (!a)
		a = b;
	return a ? a->bytes_sent + a->bytes_received : 0;
}

enum weir_refusal connection_refusal(const struct connection *c)
{
	for (int end = 0; end < WEIR_ENDS; end++)
		if (c->end[end] && c->end[end]->sock.refused &&
		    c->end[end]->sock.reason < WEIR_REFUSALS)
			return c->end[end]->sock.reason;
	return WEIR_REFUSALS;
}

/* ---- addresses ---- */

static struct sock_end make_end(const __be32 address[4], __u16 port)
{
	struct sock_end end = {.port = port};

	memcpy(end.address, address, sizeof(end.address));
	return end;
}

struct sock_end sock_local(const struct weir_sock_record *r)
{
	return make_end(r->local, r->local_port);
}

struct sock_end sock_remote(const struct weir_sock_record *r)
{
	return make_end(r->remote, r->remote_port);
}

struct sock_end connection_client(const struct connection *c)
{
	return c->end[WEIR_CONNECTED] ? sock_local(c->end[WEIR_CONNECTED])
				      : sock_remote(c->end[WEIR_ACCEPTED]);
}

struct sock_end connection_server(const struct connection *c)
{
	return c->end[WEIR_ACCEPTED] ? sock_local(c->end[WEIR_ACCEPTED])
				     : sock_remote(c->end[WEIR_CONNECTED]);
}

bool sock_end_equal(const struct sock_end *a, const struct sock_end *b)
{
	return a->port == b->port && !memcmp(a->address, b->address, sizeof(a->address));
}

static const __u8 mapped[12] = {[10] = 0xff, [11] = 0xff};

void sock_end_format(const struct sock_end *end, char text[SOCK_END_TEXT])
{
	const __u8 *bytes = (const __u8 *)end->address;
	struct address a = {.family = 6, .bits = 128};
	char port[8];

	if (!memcmp(bytes, mapped, sizeof(mapped))) {
		a.family = 4;
		a.bits = 32;
		memcpy(a.byte, bytes + sizeof(mapped), 4);
	} else {
		memcpy(a.byte, bytes, sizeof(a.byte));
	}
	snprintf(port, sizeof(port), "%u", end->port);
	endpoint_format(&a, port, text);
}

int sock_end_parse(const char *text, struct sock_end *end)
{
	__u8 bytes[16] = {0};
	struct endpoint e;

	if (endpoint_parse("connection", text, &e))
		return -EINVAL;
	if (e.port <= 0)
		return misuse("connection '%.60s' has no port; wanted an end of it as %s", text,
			      e.address.family == 4 ? "192.0.2.1:80" : "[2001:db8::1]:80");
	if (e.address.family == 4) {
		memcpy(bytes, mapped, sizeof(mapped));
		memcpy(bytes + sizeof(mapped), e.address.byte, 4);
	} else {
		memcpy(bytes, e.address.byte, sizeof(bytes));
	}
	memcpy(end->address, bytes, sizeof(bytes));
	end->port = e.port;
	return 0;
}
