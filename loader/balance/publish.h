/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Makes a configuration the current one. What the user configured is in the service table, one
 * value that is exchanged whole; slots, records and flows are brought to it afterwards, so a
 * command that is killed on the way leaves work for the next one, and nothing contradictory.
 */
#ifndef WEIR_PUBLISH_H
#define WEIR_PUBLISH_H

#include "loader/attach/needs.h"
#include "loader/service/service.h"

/* The current configuration; none: an empty one. Free with balance_free(). */
int balance_load(const struct instance *in, struct balance *balance);

/* Makes `after` current, and moves slots, records and programs to it. On an error nothing has
 * changed, or what has is completed by balance_settle(). */
int balance_publish(struct instance *in, struct balance *after);

/* Goes on to the end with programs that were going over to other maps when a command was killed. */
int balance_complete_move(struct instance *in);

/* What balance_settle() did. */
struct tended {
	size_t settled_slots;
	size_t forgotten_backends;
	size_t refreshed_hops;
};

/* Completes what was begun, settles slots, forgets backends that left, looks for the way to
 * those out of reach; `thorough`: to all. */
int balance_settle(struct instance *in, bool thorough, struct tended *what);

/* The instance is about to go with all its pins: gives back what the kernel keeps for it. */
void balance_abandon(const struct instance *in);

/* The configuration in these maps' table, and which generation it is. */
int balance_read(const struct balance_maps *maps, struct balance *balance, __u64 *generation);

/* A backend goes: its service keeps what it had counted. */
int balance_retire(const struct balance_maps *maps, struct service *service, __u32 index);

/* What the services need of the programs; the caller lets go with balance_release(). */
int balance_needs(const struct instance *in, struct balance_needs *needs);
void balance_release(struct balance_needs *needs);

#endif
