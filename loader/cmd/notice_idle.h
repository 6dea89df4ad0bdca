/* SPDX-License-Identifier: GPL-2.0 */
#ifndef WEIR_CMD_NOTICE_IDLE_H
#define WEIR_CMD_NOTICE_IDLE_H

#include "loader/host/instance.h"

/* That no XDP program obeys what was configured is no mistake, but should be no surprise either:
 * says so, and that `what` yet. */
void notice_idle(const struct instance *in, const char *what);

#endif
