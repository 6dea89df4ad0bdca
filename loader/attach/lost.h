/* SPDX-License-Identifier: GPL-2.0 */
/* Counts redirected frames that the kernel or the target's driver lost, as long as rules redirect:
 * see xdp/weir_lost.bpf.c. Pinned as lost_in_driver and lost_before beside the device's maps. */
#ifndef WEIR_LOST_H
#define WEIR_LOST_H

#include "loader/host/instance.h"

/* Begins counting for this device, or goes on with the programs of this build; or ends it. Where
 * the kernel has no BTF nothing is counted, and that is no error. */
int lost_watch(const struct instance *in, const char *device, __u32 ifindex, bool on);

#endif
