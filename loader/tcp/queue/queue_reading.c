// SPDX-License-Identifier: GPL-2.0
#include "queue_reading.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "loader/base/error.h"
#include "loader/host/clock.h"
#include "loader/kernel/mib.h"

/* A SYN whose fate is not told by then was not admitted: it takes microseconds. */
#define SETTLED_NS 1000000ull

#define MARKS (offsetof(struct weir_queue_counts, wait_most_ns) / sizeof(__u64))
#define TRIES 5 /* of reading what changes */

const char *const queue_mibs[WEIR_MIBS] = {
	[WEIR_MIB_LISTEN_OVERFLOWS] = "ListenOverflows",
	[WEIR_MIB_LISTEN_DROPS] = "ListenDrops",
	[WEIR_MIB_REQQ_DROP] = "TCPReqQFullDrop",
	[WEIR_MIB_REQQ_COOKIES] = "TCPReqQFullDoCookies",
	[WEIR_MIB_COOKIES_SENT] = "SyncookiesSent",
	[WEIR_MIB_SYN_RETRANS] = "TCPSynRetrans",
};

/* ---- what was counted ---- */

static void raise_to(__u64 *mark, __u64 value)
{
	if (*mark < value)
		*mark = value;
}

/* What settle() of the program is about to count, when the CPU's next SYN comes. */
static void add_slot(struct counts *c, const struct weir_queue_slot *s)
{
	struct weir_queue_counts *n = (void *)counts_find(c, &s->listener);

	if (!n)
		return;
	n->count[s->otherwise]++;
	if (s->both_full && s->otherwise == WEIR_Q_SYN_ACCEPT)
		n->count[WEIR_Q_BOTH_FULL]++;
	raise_to(&n->accept_most, s->accept_queue);
	raise_to(&n->syn_most, s->syn_queue);
	raise_to(&n->limit_most, s->limit);
}

static bool is_pending(const struct weir_queue_slot *s, __u64 before_ns)
{
	return s->open && s->expected < WEIR_Q_ACK && s->ns < before_ns;
}

static bool same_slots(const struct weir_queue_slot *a, const struct weir_queue_slot *b, int cpus,
		       __u64 before_ns)
{
	for (int i = 0; i < cpus; i++)
		if (is_pending(&a[i], before_ns) != is_pending(&b[i], before_ns) ||
		    (is_pending(&a[i], before_ns) && a[i].ns != b[i].ns))
			return false;
	return true;
}

/* What a slot is about to count has a place where it will be counted. */
static void make_place(int counts_map, const struct weir_queue_slot *s, int cpus)
{
	struct weir_queue_counts *none = calloc(cpus, sizeof(*none));

	if (none)
		bpf_map_update_elem(counts_map, &s->listener, none, BPF_NOEXIST);
	free(none);
}

/* The slots must be the same before and after, or what they hold could be counted twice. */
static int read_stable(struct counts *c, int counts_map, int slots_map,
		       struct weir_queue_slot *first, int cpus)
{
	struct weir_queue_slot *second = first + cpus;
	__u64 before_ns = clock_now_ns() - SETTLED_NS;
	__u32 zero = 0;
	int err = 0;

	for (int tries = 0; !err && tries < TRIES; tries++) {
		counts_free(c);
		err = bpf_map_lookup_elem(slots_map, &zero, first);
		if (err)
			return fail(err, "cannot read the tracer's slots: %s", strerror(-err));
		for (int i = 0; i < cpus; i++)
			if (is_pending(&first[i], before_ns))
				make_place(counts_map, &first[i], cpus);
		err = counts_read_marks(c, counts_map, MARKS);
		if (err)
			return err;
		err = bpf_map_lookup_elem(slots_map, &zero, second);
		if (!err && same_slots(first, second, cpus, before_ns))
			break;
	}
	for (int i = 0; !err && i < cpus; i++)
		if (is_pending(&second[i], before_ns))
			add_slot(c, &second[i]);
	return err;
}

static int read_counts(struct counts *c, struct trace_run *run)
{
	int map = trace_map(run, "counts"), slots = trace_map(run, "slots");
	int cpus = libbpf_num_possible_cpus(), err;
	struct weir_queue_slot *both;

	if (map < 0 || slots < 0)
		return map < 0 ? map : slots;
	both = cpus > 0 ? calloc(2 * cpus, sizeof(*both)) : NULL;
	if (!both)
		return fail(-ENOMEM, "out of memory");
	err = read_stable(c, map, slots, both, cpus);
	free(both);
	return err;
}

/* ---- what is there ---- */

static int grown(void **array, size_t count, size_t size)
{
	void *more;

	if (count & (count - 1))
		return 0;
	more = realloc(*array, (count ? 2 * count : 1) * size);
	if (!more)
		return fail(-ENOMEM, "out of memory");
	*array = more;
	return 0;
}

static int on_socket(void *arg, const struct weir_socket *s)
{
	struct queue_reading *r = arg;
	struct queue_sockets *l;

	if (grown((void **)&r->sockets, r->socket_count, sizeof(*r->sockets)))
		return -ENOMEM;
	l = &r->sockets[r->socket_count++];
	*l = (struct queue_sockets){
		.listener = {.cookie = r->spaces[r->space_count - 1].cookie,
			     .netns = s->ends.netns,
			     .port = s->ends.local_port,
			     .family = s->ends.family},
		.count = 1,
		.accept_queue = s->accept_queue,
		.accept_deepest = s->accept_queue,
		.syn_queue = s->syn_queue,
		.syn_deepest = s->syn_queue,
		.syn_young = s->syn_young,
		.limit = s->accept_max,
	};
	memcpy(l->listener.address, s->ends.local, sizeof(l->listener.address));
	return 0;
}

