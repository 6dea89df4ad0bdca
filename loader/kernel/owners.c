// SPDX-License-Identifier: GPL-2.0
#include "owners.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/libbpf.h>

#include "iterator.h"
#include "loader/base/error.h"
#include "owners.skel.h"
#include "trace/abi/owners.h"

struct owners {
	struct weir_owned *owned; /* by address, each once */
	size_t count, room;
};

static int take(void *arg, const void *record)
{
	struct owners *o = arg;

	if (o->count == o->room) {
		size_t room = o->room ? 2 * o->room : 256;
		struct weir_owned *more = realloc(o->owned, room * sizeof(*more));

		if (!more)
			return fail(-ENOMEM, "out of memory");
		o->owned = more;
		o->room = room;
	}
	o->owned[o->count++] = *(const struct weir_owned *)record;
	return 0;
}

static int by_address(const void *a, const void *b)
{
	const struct weir_owned *x = a, *y = b;

	return (x->socket > y->socket) - (x->socket < y->socket);
}

static int by_address_and_pid(const void *a, const void *b)
{
	const struct weir_owned *x = a, *y = b;
	int order = by_address(a, b);

	return order ? order : (x->owner.pid > y->owner.pid) - (x->owner.pid < y->owner.pid);
}

/* Of those who share a socket, the one with the lowest PID: mostly the parent. */
static void sort(struct owners *o)
{
	size_t kept = 0;

	if (!o->count)
		return;
	qsort(o->owned, o->count, sizeof(*o->owned), by_address_and_pid);
	for (size_t i = 1; i < o->count; i++)
		if (o->owned[i].socket != o->owned[kept].socket)
			o->owned[++kept] = o->owned[i];
	o->count = kept + 1;
}

static int walk(struct owners *o)
{
	struct owners_bpf *skel = owners_bpf__open_and_load();
	struct bpf_link *link;
	int err;

	if (!skel)
		return fail(-errno,
			    "the kernel refuses the iterator over files: %m; -vv shows why");
	link = bpf_program__attach(skel->progs.weir_owners);
	if (!link)
		err = fail(-errno, "the kernel refuses to walk over files: %m");
	else
		err = iterator_read(bpf_link__fd(link), "the files of all processes",
				    sizeof(struct weir_owned), take, o);
	bpf_link__destroy(link);
	owners_bpf__destroy(skel);
	return err;
}

int owners_read(struct owners **owners)
{
	struct owners *o = calloc(1, sizeof(*o));
	int err = o ? walk(o) : fail(-ENOMEM, "out of memory");

	if (err) {
		owners_free(o);
		return err;
	}
	sort(o);
	*owners = o;
	return 0;
}

static const struct weir_owned *find(const struct owners *owners, __u64 socket)
{
	struct weir_owned key = {.socket = socket};

	return owners->count ? bsearch(&key, owners->owned, owners->count, sizeof(key), by_address)
			     : NULL;
}

const struct weir_owner *owners_find(const struct owners *owners, __u64 socket)
{
	const struct weir_owned *found = find(owners, socket);

	return found ? &found->owner : NULL;
}

const struct weir_owner *owners_find_inode(const struct owners *owners, __u64 socket, __u32 inode)
{
	const struct weir_owned *found = find(owners, socket);

	return found && found->inode == inode ? &found->owner : NULL;
}

void owners_free(struct owners *owners)
{
	if (!owners)
		return;
	free(owners->owned);
	free(owners);
}
