/* SPDX-License-Identifier: GPL-2.0 */
/* All tracers, in the order of the commands. */
#ifndef WEIR_TRACERS_H
#define WEIR_TRACERS_H

#include "loader/trace/run.h"

extern const struct tracer *const tracers[];
extern const int tracer_count;

#endif
