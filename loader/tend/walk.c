// SPDX-License-Identifier: GPL-2.0
#include "walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "loader/base/error.h"
#include "weir_tend.skel.h"

static int load(struct walker *w, const struct sock_maps *m, bool tending)
{
	int err;

	w->skel = weir_tend_bpf__open();
	if (!w->skel)
		return fail(-ENOMEM, "cannot open the socket programs: %m");
	bpf_program__set_autoload(w->skel->progs.weir_sent, tending);
	bpf_program__set_autoload(w->skel->progs.weir_read, tending);
	bpf_program__set_autoload(w->skel->progs.weir_join, tending);
	bpf_program__set_autoload(w->skel->progs.weir_release, tending);
	bpf_program__set_autoload(w->skel->progs.weir_census, tending);
	err = sock_maps_reuse(m, w->skel->obj);
	if (err)
		return err;
	err = weir_tend_bpf__load(w->skel);
	return err ? fail(err,
			  "the kernel refuses the programs that look at sockets: %s; -vv shows why",
			  strerror(-err))
		   : 0;
}

int walker_open(struct walker *w, const struct sock_maps *m, bool tending)
{
	union bpf_iter_link_info info = {.map.map_fd = m->sockets};
	LIBBPF_OPTS(bpf_iter_attach_opts, opts, .link_info = &info, .link_info_len = sizeof(info));
	int err;

	*w = (struct walker){};
	err = load(w, m, tending);
	if (!err) {
		w->walk = bpf_program__attach_iter(w->skel->progs.weir_walk, &opts);
		if (!w->walk)
			err = fail(-errno, "cannot walk over sockets: %m");
	}
	if (err)
		walker_close(w);
	return err;
}

static int compare(const void *a, const void *b)
{
	const struct weir_sock *x = &((const struct weir_sock_record *)a)->sock;
	const struct weir_sock *y = &((const struct weir_sock_record *)b)->sock;

	if (x->key.connected != y->key.connected)
		return x->key.connected < y->key.connected ? -1 : 1;
	if (x->key.accepted != y->key.accepted)
		return x->key.accepted < y->key.accepted ? -1 : 1;
	return x->end - y->end;
}

/* Room for one more read of the kernel's buffer. */
static int make_room(struct walker *w, size_t bytes)
{
	size_t room = w->room ? 2 * w->room : 512;
	void *more;

	if (bytes + 65536 <= w->room * sizeof(*w->record))
		return 0;
	more = realloc(w->record, room * sizeof(*w->record));
	if (!more)
		return fail(-ENOMEM, "out of memory for the records of %zu sockets", room);
	w->record = more;
	w->room = room;
	return 0;
}

static int read_records(struct walker *w, int fd)
{
	size_t bytes = 0;
	ssize_t n;
	int err;

	do {
		err = make_room(w, bytes);
		if (err)
			return err;
		n = read(fd, (char *)w->record + bytes, w->room * sizeof(*w->record) - bytes);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return fail(-errno, "cannot walk over sockets: %m");
		if (n > 0)
			bytes += n;
	} while (n);
	w->count = bytes / sizeof(*w->record);
	return 0;
}

int walker_walk(struct walker *w, struct weir_walk what)
{
	int fd, err;

	w->skel->bss->walk.observe_ns = what.observe_ns;
	w->skel->bss->walk.forget_ns = what.forget_ns;
	w->skel->bss->walk.all = what.all;
	w->skel->bss->walk.obey = what.obey;
	w->skel->bss->walk.anew = what.anew;
	fd = bpf_iter_create(bpf_link__fd(w->walk));
	if (fd < 0)
		return fail(fd, "cannot walk over sockets: %s", strerror(-fd));
	err = read_records(w, fd);
	close(fd);
	if (!err && w->count)
		qsort(w->record, w->count, sizeof(*w->record), compare);
	return err;
}

static bool same_connection(const struct walker *w, size_t a, size_t b)
{
	return b < w->count &&
	       !memcmp(&w->record[a].sock.key, &w->record[b].sock.key, sizeof(struct weir_key));
}

long walker_other(const struct walker *w, size_t index)
{
	size_t first = index, end;

	while (first > 0 && same_connection(w, index, first - 1))
		first--;
	end = first + 1;
	while (same_connection(w, index, end))
		end++;
	if (end - first != 2 || w->record[first].sock.end == w->record[first + 1].sock.end)
		return -1;
	return index == first ? (long)first + 1 : (long)first;
}

int walker_read_iterator(void *link)
{
	int fd = bpf_iter_create(bpf_link__fd(link));
	char nothing[64];
	ssize_t n;

	if (fd < 0)
		return fail(fd, "cannot walk over TCP sockets: %s", strerror(-fd));
	do
		n = read(fd, nothing, sizeof(nothing));
	while (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)));
	close(fd);
	return n < 0 ? fail(-errno, "cannot walk over TCP sockets: %m") : 0;
}

int walker_observe(struct walker *w, bool on)
{
	struct weir_tend_bpf *skel = w->skel;

	if (on && !w->read) {
		w->sent = bpf_program__attach(skel->progs.weir_sent);
		w->read = w->sent ? bpf_program__attach(skel->progs.weir_read) : NULL;
		if (!w->read)
			return fail(-errno, "cannot observe sends and receives: %m");
	}
	if (!on && w->read) {
		bpf_link__destroy(w->read);
		bpf_link__destroy(w->sent);
		w->read = w->sent = NULL;
	}
	return 0;
}

void walker_close(struct walker *w)
{
	bpf_link__destroy(w->read);
	bpf_link__destroy(w->sent);
	bpf_link__destroy(w->walk);
	weir_tend_bpf__destroy(w->skel);
	free(w->record);
	*w = (struct walker){};
}
