// SPDX-License-Identifier: GPL-2.0
#include "stress.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define AT_ONCE 64
#define SEARCH	(1u << 22) /* bytes around, for where wrong bytes come from */

static unsigned char bytes[LARGEST];

/* Where in the stream these bytes should be, or -1. */
static long long place_of(const struct end *e, const unsigned char *what, size_t size)
{
	uint64_t from = e->received > SEARCH ? e->received - SEARCH : 0;

	if (size < 8)
		return -1;
	for (uint64_t at = from; at < e->received + SEARCH; at++)
		if (byte_at(e->in_key, at) == what[0] && wrong_at(e->in_key, at, what, 8) < 0)
			return at;
	return -1;
}

static bool verify(struct end *e, size_t size, const char *call)
{
	ssize_t wrong = wrong_at(e->in_key, e->received, bytes, size);

	if (wrong < 0)
		return true;
	broken(e, e->in, "%s: byte %llu is %02x, not %02x; these belong to %lld", call,
	       (unsigned long long)(e->received + wrong), bytes[wrong],
	       byte_at(e->in_key, e->received + wrong), place_of(e, bytes + wrong, size - wrong));
	return false;
}

/* What can be peeked at is there, so FIONREAD may not say that nothing is. */
static bool ask_size(struct end *e)
{
	ssize_t peeked;
	int before = 0, after = 0;

	tally->size_asks++;
	ioctl(e->fd, FIONREAD, &before);
	peeked = recv(e->fd, bytes, sizeof(bytes), MSG_PEEK);
	if (peeked <= 0)
		return true;
	if (!verify(e, peeked, "MSG_PEEK"))
		return false;
	ioctl(e->fd, FIONREAD, &after);
	if (after < peeked)
		tally->size_less++;
	if (after <= 0) {
		broken(e, e->in, "FIONREAD says %d at %llu with %zd bytes there", after,
		       (unsigned long long)e->received, peeked);
		return false;
	}
	/* The sender counts after its call; what is claimed must be said before long. */
	for (int n = 0; n < 8000 && e->received + before > e->in->sent; n++)
		pause_ms(1);
	if (e->received + before > e->in->sent) {
		broken(e, e->in, "FIONREAD says %d at %llu, more than was sent", before,
		       (unsigned long long)e->received);
		return false;
	}
	return true;
}

static ssize_t take(struct end *e, size_t size)
{
	size_t first = size > 1 && !roll(&e->dice, 6) ? 1 + roll(&e->dice, size - 1) : 0;
	struct iovec vectors[] = {{bytes, first}, {bytes + first, size - first}};

	if (first)
		return readv(e->fd, vectors, 2);
	return recv(e->fd, bytes, size, 0);
}

/* What was seen must be there. */
static bool peek(struct end *e, size_t size)
{
	ssize_t peeked = recv(e->fd, bytes, size, MSG_PEEK), taken;

	tally->peeks++;
	if (peeked <= 0)
		return true;
	if (!verify(e, peeked, "MSG_PEEK"))
		return false;
	taken = recv(e->fd, bytes, size, MSG_PEEK);
	if (taken <= 0) {
		broken(e, e->in, "MSG_PEEK had %zd bytes, then %s", peeked,
		       taken ? errno_name(errno) : "the end");
		return false;
	}
	if (taken < peeked)
		tally->peek_less++;
	return verify(e, taken, "second MSG_PEEK");
}

static void stopped_coming(struct end *e, ssize_t taken)
{
	if (!taken) {
		e->seen_end = true;
		e->in->ended = true;
		if (e->step.kind != STEP_PART)
			broken(e, e->in, "an end at %llu that is none",
			       (unsigned long long)e->received);
		return;
	}
	if (errno == EAGAIN) {
		e->readable = false;
		return;
	}
	if (!may_be_reset(e)) {
		broken(e, e->in, "recv at %llu: %s", (unsigned long long)e->received,
		       errno_name(errno));
		return;
	}
	e->seen_end = true;
	e->in->ended = true;
}

void receive(struct end *e)
{
	for (int n = 0; n < AT_ONCE && e->fd >= 0 && !e->seen_end; n++) {
		size_t size = 1 + roll(&e->dice, roll(&e->dice, 8) ? LARGEST : 32);
		uint64_t before = e->received, kind = roll(&e->dice, 24);
		ssize_t taken;

		if ((kind == 0 && !ask_size(e)) || (kind == 1 && !peek(e, size)))
			return;
		taken = take(e, size);
		if (taken > 0 && !verify(e, taken, "recv"))
			return;
		if (taken > 0)
			e->received += taken;
		e->in->received = e->received;
		if (e->received > before)
			e->link->progress = now();
		if (taken <= 0) {
			stopped_coming(e, taken);
			return;
		}
		/* What comes next belongs to another step. */
		if (e->step.kind != STEP_PART && e->received >= e->receive_goal)
			return;
		if (e->slow && e->step.kind != STEP_EXCHANGE) {
			e->read_due = now() + roll(&e->dice, 10) / 1e3;
			return;
		}
	}
}
