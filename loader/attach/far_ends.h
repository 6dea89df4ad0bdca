/* SPDX-License-Identifier: GPL-2.0 */
/* Far ends of veths poll for weir's sake only while it transmits there: see polling.h. */
#ifndef WEIR_FAR_ENDS_H
#define WEIR_FAR_ENDS_H

#include "loader/host/instance.h"

/* Lets those go where nothing transmits any more: at the end of a change. */
void far_ends_settle(const struct instance *in);

#endif
