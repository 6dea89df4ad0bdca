// SPDX-License-Identifier: GPL-2.0
/* weir run: what has to be done from time to time, until it is interrupted. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "loader/service/services.h"
#include "loader/base/error.h"
#include "loader/base/ticker.h"

#define INTERVAL_SECONDS 1.0

static int parse(struct args *args, double *seconds)
{
	while (accept_word(args, "-i")) {
		const char *text = value_of(args, "-i");

		if (!text || parse_seconds("interval", text, seconds))
			return -EINVAL;
	}
	return no_more_words(args);
}

static void say(const struct tended *did)
{
	if (did->settled_slots)
		notice("slots that came to rest: %zu", did->settled_slots);
	if (did->forgotten_backends)
		notice("backends that left and are forgotten: %zu", did->forgotten_backends);
	if (did->refreshed_hops)
		notice("backends with another way there: %zu", did->refreshed_hops);
}

static int tend(void)
{
	struct tended did = {};
	struct instance in;
	int err = instance_open(&in, true);

	if (err)
		return err;
	err = services_tend(&in, &did);
	instance_close(&in);
	if (!err && verbosity)
		say(&did);
	return err;
}

/* What fails once may work the next time; the same complaint again is of no use. */
static void complain(char *last, size_t size)
{
	const char *line = failure() ? failure() : "out of memory";

	if (strcmp(last, line)) {
		notice("%s", line);
		snprintf(last, size, "%s", line);
	}
	forget_failure();
}

int cmd_run(struct args *args)
{
	double seconds = INTERVAL_SECONDS;
	struct ticker ticker;
	char last[1024] = "";
	int err = parse(args, &seconds);

	if (!err)
		ticker_start(&ticker, seconds);
	if (!err)
		err = tend();
	if (err)
		return err;
	while (ticker_wait(&ticker)) {
		if (tend())
			complain(last, sizeof(last));
		else
			last[0] = '\0';
	}
	return 0;
}
