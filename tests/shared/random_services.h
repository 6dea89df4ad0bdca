/* SPDX-License-Identifier: GPL-2.0 */
/* Random services, tuples that hit and nearly hit them, and what should become of these:
 * naively. */
#ifndef WEIR_TESTS_RANDOM_SERVICES_H
#define WEIR_TESTS_RANDOM_SERVICES_H

#include "loader/service/service.h"
#include "packets.h"
#include "random_rules.h"

struct tuple {
	struct address source, destination;
	__u16 sport, dport;
	__u8 proto;
};

/* Adds services, each with some backends, to an empty struct balance; free it with
 * balance_free(). `modes`: bits of the modes they may have. */
void random_services(struct dice *d, size_t count, unsigned int modes, struct balance *services);
/* Of a service, or beside one in one respect, or of none. */
void random_tuple(struct dice *d, const struct balance *services, struct tuple *tuple);
struct address random_client(struct dice *d, unsigned int family);

/* The frame of a tuple; the rest as `layout` says. */
void tuple_packet(const struct tuple *tuple, const struct packet_layout *layout,
		  struct packet *packet);

/* The service that the tuple is for; NULL: none. */
const struct service *twin_service(const struct balance *services, const struct tuple *tuple);
/* The flow's hash, and the slot of its service that it falls into, counted from 0. */
__u64 twin_hash(const struct tuple *tuple, bool by_source);
__u32 twin_slot(const struct service *service, const struct tuple *tuple);

#endif
