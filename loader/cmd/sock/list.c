// SPDX-License-Identifier: GPL-2.0
/* weir sock list: every local connection that weir knows. */
#include "list.h"

#include <errno.h>

#include "loader/cmd/command.h"
#include "loader/base/error.h"
#include "loader/out/out.h"
#include "loader/sockview/known.h"

static const struct column columns[] = {
	COLUMN("client", "Client", UNIT_TEXT),
	COLUMN("server", "Server", UNIT_TEXT),
	COLUMN("state", "State", UNIT_TEXT),
	COLUMN("reason", "Refused", UNIT_TEXT),
	COLUMN("bytes", "Short-cut", UNIT_BYTES),
	COLUMN("tcp_bytes", "By TCP", UNIT_BYTES),
	COLUMN("messages", "Messages", UNIT_COUNT),
	COLUMN("age_seconds", "Age", UNIT_SECONDS),
	COLUMN("cgroup", "Cgroup", UNIT_TEXT, .mark = MARK_FAINT),
};

const struct table sock_list_table = {
	.rows = "connections",
	.empty = "no local connection is known; 'weir sock show' tells what is attached",
	COLUMNS(columns),
};

static bool has_port(const struct connection *c, const void *data)
{
	const long *port = data;

	return !*port || connection_known(c)->sock.port == *port;
}

int cmd_sock_list(struct args *args)
{
	const char *word = next_word(args);
	struct sock_known known;
	long port = 0;
	int err = 0;

	if (word)
		err = parse_number("port", word, 1, 65535, &port);
	if (!err)
		err = no_more_words(args);
	if (!err)
		err = sock_known_read(&known, has_port, &port);
	if (err)
		return err;
	err = out_show(json_pack("{s:o}", "connections", sock_known_json(&known)), &sock_list_table,
		       1);
	sock_known_free(&known);
	return err;
}
