/* SPDX-License-Identifier: GPL-2.0 */
/* The books of the pairs: who has which slot, and what those that are gone have done. Written by
 * the one tender there is. */
#ifndef WEIR_SOCK_PAIRS_H
#define WEIR_SOCK_PAIRS_H

#include "sock_maps.h"

/* A free slot for this connection, JOINING; -ENOSPC. */
long pairs_claim(struct sock_maps *m, const struct weir_sock_record *const ends[WEIR_ENDS]);
/* Adds what the pair has done to the totals of its port and frees the slot. */
int pairs_fold(struct sock_maps *m, __u32 index, bool released);
/* Counts a refusal at this port. */
int pairs_refused(struct sock_maps *m, __u64 cgroup, __u16 port, enum weir_refusal reason);
/* Whether the socket of this cookie is in `ends`. */
bool pairs_has(const struct sock_maps *m, __u64 cookie);

#endif
