/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a change will do to one service, before it is made: computed by the functions that make it.
 *
 *	services_get(in, &before);
 *	services_get(in, &after);
 *	balance_change_backend(&after, ...);
 *	err = plan_make(&before, &after, NULL, &plan);
 *	if (!err)
 *		err = plan_find_flows(in, &before, &plan);
 */
#ifndef WEIR_PLAN_H
#define WEIR_PLAN_H

#include "loader/host/instance.h"
#include "service.h"

struct plan_backend {
	struct backend backend; /* as it will be; as it was, if it is gone then */
	bool is_new;		/* not there before */
	bool is_gone;		/* not there afterwards */
	bool cut_off;		/* nothing goes there any more, although it did */
	__u32 slots_now, slots_then;
	__u32 gained, lost; /* slots */
	__u64 flows;	    /* that live there */
};

struct plan {
	struct service service; /* as it will be; as it was, if it is deleted */
	bool changes_nothing;	/* then no service was found, and all else is 0 */
	bool is_new, is_deleted;
	bool rehashed;	    /* DSR: other affinity, so flows fall into other slots */
	bool by_source_now; /* affinity as it is */
	__u32 slots;	    /* what all numbers of slots are of */
	__u32 slots_now;    /* the service's own number; 0: it is new */
	__u32 moved;	    /* slots that will have another owner */
	__u32 moving;	    /* slots that still move from an earlier change; by plan_find_flows() */
	struct plan_backend *backends; /* all of before and after, in order of address and port */
	size_t count;
	/* By slot: position in backends, plus 1; 0: nobody owns it. */
	__u32 *now, *then;

	/* Filled by plan_find_flows(). Mode nat knows every flow. With DSR, those of TCP are
	 * connections begun less those that ended, as far as clients' packets told; of UDP only the
	 * tracked ones are known. The last three are shares of these, so estimates. */
	bool exact;	/* the number of flows is no estimate */
	__u64 flows;	/* that live, of all backends */
	__u64 in_moved; /* in slots that move, which may be no harm: those of tracked slots stay */
	__u64 switched; /* `udp free`: these go over to other backends */
	__u64 broken;	/* of backends that are cut off; rehashed: all that another backend gets */
};

/* `after` as it came from the functions that change a configuration in memory; new backends and
 * services get their places in it. `name` NULL: the service in which the two differ. -ENOENT with a
 * line: neither has this service. */
int plan_make(const struct balance *before, struct balance *after, const struct service *name,
	      struct plan *plan);

/* Looks at the maps of the instance, where `before` is current, for the flows that live now. */
int plan_find_flows(const struct instance *in, const struct balance *before, struct plan *plan);

/* Sums up what was found for each backend. */
void plan_sum_flows(struct plan *plan);

void plan_free(struct plan *plan);

/* A flow, as the client sends it. */
struct plan_flow {
	struct address source;
	__u16 sport, dport;
};

/* Where a flow goes if it begins now, or after the change. NULL: nowhere. */
struct plan_place {
	__u32 slot_now, slot_then; /* as `weir explain` tells them, from 0 */
	const struct plan_backend *now, *then;
};

struct plan_place plan_place(const struct plan *plan, const struct plan_flow *flow);

#endif
