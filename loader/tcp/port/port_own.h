/* SPDX-License-Identifier: GPL-2.0 */
/* What a run of tcp port knows: for port.c and port_rows.c alone. */
#ifndef WEIR_TCP_PORT_OWN_H
#define WEIR_TCP_PORT_OWN_H

#include "loader/trace/counts.h"
#include "loader/trace/run.h"
#include "trace/abi/port.h"

struct port_own {
	struct counts services, destinations; /* when they were last read */
};

int port_walk_read(struct trace_run *run, struct weir_port_walk *walk);

#endif
