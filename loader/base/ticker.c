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

static double seconds_since(const struct timespec *then)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec - then->tv_sec + (double)(now.tv_nsec - then->tv_nsec) / SECOND;
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

static bool is_before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

/* Returns false when a signal came first. */
static bool sleep_until(const struct ticker *ticker, const struct timespec *then)
{
	struct timespec left;
	int got;

	do {
		left = left_until(then);
		got = sigtimedwait(&ticker->signals, NULL, &left);
	} while (got < 0 && errno == EINTR);
	return got < 0;
}

/* Work between two ticks does not slow the pace, but an interval that is over when its tick would
 * begin, or a sleep that was too long (a process stopped), leaves no time to count in: the next one
 * is whole again. */
static void begin_wait(struct ticker *ticker)
{
	if (seconds_since(&ticker->next) > ticker->seconds)
		clock_gettime(CLOCK_MONOTONIC, &ticker->next);
	add(&ticker->next, ticker->seconds);
}

static void end_wait(struct ticker *ticker)
{
	if (seconds_since(&ticker->next) > ticker->seconds / 10)
		clock_gettime(CLOCK_MONOTONIC, &ticker->next);
}

bool ticker_wait(struct ticker *ticker)
{
	bool goes_on;

	begin_wait(ticker);
	goes_on = sleep_until(ticker, &ticker->next);
	end_wait(ticker);
	return goes_on;
}

bool ticker_wait_doing(struct ticker *ticker, double step, int (*work)(void *arg), void *arg)
{
	struct timespec then;
	bool goes_on;

	begin_wait(ticker);
	clock_gettime(CLOCK_MONOTONIC, &then);
	do {
		goes_on = !work(arg);
		add(&then, step);
		if (is_before(&ticker->next, &then))
			then = ticker->next;
		goes_on = goes_on && sleep_until(ticker, &then);
	} while (goes_on && is_before(&then, &ticker->next));
	end_wait(ticker);
	return goes_on;
}
