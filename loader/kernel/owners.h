/* SPDX-License-Identifier: GPL-2.0 */
/* Whose sockets are, for those that are older than a tracer: a look at the files of all processes. */
#ifndef WEIR_TRACE_OWNERS_H
#define WEIR_TRACE_OWNERS_H

#include "trace/abi/trace.h"

struct owners;

/* Reads once. 0 or < 0 with a fail() line. */
int owners_read(struct owners **owners);
/* By the address of the socket, listeners too; NULL: nobody has it open. Of several who have, the one
 * with the lowest PID. */
const struct weir_owner *owners_find(const struct owners *owners, __u64 socket);
/* The same, only if it is still the socket whose file has this inode: addresses are used again. */
const struct weir_owner *owners_find_inode(const struct owners *owners, __u64 socket, __u32 inode);
void owners_free(struct owners *owners);

#endif
