/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What in this host or at a device stands in the way of weir. Each finding is an object:
 * {"level": "ok" | "warn" | "fail", "subject": "host" or a device, "check", "found", "remedy"},
 * the remedy being a command where there is one, else advice, or null.
 */
#ifndef WEIR_DOCTOR_H
#define WEIR_DOCTOR_H

#include <jansson.h>
#include <stdbool.h>

#include "loader/attach/device.h"
#include "loader/service/service.h"
#include "loader/host/netdev.h"
#include "loader/rules/rule.h"
#include "loader/sock/firewall.h"
#include "loader/sockview/sock_view.h"
#include "loader/tcp/overview.h"

/* What is known of the far end of a device: asking takes a process. */
struct far_end {
	__u32 ifindex; /* of the near end */
	int does;      /* as offload_far_end() says */
	int tags;      /* as offload_tags() says */
};

#define FAR_ENDS_SEEN 64

struct doctor {
	json_t *findings;
	const char *netns;	      /* of the devices, for remedies; NULL: ours */
	bool problems_only;	      /* leave out what is ok */
	const struct netdev *polling; /* devices whose far ends weir made poll */
	size_t polling_count;
	struct far_end far_ends[FAR_ENDS_SEEN]; /* each has its place by its ifindex */
	const char *subject;
	json_t *last; /* finding reported last, NULL when it was left out */
	int failed;
	int warned;
};

/* Must be called before the namespace is entered: much of the host shows only in the first. */
void doctor_host(struct doctor *doctor);
/* `attached` is what weir has there, or NULL. */
void doctor_device(struct doctor *doctor, const struct netdev *dev, const struct device *attached);
/* Whether the devices that rules name are there. */
void doctor_rules(struct doctor *doctor, const struct rule_set *rules);
/* Whether packets find services, and services their backends; asks the kernel for neighbours. */
void doctor_services(struct doctor *doctor, const struct balance *balance,
		     const struct device *devices, size_t count);

/* What there is to be seen of sockets while the instance is open. */
struct sockets_seen {
	struct sock_view view;
	struct firewall firewall; /* looked for where something is short-cut */
	bool left;		  /* something is pinned */
	char broken[512];	  /* why it could not be read, or "" */
};

void sockets_look(struct sockets_seen *seen, const struct instance *in);
void sockets_forget(struct sockets_seen *seen);
/* Whether connections of attached cgroups are short-cut, and what keeps them from it. */
void doctor_sockets(struct doctor *doctor, const struct sockets_seen *seen);

/* Which tracing commands this kernel can run: of the host. */
void doctor_tracers(struct doctor *doctor, const struct tracing_view *view);
/* How those that collect in the background fare. */
void doctor_pinned(struct doctor *doctor, const struct tracing_view *view);

/* An attachment whose device is gone. */
void doctor_leftover(struct doctor *doctor, const struct device *attached);

#endif
