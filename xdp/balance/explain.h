/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For `weir explain` a copy of the program runs on the live maps with config.explain set: it writes
 * down what is decided and changes nothing. In the datapath's own copy the verifier removes this.
 */
#ifndef WEIR_EXPLAIN_H
#define WEIR_EXPLAIN_H

#include "../frame.h"
#include "abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_explanation);
} explanation SEC(".maps");

static __always_inline struct weir_explanation *current_explanation(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&explanation, &key);
}

#define explain(field, value)                                                  \
	do {                                                                   \
		if (config.explain) {                                          \
			struct weir_explanation *told = current_explanation(); \
			if (told)                                              \
				told->field = (value);                         \
		}                                                              \
	} while (0)

#endif
