// SPDX-License-Identifier: GPL-2.0
#include "by.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "loader/base/error.h"
#include "loader/out/endpoint.h"

static const struct {
	const char *word;
	__u32 bit;
	struct column column;
} words[BY_COLUMNS] = {
	{"peer", WEIR_BY_PEER, COLUMN("peer", "Peer", UNIT_TEXT)},
	{"port", WEIR_BY_PORT, COLUMN("port", "Port", UNIT_NUMBER)},
	{"peer-port", WEIR_BY_PEER_PORT, COLUMN("peer_port", "Peer port", UNIT_NUMBER)},
	{"netns", WEIR_BY_NETNS, COLUMN("netns_inode", "Netns", UNIT_NUMBER)},
};

static __u32 bit_of(const char *word)
{
	for (int i = 0; i < BY_COLUMNS; i++)
		if (!strcmp(word, words[i].word))
			return words[i].bit;
	return 0;
}

int by_parse(struct weir_by *by, const char *text)
{
	char *copy = strdup(text), *rest = copy, *item;
	__u32 what = 0, bit;
	int err = copy ? 0 : fail(-ENOMEM, "out of memory");

	while (!err && (item = strsep(&rest, ","))) {
		bit = bit_of(item);
		if (!bit)
			err = misuse("--by '%s': a row can be made by " BY_WORDS, item);
		what |= bit;
	}
	free(copy);
	if (!err)
		by->what = what;
	return err;
}

int by_of(const struct trace_run *run, struct weir_by *by)
{
	return trace_constants(run, sizeof(struct weir_trace_config), by, sizeof(*by));
}

/* ---- JSON ---- */

json_t *by_json(__u32 what)
{
	json_t *array = json_array();

	for (int i = 0; i < BY_COLUMNS; i++)
		if (what & words[i].bit)
			json_array_append_new(array, json_string(words[i].word));
	return array;
}

static json_t *peer_json(const __be32 peer[4])
{
	bool ip4 = !peer[0] && !peer[1] && peer[2] == htonl(0xffff);

	return out_address(peer, ip4 ? 4 : 6);
}

static json_t *field_json(const struct weir_by_key *key, __u32 bit)
{
	switch (bit) {
	case WEIR_BY_PEER: return peer_json(key->peer);
	case WEIR_BY_PORT: return json_integer(key->port);
	case WEIR_BY_PEER_PORT: return json_integer(key->peer_port);
	default: return json_integer(key->netns);
	}
}

json_t *by_row(__u32 what, const struct weir_by_key *key)
{
	json_t *row = json_object();

	for (int i = 0; i < BY_COLUMNS; i++)
		if (what & words[i].bit)
			json_object_set_new(row, words[i].column.path,
					    key ? field_json(key, words[i].bit) : json_null());
	if (what)
		json_object_set_new(row, "other", json_boolean(!key));
	return row;
}

struct ranked {
	json_t *row;
	json_int_t n;
	size_t place; /* equal rows stay in order */
};

static int by_rank(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;
	int order = (y->n > x->n) - (y->n < x->n);

	return order ? order : (x->place > y->place) - (x->place < y->place);
}

json_t *by_sorted(json_t *rows, const char *field)
{
	size_t count = json_array_size(rows);
	struct ranked *ranked = calloc(count + 1, sizeof(*ranked));
	json_t *sorted;

	if (!ranked)
		return rows;
	for (size_t i = 0; i < count; i++) {
		json_t *row = json_array_get(rows, i);

		ranked[i] =
			(struct ranked){row, json_integer_value(json_object_get(row, field)), i};
	}
	qsort(ranked, count, sizeof(*ranked), by_rank);
	sorted = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append(sorted, ranked[i].row);
	free(ranked);
	json_decref(rows);
	return sorted;
}

/* ---- for people ---- */

int by_columns(struct column *columns, const json_t *document, const struct column *counted,
	       int count)
{
	const json_t *word;
	size_t i;
	int keys = 0;

	json_array_foreach (json_object_get(document, "by"), i, word)
		for (int n = 0; n < BY_COLUMNS; n++)
			if (!strcmp(words[n].word, json_string_value(word)))
				columns[keys++] = words[n].column;
	for (int n = 0; n < count; n++)
		columns[keys + n] = counted[n];
	return keys + count;
}

void by_name_others(json_t *document)
{
	struct column columns[BY_COLUMNS];
	json_t *row;
	size_t i;

	if (!by_columns(columns, document, NULL, 0))
		return;
	json_array_foreach (json_object_get(document, "rows"), i, row)
		if (json_is_true(json_object_get(row, "other")))
			json_object_set_new(row, columns[0].path, json_string("(other)"));
}
