/* SPDX-License-Identifier: GPL-2.0 */
/* Brings slots, flows and records to a configuration. Each step may be repeated, and is after a
 * command that was killed. */
#ifndef WEIR_BRING_H
#define WEIR_BRING_H

#include "maps.h"
#include "loader/service/service.h"
#include "slots.h"
#include "slot_words.h"

/* Before the table that names them is current: the slots and flows of a new service, or what it
 * held so far (`was`) in its new, larger ranges. */
int service_prepare(const struct balance_maps *maps, const struct balance *after,
		    const struct service *service, const struct service *was);

/* When the programs use the new ranges: what they wrote to the old ones after these were copied.
 * `copied`: so were the maps. */
int bring_late(const struct balance_maps *maps, const struct balance *after,
	       const struct balance *before, bool copied);

/* Afterwards: moves the slots of services whose backends differ from `before` (NULL: of all),
 * forgets what refers to backends and services that are gone, brings sources and states of
 * records up to date, and notes the generation that all is brought to. */
int bring_all(const struct balance_maps *maps, const struct balance *after,
	      const struct balance *before, __u64 generation);

/* A service's slots in memory. */
struct slot_memory {
	struct slot_range range;
};

int slot_range_open(const struct balance_maps *maps, const struct service *service, __u32 tick,
		    struct slot_memory *memory);
void slot_range_close(struct slot_memory *memory);

/* The service that `s` was before, if it was there. */
const struct service *service_before(const struct balance *before, const struct service *s);

int percpu_clear(int map, __u32 index, size_t size);
/* Sum over all CPUs of a value that consists of 64-bit numbers. */
int percpu_read(int map, __u32 index, void *sum, size_t size);

#endif
