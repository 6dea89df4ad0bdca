/* SPDX-License-Identifier: GPL-2.0 */
/* What an instance's rules and services ask of every device's programs. */
#ifndef WEIR_NEEDS_H
#define WEIR_NEEDS_H

#include <stdbool.h>

#include "loader/balance/maps.h"
#include "loader/host/instance.h"

/* All zero, table -1: no rules. */
struct rule_needs {
	__u32 fields;	   /* as in struct weir_xdp_config */
	__u32 table_bytes; /* of a table */
	bool limits;
	bool redirects;
	int table; /* fd of the map of tables; -1: none */
};

/* All zero, maps NO_BALANCE_MAPS: no services. */
struct balance_needs {
	__u8 modes; /* bit per enum weir_mode */
	__u32 service_bytes;
	struct balance_maps maps;
};

struct needs {
	struct rule_needs rules;
	struct balance_needs balance;
};

/* Of the rules and services as they are now; the caller lets go with needs_release(). */
int needs_load(const struct instance *in, struct needs *needs);
void needs_release(struct needs *needs);

/* Whether TC has to transmit what XDP marks. */
static inline bool needs_transmitter(const struct needs *needs)
{
	return needs->rules.redirects || needs->balance.modes;
}

#endif
