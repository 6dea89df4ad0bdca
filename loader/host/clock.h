/* SPDX-License-Identifier: GPL-2.0 */
/* The datapath's clock: jiffies, and ticks of about a second made of them (xdp/balance/abi.h). */
#ifndef WEIR_CLOCK_H
#define WEIR_CLOCK_H

#include <linux/types.h>

/* CLOCK_MONOTONIC, as bpf_ktime_get_ns() tells it. */
__u64 clock_now_ns(void);
/* What this process has used of its CPUs. */
__u64 clock_cpu_ns(void);

/* A tick is 2^n jiffies; the same for the life of the kernel. */
__u8 clock_tick_shift(void);
__u64 clock_tick_ns(void);
__u64 clock_jiffy_ns(void);

/* jiffies_64 now. 0 or < 0 with a fail() line. */
int clock_jiffies(__u64 *jiffies);

#endif
