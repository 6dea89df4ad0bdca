/* SPDX-License-Identifier: GPL-2.0 */
/* The kernel's own counters of a network namespace, by the names that nstat shows. */
#ifndef WEIR_TRACE_MIB_H
#define WEIR_TRACE_MIB_H

#include <linux/types.h>
#include <stddef.h>
#include <stdio.h>

/* Reads TcpExt and Tcp counters ("ListenOverflows", "PassiveOpens"...) of the namespace that the calling
 * thread is in, in the order of `names`; one that the kernel does not have is 0. 0 or < 0 with a fail() line. */
int mib_read(const char *const *names, size_t count, __u64 *values);

/* Of a file as /proc/net/snmp and /proc/net/netstat are, those that belong to `group`, such as "TcpExt":
 * the others stay as they are. 0 or -EIO. */
int mib_parse(FILE *file, const char *group, const char *const *names, size_t count, __u64 *values);

#endif
