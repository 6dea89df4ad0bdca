/* SPDX-License-Identifier: GPL-2.0 */
/* Names as the running kernel has them: numbers of drop reasons and places of functions differ from
 * kernel to kernel. Read once per process. */
#ifndef WEIR_TRACE_KERNEL_NAMES_H
#define WEIR_TRACE_KERNEL_NAMES_H

#include <linux/types.h>
#include <stdio.h>

struct btf;

/* Types of the running kernel; NULL: it has no BTF. */
const struct btf *kernel_types(void);

/* The enumerator of this value, without the prefix: ("skb_drop_reason", "SKB_DROP_REASON_", 5) is
 * "SOCKET_FILTER"... NULL when the kernel has none. Valid until the process ends. */
const char *kernel_enum_name(const char *enumeration, const char *prefix, __s64 value);
/* The value of an enumerator of any enumeration; 0, or -ENOENT. */
int kernel_enum_value(const char *enumerator, __s64 *value);

/* "tcp_v4_rcv+0x1d2", "nft_do_chain+0x4e1 [nf_tables]" in a buffer of the caller; "0x..." when kallsyms
 * does not tell. */
#define KERNEL_SYMBOL_TEXT 128
const char *kernel_symbol(__u64 address, char text[KERNEL_SYMBOL_TEXT]);
/* BPF programs come and go: the next look reads kallsyms again. */
void kernel_symbols_forget(void);
/* What kernel_symbol() does by itself with /proc/kallsyms. 0 or -ENOMEM. */
int kernel_symbols_read(FILE *kallsyms);

#endif
