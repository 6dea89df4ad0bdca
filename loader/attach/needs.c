// SPDX-License-Identifier: GPL-2.0
#include "needs.h"

#include "loader/balance/publish.h"
#include "loader/rules/tables.h"

int needs_load(const struct instance *in, struct needs *needs)
{
	int err = tables_needs(in, &needs->rules);

	if (err)
		return err;
	err = balance_needs(in, &needs->balance);
	if (err)
		tables_release(&needs->rules);
	return err;
}

void needs_release(struct needs *needs)
{
	tables_release(&needs->rules);
	balance_release(&needs->balance);
}
