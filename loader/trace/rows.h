/* SPDX-License-Identifier: GPL-2.0 */
/* What rows of all tracers have in common. */
#ifndef WEIR_TRACE_ROWS_H
#define WEIR_TRACE_ROWS_H

#include <jansson.h>

#include "trace/abi/trace.h"

/* "pid" and "comm": null where `owner` is NULL or has no pid. */
void row_add_owner(json_t *row, const struct weir_owner *owner);
/* "local" and "remote". */
void row_add_ends(json_t *row, const struct weir_ends *ends);

#endif
