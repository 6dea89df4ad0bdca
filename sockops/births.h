/* SPDX-License-Identifier: GPL-2.0 */
/* Connections that were begun by a socket here, until the socket that accepts is seen. */
#ifndef WEIR_SOCK_BIRTHS_H
#define WEIR_SOCK_BIRTHS_H

#include "maps.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WEIR_BIRTHS);
	__type(key, struct weir_key);
	__type(value, struct weir_birth);
} births SEC(".maps");

#endif
