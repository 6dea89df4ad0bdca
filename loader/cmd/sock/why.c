// SPDX-License-Identifier: GPL-2.0
/* weir sock why: what keeps a connection on TCP, or what its short cut has done. */
#include "loader/sockview/why.h"

#include <errno.h>

#include "loader/cmd/command.h"
#include "loader/base/error.h"
#include "loader/base/options.h"
#include "loader/out/out.h"
#include "list.h"

static const struct column columns[] = {
	COLUMN("step", "Step", UNIT_TEXT),
	COLUMN("says", "What is known", UNIT_TEXT),
};

static const struct table table = {.rows = "steps", COLUMNS(columns)};

/* One end of the connection, or both, in any order. */
struct question {
	struct sock_end end[2];
	int count;
};

static int parse(struct args *args, struct question *q)
{
	while (args->count && q->count < 2)
		if (sock_end_parse(next_word(args), &q->end[q->count++]))
			return -EINVAL;
	if (!q->count)
		return misuse("a connection is missing; wanted one of its ends, or both, as "
			      "192.0.2.1:80 or [2001:db8::1]:80");
	return no_more_words(args);
}

/* As either end knows itself and the other one: they differ when NAT is between. */
static bool has_end(const struct connection *c, const struct sock_end *end)
{
	for (int i = 0; i < WEIR_ENDS; i++) {
		struct sock_end local, remote;

		if (!c->end[i])
			continue;
		local = sock_local(c->end[i]);
		remote = sock_remote(c->end[i]);
		if (sock_end_equal(&local, end) || sock_end_equal(&remote, end))
			return true;
	}
	return false;
}

static bool is_asked_for(const struct connection *c, const void *data)
{
	const struct question *q = data;

	return has_end(c, &q->end[0]) && (q->count < 2 || has_end(c, &q->end[1]));
}

/* All that the kernel knows to say of the sockets at these ends. */
static int find_sockets(struct strangers *sockets, const struct question *q)
{
	return strangers_find(sockets, &q->end[0], q->count > 1 ? &q->end[1] : NULL);
}

static int show_one(const struct sock_known *known, const struct question *q)
{
	struct strangers sockets;
	json_t *document;
	int err = find_sockets(&sockets, q);

	if (err)
		return err;
	document = known->connections.count
			   ? why_connection(&known->connections.list[0], &sockets, known)
			   : why_stranger(&sockets, &q->end[0], known);
	strangers_free(&sockets);
	return out_show(document, &table, 1);
}

static int show_many(const struct sock_known *known, const struct question *q)
{
	size_t count = known->connections.count;
	json_t *list = json_array();
	struct strangers sockets;
	int err = find_sockets(&sockets, q);

	for (size_t i = 0; !err && i < count; i++)
		json_array_append_new(list,
				      why_connection(&known->connections.list[i], &sockets, known));
	if (err) {
		json_decref(list);
		return err;
	}
	strangers_free(&sockets);
	err = out_show(json_pack("{s:o}", "connections", list), &sock_list_table, 1);
	return err || options.json
		       ? err
		       : out_text("\n%zu connections have this end; name both ends of one", count);
}

int cmd_sock_why(struct args *args)
{
	struct question question = {};
	struct sock_known known;
	int err = parse(args, &question);

	if (!err)
		err = sock_known_read(&known, is_asked_for, &question);
	if (err)
		return err;
	err = known.connections.count > 1 ? show_many(&known, &question)
					  : show_one(&known, &question);
	sock_known_free(&known);
	return err;
}
