// SPDX-License-Identifier: GPL-2.0
#include "ticker.h"

#include <errno.h>

#define SECOND 1000000000L

static void add(struct timespec *ts, double seconds)
{
	ts->tv_sec += (time_t)seconds;
	ts->tv_nsec += (long)((seconds - (time_t)seconds) * SECOND);
	if (ts->tv_nsec >= SECOND) {
		ts->tv_nsec -= SECOND;
		ts->tv_sec++;
	}
}

/* Returns 0 for a time that is past. */
static struct timespec left_until(const struct timespec *then)
{
	struct timespec now, left;

	clock_gettime(CLOCK_MONOTONIC, &now);
	left.tv_sec = then->tv_sec - now.tv_sec;
	left.tv_nsec = then->tv_nsec - now.tv_nsec;
	if (left.tv_nsec < 0) {
		left.tv_nsec += SECOND;
		left.tv_sec--;
	}
	return left.tv_sec < 0 ? (struct timespec){0} : left;
}

void ticker_start(struct ticker *ticker, double seconds)
{
	ticker->seconds = seconds;
	clock_gettime(CLOCK_MONOTONIC, &ticker->next);
	sigemptyset(&ticker->signals);
	sigaddset(&ticker->signals, SIGINT);
	sigaddset(&ticker->signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &ticker->signals, NULL);
}

bool ticker_wait(struct ticker *ticker)
{
	struct timespec left;
	int got;

	add(&ticker->next, ticker->seconds);
	do {
		left = left_until(&ticker->next);
		got = sigtimedwait(&ticker->signals, NULL, &left);
	} while (got < 0 && errno == EINTR);
	if (got < 0 && !left.tv_sec && !left.tv_nsec) /* late: do not hurry to catch up */
		clock_gettime(CLOCK_MONOTONIC, &ticker->next);
	return got < 0;
}
