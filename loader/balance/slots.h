/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The slots of a service: who is to own them, and the change from what they hold to that. A slot is
 * changed by one compare and swap, as the program writes to moving ones, and is never wrong
 * between.
 */
#ifndef WEIR_SLOTS_H
#define WEIR_SLOTS_H

#include "loader/service/service.h"

/* Who owns each slot: the backends that are up, by weight. `*count` is a power of two, at most
 * the service's `slots` once it has some; slots beyond repeat it. The caller frees. -ENOMEM with
 * a line. */
int slots_plan(const struct balance *b, const struct service *service, __u32 **owner, __u32 *count);

/* The slots of one service in memory, and what happens to flows in them. */
struct slot_range {
	__u64 *slot;
	__u32 count;  /* power of two */
	bool tracked; /* flows of old owners are kept: DSR, not `udp free` */
	bool used;    /* the service has carried packets: slots that change begin to move */
	__u32 tick;   /* now */
};

/* Brings the slots to their owners. Returns how many changed. */
__u32 slots_move(const struct slot_range *range, const __u32 *owner, __u32 count);

/* What slots_move() would write into a slot that holds `word`. */
__u64 slots_next(const struct slot_range *range, __u64 word, __u32 owner);

/* Slots that are moving, but which no packet needed for `idle` ticks and no live flow is at odds
 * with (`needed`, by slot), come to rest. Returns how many did. */
__u32 slots_settle(const struct slot_range *range, const bool *needed, __u32 idle);

/* Slots that are moving. */
__u32 slots_moving(const struct slot_range *range);

/* Moving slots count as needed just now. */
void slots_renew(const struct slot_range *range);

/* Takes backends that are not `known`, by index below `count`, out of the owners before: nothing
 * refers to them afterwards. */
void slots_purge(const struct slot_range *range, const bool *known, __u32 count);

#endif
