/* SPDX-License-Identifier: GPL-2.0 */
/* Services and their backends: the model, and how the user writes them. */
#ifndef WEIR_SERVICE_MODEL_H
#define WEIR_SERVICE_MODEL_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "address.h"
#include "loader/base/args.h"
#include "xdp/balance/abi.h"

enum backend_state {
	BACKEND_UP,
	BACKEND_DRAIN,	 /* no new flows, keeps its old ones */
	BACKEND_DEAD,	 /* nothing goes there */
	BACKEND_LEAVING, /* as drain, and is forgotten when nothing needs it any more */
	BACKEND_STATES,
};

/* Both are stored as they are in the service table, so no pointers and no holes. */
struct service {
	__u32 index;	/* of its record, while it lives */
	__u8 proto;	/* IPPROTO_TCP or IPPROTO_UDP */
	__u8 mode;	/* enum weir_mode */
	__u8 by_source; /* affinity by source address */
	__u8 free;	/* UDP: flows follow their slot at once */
	struct address address;
	__u16 port; /* 0: any */
	__u16 mss;  /* 0: leave */
	/* nat: what backends see; dsr-ipip: outer, its host bits vary; family 0: own. */
	struct address source;
	__u32 idle;	    /* seconds a flow may say nothing */
	__u32 flows_wanted; /* room for flows; 0: by the number of slots */
	__u32 slots_wanted; /* 0: by the number and weights of backends */
	/* Where it is in the maps; set by the subject, not by the user. */
	__u32 first_slot;
	__u32 slots; /* may be more than the plan needs: the owners then repeat */
	__u32 first_bucket, buckets;
	__u64 since_ns;			      /* CLOCK_REALTIME */
	struct weir_backend_counters retired; /* what backends that are gone had counted */
};

struct backend {
	__u32 index;   /* of its record and counters, while it lives */
	__u32 service; /* index */
	struct address address;
	__u16 port;   /* nat only; 0: the service's own */
	__u16 weight; /* 1..WEIR_MAX_WEIGHT */
	__u8 state;   /* enum backend_state */
	__u8 pad[7];
	__u64 since_ns;
};

/* Everything an instance balances. Backends of a service stand together, in order of address and
 * port; services in order of index. */
struct balance {
	struct service *services;
	size_t service_count;
	struct backend *backends;
	size_t backend_count;
};

#define SERVICE_NAME 72	 /* "tcp [2001:db8::1]:443" */
#define SERVICE_TEXT 256 /* with all its options */
#define BACKEND_NAME 64	 /* "[2001:db8::2]:8080", without port where none is set */

const char *mode_name(enum weir_mode mode);
const char *backend_state_name(enum backend_state state);

/* "192.0.2.1:80", "[2001:db8::1]:80", ":any" or ":*" for any port. Which service is meant: only
 * proto, address and port are set. A misuse() line otherwise. */
int service_parse_name(struct args *args, struct service *service);
/* Name, then `mode MODE` and options: affinity source|none, udp sticky|free, mss N|off,
 * source ADDR[/LEN]|own, idle SEC, flows N|auto, slots N|auto. Defaults where nothing is said. Like
 * rule_parse(), it leaves the first word that is no option to the caller. */
int service_parse(struct args *args, struct service *service);
/* Options that change a service: what is not said stays. Mode, address and port cannot change. */
int service_parse_change(struct args *args, struct service *service);
/* "ADDR", "ADDR:PORT", "[ADDR6]:PORT"; of a service that is already known. */
int backend_parse_name(struct args *args, const struct service *service, struct backend *backend);
/* All words: one or more backends, each with its own `weight N` and `state up|drain|dead` behind
 * it; weight 1 and up where nothing is said. The caller frees the list. */
int backends_parse(struct args *args, const struct service *service, struct backend **list,
		   size_t *count);
/* `weight N` and `state up|drain|dead`; what is not said stays. */
int backend_parse_change(struct args *args, struct backend *backend);

void service_format_name(const struct service *service, char text[SERVICE_NAME]);
/* What `service add` would be told to make it again. */
void service_format(const struct service *service, char text[SERVICE_TEXT]);
void backend_format_name(const struct backend *backend, char text[BACKEND_NAME]);

/* The one with this proto, address and port; NULL: none. */
struct service *balance_find(const struct balance *b, const struct service *name);
struct service *balance_service(const struct balance *b, __u32 index);
/* The backend of service `index` with this address and port; NULL: none. */
struct backend *balance_find_backend(const struct balance *b, __u32 service,
				     const struct backend *name);
/* First backend of a service and their number. */
size_t balance_backends(const struct balance *b, __u32 service, struct backend **first);
/* Puts them in where their order says. -ENOMEM, -EEXIST with a fail() line. */
int balance_insert_service(struct balance *b, const struct service *service);
int balance_insert_backend(struct balance *b, const struct backend *backend);
void balance_remove_service(struct balance *b, __u32 index); /* with its backends */
void balance_remove_backend(struct balance *b, __u32 index);
void balance_free(struct balance *b);

/* -ENOENT with a fail() line. */
int no_such_service(const struct service *name);
int no_such_backend(const struct service *service, const struct backend *name);

_Static_assert(sizeof(struct service) == 88 + sizeof(struct weir_backend_counters), "no holes");
_Static_assert(sizeof(struct backend) == 48, "no holes");

#endif
