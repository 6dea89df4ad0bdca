/* SPDX-License-Identifier: GPL-2.0 */
/* A reading of an iterator, by the fd of its link, whose program writes records of one size. */
#ifndef WEIR_TRACE_ITERATOR_H
#define WEIR_TRACE_ITERATOR_H

#include <stddef.h>

/* Calls fn for each record until it returns < 0, which is returned. Else 0, or < 0 with a fail() line
 * that says that one cannot walk over `what`. */
typedef int iterator_fn(void *arg, const void *record);
int iterator_read(int link, const char *what, size_t size, iterator_fn *fn, void *arg);

#endif
