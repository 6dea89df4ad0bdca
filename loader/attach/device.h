/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Attached devices: what is pinned for each below <instance>/devices/<name>/.
 *
 *   attachment   struct attachment; pinned first and marked whole last
 *   counters handshakes endpoints endpoint_stats tc_counters watchers events       maps
 *   local_addresses  map, where tunnels are unpacked: see local.h
 *   lost_in_driver lost_before  links, while rules redirect: see lost.h
 *   xdp tc_ingress tc_egress    links; or, where the kernel has none for the way of attaching
 *                               (libxdp dispatcher, clsact), the programs
 */
#ifndef WEIR_DEVICE_H
#define WEIR_DEVICE_H

#include <linux/types.h>
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

#include "loader/watch/handshakes.h"
#include "loader/host/ifindexes.h"
#include "loader/host/instance.h"

enum attach_mode {
	MODE_AUTO,
	MODE_NATIVE,
	MODE_GENERIC,
	MODE_OFFLOAD,
};

enum attach_way {
	WAY_NONE,
	WAY_LINK,	/* XDP or TCX bpf_link */
	WAY_DISPATCHER, /* libxdp multi-program dispatcher */
	WAY_CLSACT,	/* tc filter */
};

struct attachment {
	__u32 xdp_schema;
	__u32 tc_schema;
	__u32 ifindex;
	__u8 mode;    /* enum attach_mode, as attached: never MODE_AUTO */
	__u8 xdp_way; /* enum attach_way */
	__u8 tc_way;
	__u8 ethernet;
	__u64 since_ns;	  /* CLOCK_BOOTTIME of the first attach */
	__u8 made_clsact; /* clsact: the qdisc is ours */
	__u8 whole;	  /* 0: the attach has not finished */
	__u8 decap;	  /* unpacks tunnels */
	__u8 tags;	  /* offloads that were switched off for it: see offload.h */
	__u8 large;	  /* the same for large packets */
	__u8 pad[3];
	char name[IFNAMSIZ];
	char version[24]; /* of the weir that loaded the programs */
};

struct device {
	char name[IFNAMSIZ];
	bool present; /* the device exists and carries what was attached */
	struct attachment attachment;
	int counters; /* map fds, -1 when not attached that way */
	struct handshake_maps handshakes;
};

/* Whole devices of the instance in order of name; the caller frees with devices_free(). */
int devices_open(const struct instance *in, struct device **list, size_t *count);
/* Only the named one; -ENODEV and a fail() line when it is not attached. */
int device_open(const struct instance *in, const char *name, struct device **list);
void devices_free(struct device *list, size_t count);

const char *attach_mode_name(enum attach_mode mode);
const char *attach_way_name(enum attach_way way);

struct attach_request {
	enum attach_mode mode;
	bool exclusive; /* own link even where the dispatcher would work */
	bool no_xdp;
	bool no_tc;
	bool decap; /* unpack tunnels; not asked for again, it stays as it is */
};

/*
 * Attaches, or updates what is attached to this build, in one step per program and with all maps
 * kept. A failed attach leaves the device as it was. `*updated` tells which of the two it was.
 * The caller holds the instance for a change.
 */
struct needs;
int device_attach(struct instance *in, const char *name, const struct attach_request *request,
		  const struct needs *needs, bool *updated);
int device_detach(struct instance *in, const char *name);
/* Every device of the instance, whole, half-made or gone, and the instance's maps. What traces TCP is
 * of no device, and stays. */
int device_detach_all(struct instance *in);

/* Removes what is left of devices that are gone and of attaches that did not finish. */
int devices_reap(struct instance *in);
/* Those that transmit by XDP where they can: they are in native mode. To be freed. */
void devices_transmitting(const struct instance *in, struct ifindexes *list);
/* Brings every device's programs to the table and switches which the rules and services need. */
int devices_reconcile(struct instance *in, const struct needs *needs);

#endif
