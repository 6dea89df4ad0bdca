// SPDX-License-Identifier: GPL-2.0
#include "rows.h"

#include <stdbool.h>

#include "loader/out/endpoint.h"
#include "loader/out/out.h"

void row_add_owner(json_t *row, const struct weir_owner *owner)
{
	bool known = owner && owner->pid;

	json_object_set_new(row, "pid", known ? json_integer(owner->pid) : json_null());
	json_object_set_new(row, "comm", known ? out_string(owner->comm) : json_null());
}

void row_add_ends(json_t *row, const struct weir_ends *ends)
{
	json_object_set_new(row, "local", out_end(ends->local, ends->local_port, ends->family));
	json_object_set_new(row, "remote", out_end(ends->remote, ends->remote_port, ends->family));
}
