// SPDX-License-Identifier: GPL-2.0
#include "tracers.h"

#include "connect.h"
#include "loader/tcp/drop/drop.h"
#include "life.h"
#include "loader/tcp/port/port.h"
#include "loader/tcp/queue/queue.h"
#include "retransmit.h"
#include "rtt.h"
#include "loader/tcp/states/states.h"
#include "loader/tcp/top/top.h"

const struct tracer *const tracers[] = {
	&tracer_states,	    &tracer_rtt,  &tracer_connect, &tracer_life, &tracer_top,
	&tracer_retransmit, &tracer_drop, &tracer_queue,   &tracer_port,
};

const int tracer_count = sizeof(tracers) / sizeof(tracers[0]);
