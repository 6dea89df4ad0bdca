/* SPDX-License-Identifier: GPL-2.0 */
#ifndef WEIR_CMD_SERVICE_LIST_H
#define WEIR_CMD_SERVICE_LIST_H

#include "loader/cmd/command.h"
#include "loader/out/table.h"

/* [NAME]: the services, or the one, with what they count and rates over a second, as this table. */
int service_list(struct args *args, const struct table *table);

#endif
