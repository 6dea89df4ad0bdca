/* SPDX-License-Identifier: GPL-2.0 */
/* The kernel's reasons for dropping a packet: names, and what is known about some of them. */
#ifndef WEIR_TCP_DROP_REASONS_H
#define WEIR_TCP_DROP_REASONS_H

#include <linux/types.h>
#include <stdbool.h>

#define DROP_REASON_TEXT 64
/* "NO_SOCKET"; of a subsystem "OPENVSWITCH:3"; "reason 517" when the kernel has no name for it. */
const char *drop_reason_name(__u32 reason, char text[DROP_REASON_TEXT]);

/* What to do about a reason or a cause, or NULL. By name, as numbers differ. */
const char *drop_reason_advice(const char *name);

/* The reasons that are no loss, a bit for each that this kernel has. */
void drop_reasons_benign(__u64 mask[4]);
/* Of a reason by its name; ~0: this kernel has none. */
__u32 drop_reason_value(const char *name);

#endif
