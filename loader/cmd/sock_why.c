// SPDX-License-Identifier: GPL-2.0
/* weir sock why: what keeps a connection on TCP, or what its short cut has done. */
#include "loader/sock/why.h"

#include <errno.h>

#include "command.h"
#include "loader/base/error.h"
#include "loader/base/options.h"
#include "loader/out/out.h"
#include "sock_list.h"

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

static int show_stranger(const struct question *q, const struct sock_known *known)
{
	struct strangers strangers;
	int err;

	err = strangers_find(&strangers, &q->end[0], q->count > 1 ? &q->end[1] : NULL);
	if (err)
		return err;
	err = out_show(why_stranger(&strangers, &q->end[0], known), &table, 1);
	strangers_free(&strangers);
	return err;
}

static int show_many(const struct sock_known *known)
{
	json_t *list = json_array();
	int err;

	if (!options.json) {
		json_decref(list);
		err = out_show(json_pack("{s:o}", "connections", sock_known_json(known)),
			       &sock_list_table, 1);
		return err ? err
			   : out_text("\n%zu connections have this end; name both ends of one",
				      known->connections.count);
	}
	for (size_t i = 0; i < known->connections.count; i++)
		json_array_append_new(list, why_connection(&known->connections.list[i], known));
	return out_show(json_pack("{s:o}", "connections", list), NULL, 0);
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
	if (!known.connections.count)
		err = show_stranger(&question, &known);
	else if (known.connections.count > 1)
		err = show_many(&known);
	else
		err = out_show(why_connection(&known.connections.list[0], &known), &table, 1);
	sock_known_free(&known);
	return err;
}
