/* SPDX-License-Identifier: GPL-2.0 */
/* Connections as `sock list` shows them, of a document's array "connections". */
#ifndef WEIR_CMD_SOCK_LIST_H
#define WEIR_CMD_SOCK_LIST_H

#include "loader/out/out.h"

extern const struct table sock_list_table;

#endif
