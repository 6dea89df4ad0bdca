/* SPDX-License-Identifier: GPL-2.0 */
/* The sockets whose sends are looked at. */
#ifndef WEIR_SOCK_ENDS_H
#define WEIR_SOCK_ENDS_H

#include "maps.h"

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 2 * WEIR_PAIRS_DEFAULT);
	__type(key, __u64);
	__type(value, __u64);
} ends SEC(".maps");

#endif
