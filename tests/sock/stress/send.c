// SPDX-License-Identifier: GPL-2.0
#include "stress.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define AT_ONCE 32 /* messages before another connection has its turn */
#define VECTORS 5

static unsigned char bytes[LARGEST];

/* The bytes of the stream from here on, unless this is the message to be damaged. */
static void prepare(struct end *e, uint64_t offset, size_t size)
{
	static bool done;
	size_t half = size / 2;

	fill(e->out_key, offset, bytes, size);
	if (done || !option.damage || e->side != CLIENT || e->index != option.connections / 2 ||
	    e->step.kind != STEP_BULK || size < 100)
		return;
	done = option.damage == DAMAGE_CORRUPT || option.damage == DAMAGE_REORDER;
	if (option.damage == DAMAGE_CORRUPT)
		bytes[half] ^= 1;
	if (option.damage == DAMAGE_REORDER) {
		fill(e->out_key, offset + half, bytes, size - half);
		fill(e->out_key, offset, bytes + size - half, half);
	}
}

static void choose(struct end *e)
{
	uint64_t left = e->send_goal - e->sent;
	size_t size = left;

	if (e->step.kind != STEP_EXCHANGE || !roll(&e->dice, 8))
		size = 1 + roll(&e->dice, roll(&e->dice, 5) ? LARGEST : 64);
	if (size > left)
		size = left;
	if (size > LARGEST)
		size = LARGEST;
	e->message = (struct message){.left = size, .file = -1};
	switch (roll(&e->dice, e->step.kind == STEP_EXCHANGE ? 32 : 8)) {
	case 0:
	case 1:
		/* What was held back is sent with the last message of the step. */
		e->message.method = size < left ? BY_MORE : BY_SEND;
		break;
	case 2: e->message.method = BY_WRITEV; break;
	case 3:
		e->message.method = BY_SENDFILE;
		prepare(e, e->sent, size);
		e->message.file = memfd_create("sock", MFD_CLOEXEC);
		if (e->message.file < 0 || write(e->message.file, bytes, size) != (ssize_t)size)
			die("memfd");
		break;
	}
}

static ssize_t send_vector(struct end *e, size_t size)
{
	struct iovec vectors[VECTORS];
	struct msghdr header = {.msg_iov = vectors};
	size_t at = 0;

	while (at < size) {
		size_t part = size - at, n = header.msg_iovlen++;

		if (n < VECTORS - 1)
			part = 1 + roll(&e->dice, part);
		vectors[n] = (struct iovec){bytes + at, part};
		at += part;
	}
	return sendmsg(e->fd, &header, MSG_NOSIGNAL);
}

static ssize_t say(struct end *e)
{
	struct message *m = &e->message;

	if (m->method == BY_SENDFILE)
		return sendfile(e->fd, m->file, &m->file_at, m->left);
	prepare(e, e->sent, m->left);
	if (m->method == BY_WRITEV)
		return send_vector(e, m->left);
	return send(e->fd, bytes, m->left, MSG_NOSIGNAL | (m->method == BY_MORE ? MSG_MORE : 0));
}

static void said(struct end *e, size_t size)
{
	e->sent += size;
	e->out->sent = e->sent;
	e->link->progress = now();
	tally->bytes += size;
	e->message.left -= size;
	if (e->message.left)
		return;
	if (e->message.file >= 0)
		close(e->message.file);
	e->message.file = -1;
	if (e->step.kind != STEP_EXCHANGE && !roll(&e->dice, 32))
		e->send_due = now() + roll(&e->dice, 10) / 1e3;
}

static bool withheld(struct end *e)
{
	if (e->side != CLIENT || e->index != option.connections / 2 || e->step.kind != STEP_BULK)
		return false;
	if (option.damage == DAMAGE_STALL)
		return true;
	if (option.damage != DAMAGE_LOSE || e->send_goal - e->sent < 2)
		return false;
	option.damage = DAMAGE_NONE;
	said(e, 1);
	return false;
}

void transmit(struct end *e)
{
	for (int n = 0; n < AT_ONCE && e->fd >= 0 && e->sent < e->send_goal; n++) {
		ssize_t done;

		if (e->send_due > now())
			return;
		if (!e->message.left)
			choose(e);
		if (withheld(e))
			return;
		done = say(e);
		if (done > 0) {
			said(e, done);
			continue;
		}
		if (done < 0 && errno == EAGAIN) {
			tally->full++;
			e->writable = false;
			return;
		}
		if (may_be_reset(e)) {
			tally->refused += e->message.left;
			e->sent = e->send_goal = e->out->sent;
		} else {
			broken(e, e->out, "send: %s", done ? errno_name(errno) : "nothing taken");
		}
		return;
	}
}
