/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The balancer's maps of an instance: sized to what is configured. They are arrays, so indexes stay
 * when one gives way to a larger copy of itself.
 */
#ifndef WEIR_BALANCE_MAPS_H
#define WEIR_BALANCE_MAPS_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "loader/host/instance.h"
#include "xdp/balance/abi.h"

struct weir_xdp_bpf;

/* fds; -1: not there. */
struct balance_maps {
	int services; /* array of maps, holding the current table */
	int slots;
	int backends;
	int backend_counters;
	int service_counters;
	int flows;
	int nat_flows;
	int nat_ports;
	int fragments;
	int egress_devs;
};

#define NO_BALANCE_MAPS_INIT                                                           \
	{                                                                              \
		.services = -1, .slots = -1, .backends = -1, .backend_counters = -1,   \
		.service_counters = -1, .flows = -1, .nat_flows = -1, .nat_ports = -1, \
		.fragments = -1, .egress_devs = -1                                     \
	}
#define NO_BALANCE_MAPS (struct balance_maps) NO_BALANCE_MAPS_INIT

/* Entries of each. */
struct balance_sizes {
	__u32 service_bytes; /* value of a service table */
	__u32 slots;
	__u32 backends;
	__u32 services;
	__u32 flows;	 /* buckets */
	__u32 nat_flows; /* buckets */
	__u32 nat_ports; /* buckets */
};

/* New maps of these sizes, all zero; 0 or < 0 with a fail() line. `table`: service_bytes, or
 * NULL. */
int balance_maps_make(struct balance_maps *maps, const struct balance_sizes *sizes,
		      const void *table);
void balance_maps_close(struct balance_maps *maps);
/* What the maps have room for; 0 or < 0 with a fail() line. */
int balance_maps_sizes(const struct balance_maps *maps, struct balance_sizes *sizes);

/* `larger`: of each map the same one if it is large enough, else a copy with the room of
 * `sizes`. Its services hold `table`. */
int balance_maps_grow(const struct balance_maps *maps, const struct balance_sizes *sizes,
		      const void *table, struct balance_maps *larger);

/* The pinned maps of an instance; -ENOENT without a line: there are none. */
int balance_maps_open(const struct instance *in, struct balance_maps *maps);
/* Pins them; those that are pinned give way. */
int balance_maps_pin(const struct instance *in, const struct balance_maps *maps);
int balance_maps_unpin(const struct instance *in);

/*
 * Maps that are about to take the place of the pinned ones: from announce() on, which is one step,
 * balance_maps_open() opens these, and whoever finds them there has to go on to the end, from the
 * others (`replaced`), with balance_maps_pin() and _withdraw(); withdraw() alone gives them up.
 */
int balance_maps_announce(const struct instance *in, const struct balance_maps *maps);
bool balance_maps_announced(const struct instance *in);
int balance_maps_replaced(const struct instance *in, struct balance_maps *maps);
int balance_maps_withdraw(const struct instance *in);

/* Before load: the program uses these, and none of the balancer's where `maps` is NULL. */
int balance_maps_use(struct weir_xdp_bpf *skel, const struct balance_maps *maps);

/* A new table takes the place of the current one in one step; size as at first. */
int balance_maps_swap(const struct balance_maps *maps, const void *table, __u32 service_bytes);
/* The current table, in memory that the caller frees. */
int balance_maps_table(const struct balance_maps *maps, void **table, size_t *size);

/* The array's values mapped into memory, where a store reaches the program at once; NULL with a
 * fail() line. Only slots, backends, flows, nat_flows and nat_ports. Undo with balance_unmap(). */
void *balance_map_memory(int map, size_t *bytes);
void balance_unmap(void *memory, size_t bytes);

/* A part of it: to map all of a large map takes milliseconds. */
void *balance_map_part(int map, size_t first_byte, size_t bytes);
void balance_unmap_part(void *memory, size_t bytes);

/* When it returns, no packet is still being worked on that was there before. 0 or < 0 with a
 * line. */
int balance_maps_wait(const struct balance_maps *maps);

#endif
