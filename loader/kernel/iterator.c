// SPDX-License-Identifier: GPL-2.0
#include "iterator.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "loader/base/error.h"

#define ROOM 32768 /* bytes read at a time */

/* A read may end within a record, whose rest comes with the next. */
static int read_records(int fd, const char *what, size_t size, iterator_fn *fn, void *arg)
{
	_Alignas(8) char record[ROOM];
	size_t held = 0, used;
	ssize_t n = 0;
	int err = 0;

	while (!err) {
		n = read(fd, record + held, sizeof(record) - held);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0)
			break;
		held += n;
		for (used = 0; !err && held - used >= size; used += size) {
			err = fn(arg, record + used);
			err = err < 0 ? err : 0;
		}
		held -= used;
		memmove(record, record + used, held);
	}
	return n < 0 ? fail(-errno, "cannot walk over %s: %m", what) : err;
}

int iterator_read(int link, const char *what, size_t size, iterator_fn *fn, void *arg)
{
	int fd = bpf_iter_create(link), err;

	if (fd < 0)
		return fail(fd, "cannot walk over %s: %s", what, strerror(-fd));
	err = read_records(fd, what, size, fn, arg);
	close(fd);
	return err;
}
