/* SPDX-License-Identifier: GPL-2.0 */
/* What TCP's counters do not have: bytes that `weir sock` takes past it. */
#ifndef WEIR_TCP_SHORTCUTS_H
#define WEIR_TCP_SHORTCUTS_H

#include <jansson.h>

/* Says so, once, when any instance on this host short-cuts connections: to be asked now and then. */
void shortcuts_tell(void);
/* The same of a summary: to people in words, and as "shortcut_active". */
void shortcuts_tell_of(json_t *summary);

#endif
