/* SPDX-License-Identifier: GPL-2.0 */
/* The cgroups that are attached, with their settings, as the tender has told. */
#ifndef WEIR_SOCK_ATTACHED_H
#define WEIR_SOCK_ATTACHED_H

#include "maps.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, WEIR_SCOPES_MAX);
	__type(key, __u64);
	__type(value, struct weir_sock_config);
} scopes SEC(".maps");

#endif
