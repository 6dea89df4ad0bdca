// SPDX-License-Identifier: GPL-2.0
#include "queue_advice.h"

#include <stdarg.h>
#include <stdio.h>

struct advice {
	char *text;
	size_t size, used;
};

static void __attribute__((format(printf, 2, 3))) say(struct advice *a, const char *format, ...)
{
	va_list args;
	int n;

	if (a->used + 1 >= a->size)
		return;
	if (a->used)
		a->used += snprintf(a->text + a->used, a->size - a->used, "; ");
	if (a->used + 1 >= a->size)
		return;
	va_start(args, format);
	n = vsnprintf(a->text + a->used, a->size - a->used, format, args);
	va_end(args);
	a->used += n > 0 ? n : 0;
}

/* Both queues hold as many as listen() asked for, and no more than somaxconn. */
static void say_limit(struct advice *a, const struct queue_sockets *sockets,
		      const struct queue_space *space)
{
	if (!space || !space->somaxconn)
		return;
	if (sockets->limit < space->somaxconn)
		say(a, "its limit of %u is what listen() asked for (net.core.somaxconn is %u)",
		    sockets->limit, space->somaxconn);
	else if (sockets->limit == space->somaxconn)
		say(a, "its limit of %u is net.core.somaxconn, unless listen() asked for just that",
		    sockets->limit);
	else
		say(a, "its limit of %u is older than net.core.somaxconn of now, %u",
		    sockets->limit, space->somaxconn);
}

static void on_accept_queue(struct advice *a, const __u64 *count,
			    const struct queue_sockets *sockets, const struct queue_space *space)
{
	if (!sockets) {
		say(a, "the accept queue was full; nobody listens any more");
		return;
	}
	if (sockets->accept_deepest > sockets->limit)
		say(a, "the accept queue is full: the application does not call accept() fast "
		       "enough, and a longer queue only makes clients wait longer");
	else
		say(a, "bursts overflow the accept queue: a longer one would hold them");
	say_limit(a, sockets, space);
	if (count[WEIR_Q_RESET])
		say(a, "clients that believed to be connected are reset "
		       "(net.ipv4.tcp_abort_on_overflow)");
	else if (count[WEIR_Q_ACK] + count[WEIR_Q_COOKIE_ACK])
		say(a, "some clients believe that they are connected and wait for an answer");
}

static void on_syn_queue(struct advice *a, const __u64 *count, const struct queue_sockets *sockets,
			 const struct queue_space *space)
{
	__u64 unqueued = count[WEIR_Q_COOKIE] + count[WEIR_Q_SYN_SYN] + count[WEIR_Q_SYN_RESERVE];
	bool always = space && space->syncookies == 2;

	if (count[WEIR_Q_COOKIE] && always && !count[WEIR_Q_SYN_SYN])
		return;
	if (unqueued > count[WEIR_Q_ADMITTED] || count[WEIR_Q_SYNACKS] > count[WEIR_Q_ADMITTED])
		say(a, "more SYNs come than handshakes end: a SYN flood, or clients whom the "
		       "answers do not reach");
	if (count[WEIR_Q_COOKIE])
		say(a, "the SYN queue is full, cookies stand in for it");
	if (count[WEIR_Q_SYN_SYN])
		say(a, "the SYN queue is full and net.ipv4.tcp_syncookies was 0: with 1 no SYN "
		       "would be dropped for it");
	if (count[WEIR_Q_SYN_RESERVE])
		say(a, "the last quarter of net.ipv4.tcp_max_syn_backlog is kept for known "
		       "clients; net.ipv4.tcp_syncookies=1 lifts that");
	if (sockets && (count[WEIR_Q_SYN_SYN] || count[WEIR_Q_COOKIE]))
		say_limit(a, sockets, space);
}

bool queue_advice(char *text, size_t size, const __u64 count[WEIR_Q_COUNTS],
		  const struct queue_sockets *sockets, const struct queue_space *space)
{
	struct advice a = {.text = text, .size = size};

	if (count[WEIR_Q_SYN_ACCEPT] + count[WEIR_Q_ACK] + count[WEIR_Q_COOKIE_ACK])
		on_accept_queue(&a, count, sockets, space);
	if (count[WEIR_Q_COOKIE] + count[WEIR_Q_SYN_SYN] + count[WEIR_Q_SYN_RESERVE])
		on_syn_queue(&a, count, sockets, space);
	if (count[WEIR_Q_SYN_OTHER])
		say(&a, "SYNs were dropped although both queues had room: no way back to the "
			"client, or no memory");
	if (count[WEIR_Q_REFUSED])
		say(&a,
		    "%llu SYNs were refused before they came to the queues: a BPF filter on the "
		    "socket or of its cgroup ('bpftool cgroup tree'), or a security module",
		    (unsigned long long)count[WEIR_Q_REFUSED]);
	return a.used;
}
