/* SPDX-License-Identifier: GPL-2.0 */
/* The books of the pairs: who has which slot, and what those that are gone have done. Written by
 * the one tender there is. */
#ifndef WEIR_SOCK_PAIRS_H
#define WEIR_SOCK_PAIRS_H

#include "loader/sock/sock_maps.h"

/* A free slot for this connection, JOINING; -ENOSPC. */
long pairs_claim(struct sock_maps *m, const struct weir_sock_record *const ends[WEIR_ENDS]);
/* Both ends are in `ends`: their sends are short-cut from here on. */
void pairs_switch_on(struct weir_pair *p);
/* Whether it was short-cut at any time. */
bool pairs_began(const struct weir_pair *p);
/* From here on the sends of this pair go by TCP, until its sockets are taken out of `ends`. */
void pairs_send_away(struct weir_pair *p);
/* Adds what the pair has done to the totals of its port and frees the slot. */
int pairs_fold(struct sock_maps *m, __u32 index, bool released);
/* Adds what one direction has done to another. */
void pairs_add_way(struct weir_way *to, const struct weir_way *way);
/* Counts a refusal at this port. */
int pairs_refused(struct sock_maps *m, __u64 cgroup, __u16 port, enum weir_refusal reason);
/* Drops the totals of a cgroup. */
void pairs_forget(struct sock_maps *m, __u64 cgroup);
/* Whether bytes were seen to be read at this port by other means than recvmsg(). */
bool pairs_splices(const struct sock_maps *m, __u64 cgroup, __u16 port);
/* Whether the socket of this cookie is in `ends`. */
bool pairs_has(const struct sock_maps *m, __u64 cookie);

#endif
