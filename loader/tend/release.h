/* SPDX-License-Identifier: GPL-2.0 */
/* Back to TCP: takes sockets of leaving pairs out of the map, under their locks: sockops/release.h. */
#ifndef WEIR_SOCK_RELEASE_H
#define WEIR_SOCK_RELEASE_H

#include "walk.h"

/* Two passes over the namespaces in which sockets of leaving pairs are: the first sees who is quiet.
 * `left` receives how many are still in the map. */
int release_round(struct walker *w, const struct sock_maps *m, size_t *left);

#endif
