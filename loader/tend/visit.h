/* SPDX-License-Identifier: GPL-2.0 */
/* What is done to TCP sockets under their lock: iterators over those of a network namespace. */
#ifndef WEIR_SOCK_VISIT_H
#define WEIR_SOCK_VISIT_H

#include <linux/types.h>
#include <stddef.h>

struct bpf_program;

/* Runs the program `times` over all TCP sockets of these network namespaces, in any order and named
 * more than once. Those that cannot be reached are left out. 0 or < 0 with a fail() line. */
int visit_sockets(struct bpf_program *program, __u64 *inodes, size_t count, int times);

#endif
