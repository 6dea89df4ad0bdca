/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The pace of a command that shows something every few seconds until it is interrupted. SIGINT
 * and SIGTERM are held back while the command works and end the wait, so that a line is never
 * torn and nothing but the command itself is stopped.
 */
#ifndef WEIR_TICKER_H
#define WEIR_TICKER_H

#include <signal.h>
#include <stdbool.h>
#include <time.h>

struct ticker {
	double seconds;
	struct timespec next; /* CLOCK_MONOTONIC; the pace does not drift with the work between */
	sigset_t signals;
};

void ticker_start(struct ticker *ticker, double seconds);
/* Returns false when the user wants the command to end. */
bool ticker_wait(struct ticker *ticker);
/* The same, with work to do every `step` seconds meanwhile; what it returns but 0 ends the wait: false. */
bool ticker_wait_doing(struct ticker *ticker, double step, int (*work)(void *arg), void *arg);

#endif
