/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Runs frames through the balancer, on maps of its own that the test reads and writes as memory.
 *
 *	struct balance services = {};
 *	struct balance_run run;
 *	struct balance_setup setup = {.services = &services};
 *
 *	test_service(&services, IPPROTO_TCP, "192.0.2.1", 80, WEIR_DSR_L2);
 *	test_backend(&services, "10.0.0.1", 0, 1);      of the service before; both may be changed
 *	test_backend(&services, "10.0.0.2", 0, 1);      until balance_run_open()
 *	balance_run_open(&run, &setup);
 *	balance_run_frame(&run, &packet, &result);
 *	run.backends[2].flags &= ~WEIR_B_ALIVE;         index 2: the second backend
 *	balance_run_close(&run);
 *	balance_free(&services);
 *
 * Services and backends get the indexes 1, 2, ... in the order in which they are added. Every
 * backend begins reachable at once by XDP_TX: TEST_DEVICE is both the device and the way out, its
 * MAC address is 02:bb:00:00:<index, two bytes>, this side's is TEST_OWN_MAC.
 *
 * Time stands still while a test runs, as a tick is 2^TEST_TICK_SHIFT jiffies, days, and
 * balance_run_age() makes everything in the maps older. How many ticks a service's idle time is, is
 * told by service_idle_ticks(service, clock_tick_ns()), as on every host.
 *
 * As in xdp_run.h, functions end the process when the kernel refuses what they ask for.
 */
#ifndef WEIR_TESTS_BALANCE_RUN_H
#define WEIR_TESTS_BALANCE_RUN_H

#include "loader/balance/maps.h"
#include "loader/service/service.h"
#include "loader/service/service_table.h"
#include "xdp_run.h"

#define TEST_DEVICE	7
#define TEST_OWN_MAC	((const __u8[6]){0x02, 0xaa, 0, 0, 0, 1})
#define TEST_OWN4	"203.0.113.1" /* outer source or NAT source of backends by default */
#define TEST_OWN6	"2001:db8:ffff::1"
#define TEST_TICK_SHIFT 27
#define TEST_BUCKETS	256 /* of flows, where a service asks for none */

/* What is not set has a default. */
struct balance_setup {
	const struct balance
		*services; /* slots, buckets and indexes are filled in by the test run */
	struct weir_xdp_config config; /* ifindex, ethernet, modes, sizes, tick_shift are set */
	const struct rule_set *rules;
	const struct table_names *names;
	struct nat_sources nat_sources;
	__u32 nat_ports; /* buckets */
	bool uncommon;	 /* without the short way for common packets */
	__u32 spare;	 /* records of backends without a service, behind the others */
};

/* The arrays are the maps' own memory. */
struct balance_run {
	struct xdp_run xdp;
	struct xdp_run explainer; /* made by the first balance_run_explain() */
	bool explains;
	struct balance services; /* as compiled */
	struct balance_maps maps;
	struct balance_sizes sizes;
	__u64 *slots; /* of all services: see balance_run_slot() */
	struct weir_backend *backends;
	struct weir_flow_bucket *flows;
	struct weir_nat_bucket *nat_flows;
};

/* Adds to an empty struct balance. Mode nat leaves by TEST_OWN4 or 6 unless `source` is set. */
struct service *test_service(struct balance *services, __u8 proto, const char *address, __u16 port,
			     enum weir_mode mode);
struct backend *test_backend(struct balance *services, const char *address, __u16 port,
			     __u16 weight);
struct address test_address(const char *text); /* with "/LEN", a prefix */

void balance_run_open(struct balance_run *run, const struct balance_setup *setup);
void balance_run_close(struct balance_run *run);

/* One frame, with all counters of the device at 0 before it. */
void balance_run_frame(struct balance_run *run, const struct packet *packet,
		       struct xdp_result *result);
/* The same by the copy of the program that explains, on the same maps. */
void balance_run_explain(struct balance_run *run, const struct packet *packet,
			 struct xdp_result *result, struct weir_explanation *explanation);
/* A number that differs when any map's contents do, but for the explanation. */
__u64 balance_run_fingerprint(const struct balance_run *run);

/* The word of a service's slot, counted from 0. */
__u64 *balance_run_slot(const struct balance_run *run, __u32 service, __u32 slot);
/* Another owner, as the loader does it: the owner before stays, the oldest if there are several. */
void balance_run_move_slot(struct balance_run *run, __u32 service, __u32 slot, __u32 owner);
void balance_run_settle_slot(struct balance_run *run, __u32 service, __u32 slot);
struct weir_backend_counters balance_run_backend(const struct balance_run *run, __u32 index);
struct weir_service_counters balance_run_service(const struct balance_run *run, __u32 index);
/* Entries of maps that are not mapped: nat_ports, fragments. */
void balance_run_read(int map, __u32 index, void *value);
void balance_run_write(int map, __u32 index, const void *value);

__u32 balance_run_now(void);	 /* the current tick */
__u32 balance_run_jiffies(void); /* lower half, as in `fresh_until` */
/* Everything that carries a tick becomes so many ticks older; `fresh_until` stays. */
void balance_run_age(struct balance_run *run, __u32 ticks);
void balance_run_stale(struct balance_run *run,
		       __u32 backend); /* its next hop is no longer fresh */

#endif
