/* SPDX-License-Identifier: GPL-2.0 */
/* What to do about a listener whose queues overflow. */
#ifndef WEIR_TCP_QUEUE_ADVICE_H
#define WEIR_TCP_QUEUE_ADVICE_H

#include "queue_reading.h"

/* Of the counts of one listener, its sockets (NULL: closed) and its namespace (NULL: not known). False:
 * there is nothing to say. */
bool queue_advice(char *text, size_t size, const __u64 count[WEIR_Q_COUNTS],
		  const struct queue_sockets *sockets, const struct queue_space *space);

#endif
