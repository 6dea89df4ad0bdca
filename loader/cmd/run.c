// SPDX-License-Identifier: GPL-2.0
/* weir run: what has to be done from time to time, until it is interrupted. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "loader/attach/attach.h"
#include "loader/base/error.h"
#include "loader/base/ticker.h"
#include "loader/tend/tend.h"

#define INTERVAL_SECONDS 1.0
/* What sockets ask for at most: a connection is worth a look after a tenth of a second. */
#define ROUND_SECONDS 0.1

struct running {
	double interval; /* of the services */
	double services; /* seconds until they are due */
	double sockets;
	struct instance in;
	struct tender tender;
	bool tending;
	char last[1024]; /* what was complained of last */
};

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

/* Who changes something may be waiting for our sockets with the lock held, and settles the services
 * himself: then we come again. */
static int tend_services(struct running *r)
{
	struct tended did = {};
	struct instance in;
	int err = instance_open_now(&in);

	r->services = err == -EBUSY ? 0 : r->interval;
	if (err)
		return err == -EBUSY ? 0 : err;
	err = attach_tend(&in, &did);
	instance_close(&in);
	if (!err && verbosity)
		say(&did);
	return err;
}

/* Another process may tend them, or nothing be attached: then we ask again. */
static int open_tender(struct running *r)
{
	int err = instance_open(&r->in, false);

	if (err)
		return err;
	instance_unlock(&r->in);
	err = tender_open(&r->tender, &r->in);
	r->tending = !err;
	return err == -EBUSY || err == -ENOENT ? 0 : err;
}

static int tend_sockets(struct running *r)
{
	int ms = r->tending ? 0 : open_tender(r);

	r->sockets = INTERVAL_SECONDS;
	if (ms || !r->tending)
		return ms;
	ms = tender_round(&r->tender);
	if (ms == -ESTALE) {
		tender_close(&r->tender);
		r->tending = false;
		return 0;
	}
	if (ms > 0)
		r->sockets = ms / 1000.0;
	return ms < 0 ? ms : 0;
}

/* What fails once may work the next time; the same complaint again is of no use. */
static void complain(struct running *r, int err)
{
	const char *line = failure() ? failure() : "out of memory";

	if (!err)
		return;
	if (strcmp(r->last, line)) {
		notice("%s", line);
		snprintf(r->last, sizeof(r->last), "%s", line);
	}
	forget_failure();
}

static void tend_what_is_due(struct running *r)
{
	int err;

	r->services -= ROUND_SECONDS;
	r->sockets -= ROUND_SECONDS;
	if (r->services <= 0) {
		err = tend_services(r);
		complain(r, err);
		if (!err)
			r->last[0] = '\0';
	}
	if (r->sockets <= 0 || (r->tending && tender_has_news(&r->tender)))
		complain(r, tend_sockets(r));
}

int cmd_run(struct args *args)
{
	struct running r = {.interval = INTERVAL_SECONDS};
	struct ticker ticker;
	int err = parse(args, &r.interval);

	if (!err)
		ticker_start(&ticker, ROUND_SECONDS);
	if (!err)
		err = tend_services(&r);
	if (!err)
		err = tend_sockets(&r);
	if (err)
		return err;
	while (ticker_wait(&ticker))
		tend_what_is_due(&r);
	if (r.tending)
		tender_close(&r.tender);
	return 0;
}
