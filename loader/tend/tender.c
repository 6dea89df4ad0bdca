// SPDX-License-Identifier: GPL-2.0
/* Who tends: one process at a time, for as long as it holds the lock of the directory of pins. */
#include "tend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "lives.h"
#include "loader/base/error.h"
#include "pairs.h"

static int lock_of(const struct instance *in)
{
	int fd = open(instance_path(in, "sock"), O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	if (!flock(fd, LOCK_EX | LOCK_NB))
		return fd;
	err = errno == EWOULDBLOCK ? -EBUSY : -errno;
	close(fd);
	return err;
}

/* Pairs that one who was killed was about to join are nobody's. */
static void begin(struct tender *t)
{
	t->maps.control->tender = getpid();
	t->generation = t->maps.control->generation;
	for (__u32 i = 0; i < t->maps.pair_count; i++) {
		struct weir_pair *p = &t->maps.pairs[i];

		if (p->state == WEIR_PAIR_JOINING)
			pairs_send_away(p);
	}
}

static int make_notes(struct tender *t)
{
	t->notes = calloc(t->maps.pair_count, sizeof(*t->notes));
	t->lives = calloc(WEIR_LIVES, sizeof(*t->lives));
	return t->notes && t->lives
		       ? 0
		       : fail(-ENOMEM, "out of memory for %u pairs", t->maps.pair_count);
}

int tender_open(struct tender *t, const struct instance *in)
{
	int err;

	*t = (struct tender){.in = in, .lock = lock_of(in)};
	if (t->lock < 0)
		return t->lock == -EBUSY || t->lock == -ENOENT
			       ? t->lock
			       : fail(t->lock, "cannot lock %s: %s", instance_path(in, "sock"),
				      strerror(-t->lock));
	err = sock_maps_open(&t->maps, in);
	if (!err)
		err = make_notes(t);
	if (!err)
		err = walker_open(&t->walker, &t->maps, true);
	if (!err)
		begin(t);
	else
		tender_close(t);
	return err;
}

int tender_take_over(struct tender *t, const struct instance *in)
{
	struct sock_maps m;
	int err = sock_maps_open(&m, in);

	if (err)
		return err;
	err = -EBUSY;
	for (int i = 0; err == -EBUSY && i < 500; i++) {
		if (i)
			usleep(10000);
		/* Again and again: another one may have begun just before us. */
		if (i % 10 == 0)
			__atomic_fetch_add(&m.control->generation, 1, __ATOMIC_SEQ_CST);
		err = tender_open(t, in);
	}
	sock_maps_close(&m);
	if (err != -EBUSY)
		return err;
	return fail(err, "the process that tends the sockets does not end; end it, then try again");
}

void tender_close(struct tender *t)
{
	walker_close(&t->walker);
	if (t->maps.control && t->maps.control->tender == (__u32)getpid())
		t->maps.control->tender = 0;
	sock_maps_close(&t->maps);
	free(t->notes);
	free(t->lives);
	if (t->lock >= 0)
		close(t->lock);
	*t = (struct tender){.lock = -1};
}

int tender_process(const struct instance *in)
{
	struct sock_maps m;
	int fd = lock_of(in), process = 0;

	if (fd >= 0)
		close(fd);
	if (fd != -EBUSY || sock_maps_open(&m, in))
		return 0;
	process = m.control->tender;
	sock_maps_close(&m);
	return process;
}
