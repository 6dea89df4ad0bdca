/* SPDX-License-Identifier: GPL-2.0 */
/* Far ends of veths poll for weir's sake while it transmits there, and only then: see polling.h. */
#ifndef WEIR_FAR_ENDS_H
#define WEIR_FAR_ENDS_H

#include <stdbool.h>

#include "loader/host/instance.h"

/* Whether XDP sends frames to devices that have ceased to take them, beside those of backends. */
bool far_ends_ceased(const struct instance *in);

/* Lets those go where nothing transmits any more: at the end of a change. */
void far_ends_settle(const struct instance *in);

#endif
