/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The balancer's maps of an instance: sized to what is configured. They are arrays, so indexes stay
 * when one gives way to a larger copy of itself.
 */
#ifndef WEIR_BALANCE_MAPS_H
#define WEIR_BALANCE_MAPS_H

#include <linux/types.h>
#include <stddef.h>

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
};

#define NO_BALANCE_MAPS (struct balance_maps){-1, -1, -1, -1, -1, -1, -1, -1, -1}

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

/* Before load: the program uses these, and none of the balancer's where `maps` is NULL. */
int balance_maps_use(struct weir_xdp_bpf *skel, const struct balance_maps *maps);

/* A new table takes the place of the current one in one step; size as at first. */
int balance_maps_swap(const struct balance_maps *maps, const void *table, __u32 service_bytes);

/* The array's values mapped into memory, where a store reaches the program at once; NULL with a
 * fail() line. Only slots, backends, flows, nat_flows are mappable. Undo with balance_unmap(). */
void *balance_map_memory(int map, size_t *bytes);
void balance_unmap(void *memory, size_t bytes);

#endif
