/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The balancer's maps of an instance: sized to what is configured. They are arrays, so indexes stay
 * when one gives way to a larger copy of itself.
 */
#ifndef WEIR_BALANCE_MAPS_H
#define WEIR_BALANCE_MAPS_H

#include <linux/types.h>
#include <stddef.h>

#include "loader/host/instance.h"
#include "xdp/balance/abi.h"

struct weir_xdp_bpf;

/* fds; -1: not there. */
struct balance_maps {
	int services;	/* array of maps, holding the current table */
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

#define NO_BALANCE_MAPS_INIT                                              \
	{                                                                 \
		.services = -1, .slots = -1, .backends = -1,              \
		.backend_counters = -1, .service_counters = -1,           \
		.flows = -1, .nat_flows = -1, .nat_ports = -1,            \
		.fragments = -1, .egress_devs = -1                        \
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

/* New maps of these sizes, all zero; 0 or < 0 with a fail() line. `table`: service_bytes, or NULL. */
int balance_maps_make(struct balance_maps *maps, const struct balance_sizes *sizes,
		      const void *table);
void balance_maps_close(struct balance_maps *maps);
/* What the maps have room for; 0 or < 0 with a fail() line. */
int balance_maps_sizes(const struct balance_maps *maps, struct balance_sizes *sizes);

/* `larger`: of each map the same one if it is large enough, else a copy with the room of `sizes`. Its
 * services hold `table`. */
int balance_maps_grow(const struct balance_maps *maps, const struct balance_sizes *sizes,
		      const void *table, struct balance_maps *larger);

/* The pinned maps of an instance; -ENOENT without a line: there are none. */
int balance_maps_open(const struct instance *in, struct balance_maps *maps);
/* Pins them; those that are pinned give way. */
int balance_maps_pin(const struct instance *in, const struct balance_maps *maps);
int balance_maps_unpin(const struct instance *in);

/* Before load: the program uses these, and none of the balancer's where `maps` is NULL. */
int balance_maps_use(struct weir_xdp_bpf *skel, const struct balance_maps *maps);

/* A new table takes the place of the current one in one step; size as at first. */
int balance_maps_swap(const struct balance_maps *maps, const void *table, __u32 service_bytes);
/* The current table, in memory that the caller frees. */
int balance_maps_table(const struct balance_maps *maps, void **table, size_t *size);

/* The array's values mapped into memory, where a store reaches the program at once; NULL with a
 * fail() line. Only slots, backends, flows and nat_flows. Undo with balance_unmap(). */
void *balance_map_memory(int map, size_t *bytes);
void balance_unmap(void *memory, size_t bytes);

#endif
