// SPDX-License-Identifier: GPL-2.0
#include "known.h"

#include <errno.h>

#include "loader/base/error.h"
#include "loader/tend/tend.h"

int sock_known_read(struct sock_known *k,
		    bool (*wanted)(const struct connection *c, const void *data), const void *data)
{
	struct instance in;
	struct sock_maps m;
	int err;

	*k = (struct sock_known){};
	err = instance_open(&in, false);
	if (err)
		return err;
	k->scope_count = sock_scopes(&in, &k->scopes);
	err = k->scope_count > 0 ? sock_maps_open(&m, &in) : k->scope_count;
	if (!err && k->scope_count) {
		k->tender = tender_process(&in);
		k->on = m.control->on;
		instance_unlock(&in);
		err = connections_read(&k->connections, &m, wanted, data);
		sock_maps_close(&m);
	}
	instance_close(&in);
	if (err == -ENOENT && !failure())
		err = fail(err, "the socket programs' maps are not there; 'weir sock detach --all' "
				"and 'weir sock attach' make them again");
	if (err)
		sock_scopes_free(k->scopes, k->scope_count < 0 ? 0 : k->scope_count);
	return err;
}

void sock_known_free(struct sock_known *k)
{
	connections_free(&k->connections);
	sock_scopes_free(k->scopes, k->scope_count);
}

json_t *sock_known_json(const struct sock_known *k)
{
	json_t *list = json_array();

	for (size_t i = 0; i < k->connections.count; i++)
		json_array_append_new(
			list, connection_json(&k->connections.list[i], k->scopes, k->scope_count));
	return list;
}
