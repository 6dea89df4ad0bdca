// SPDX-License-Identifier: GPL-2.0
#include "tracers.h"

#include "states.h"

const struct tracer *const tracers[] = {
	&tracer_states,
};

const int tracer_count = sizeof(tracers) / sizeof(tracers[0]);