static __u32 setting(const char *path)
{
	FILE *file = fopen(path, "re");
	unsigned int value = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%u", &value) != 1)
		value = 0;
	fclose(file);
	return value;
}

/* Of the namespace that the thread is in. */
static __u64 namespace_cookie(void)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t size = sizeof(__u64);
	__u64 cookie = 0;

	if (fd < 0)
		return 0;
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size))
		cookie = 0;
	close(fd);
	return cookie;
}

static int on_space(void *arg, __u64 netns)
{
	struct queue_reading *r = arg;
	struct queue_space *s;

	if (grown((void **)&r->spaces, r->space_count, sizeof(*r->spaces)))
		return -ENOMEM;
	s = &r->spaces[r->space_count++];
	*s = (struct queue_space){
		.cookie = namespace_cookie(),
		.netns = netns,
		.somaxconn = setting("/proc/sys/net/core/somaxconn"),
		.max_syn_backlog = setting("/proc/sys/net/ipv4/tcp_max_syn_backlog"),
		.syncookies = setting("/proc/sys/net/ipv4/tcp_syncookies"),
	};
	return mib_read(queue_mibs, WEIR_MIBS, s->kernel);
}

static int compare_sockets(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct weir_queue_listener));
}

static int compare_spaces(const void *a, const void *b)
{
	const struct queue_space *x = a, *y = b;

	return x->cookie < y->cookie ? -1 : x->cookie > y->cookie;
}

static __u32 greater(__u32 a, __u32 b)
{
	return a > b ? a : b;
}

/* Makes one of those that listen on the same. */
static void join_groups(struct queue_reading *r)
{
	size_t kept = 0;

	for (size_t i = 0; i < r->socket_count; i++) {
		struct queue_sockets *last = kept ? &r->sockets[kept - 1] : NULL;
		const struct queue_sockets *s = &r->sockets[i];

		if (!last || compare_sockets(last, s)) {
			r->sockets[kept++] = *s;
			continue;
		}
		last->count++;
		last->accept_queue += s->accept_queue;
		last->syn_queue += s->syn_queue;
		last->syn_young += s->syn_young;
		last->accept_deepest = greater(last->accept_deepest, s->accept_deepest);
		last->syn_deepest = greater(last->syn_deepest, s->syn_deepest);
		if (last->limit > s->limit)
			last->limit = s->limit;
	}
	r->socket_count = kept;
}

/* ---- all of it ---- */

static int read_waiting(struct counts *c, struct trace_run *run)
{
	int map = trace_map(run, "waiting");

	return map < 0 ? map : counts_read(c, map);
}

int queue_read(struct queue_reading *r, struct trace_run *run, struct snapshot *snapshot)
{
	int err;

	*r = (struct queue_reading){};
	err = read_counts(&r->before, run);
	if (!err)
		err = snapshot_visit(snapshot, on_space, on_socket, r);
	if (!err)
		err = read_waiting(&r->waiting, run);
	usleep(2 * SETTLED_NS / 1000); /* what the kernel has counted is settled */
	if (!err)
		err = read_counts(&r->after, run);
	if (err)
		return err;
	r->ns = clock_now_ns();
	if (r->socket_count)
		qsort(r->sockets, r->socket_count, sizeof(*r->sockets), compare_sockets);
	if (r->space_count)
		qsort(r->spaces, r->space_count, sizeof(*r->spaces), compare_spaces);
	join_groups(r);
	return 0;
}

void queue_reading_free(struct queue_reading *r)
{
	counts_free(&r->before);
	counts_free(&r->after);
	counts_free(&r->waiting);
	free(r->sockets);
	free(r->spaces);
	*r = (struct queue_reading){};
}

const struct queue_sockets *queue_sockets_of(const struct queue_reading *r,
					     const struct weir_queue_listener *listener)
{
	return r->socket_count ? bsearch(listener, r->sockets, r->socket_count, sizeof(*r->sockets),
					 compare_sockets)
			       : NULL;
}

const struct queue_space *queue_space_of(const struct queue_reading *r, __u64 cookie)
{
	struct queue_space wanted = {.cookie = cookie};

	return r->space_count ? bsearch(&wanted, r->spaces, r->space_count, sizeof(*r->spaces),
					compare_spaces)
			      : NULL;
}

static bool is_silent(const struct weir_queue_waiting *w, __u64 now)
{
	__u64 silent = now - w->last_ns;

	return silent > WEIR_QUEUE_SILENT_NS && 2 * silent > 5 * w->gap_ns;
}

struct queue_clients queue_clients_of(const struct queue_reading *r,
				      const struct weir_queue_listener *listener)
{
	struct queue_clients clients = {};

	for (size_t i = 0; i < r->waiting.count; i++) {
		const struct weir_queue_waiting *w = (const void *)counts_value(&r->waiting, i);

		if (memcmp(&w->listener, listener, sizeof(*listener)))
			continue;
		if (is_silent(w, r->ns))
			clients.gave_up++;
		else
			clients.waiting++;
	}
	return clients;
}
