// SPDX-License-Identifier: GPL-2.0
#include "policy.h"

#include <stdbool.h>
#include <stddef.h>

/* A connection is worth it once it has shown so many requests and answers... */
#define TURNS 8
/* ...with no more messages to each than this: else it is a stream. */
#define MESSAGES_PER_TURN 16
/* A stream of large messages is, after so many, if it is answered at times. */
#define LARGE_SENDS 8
/* What is neither after so many is not. */
#define ENOUGH_SENDS 256
/* A reader that finds nothing so much more often than something asks in a loop. */
#define EMPTY_PER_RECV 16
#define EMPTY_FREE     64
/* Bytes gone without any recvmsg(): more than one that is under way takes at once. */
#define READ_OTHERWISE (1024 * 1024)
#define SECOND	       1000000000ull

const char *const sock_refusal_names[WEIR_REFUSALS] = {
	[WEIR_R_IDLE] = "idle",		 [WEIR_R_ONE_WAY] = "one_way",
	[WEIR_R_BLOCKING] = "blocking",	 [WEIR_R_OTHER_READS] = "other_reads",
	[WEIR_R_SPINNING] = "spinning",	 [WEIR_R_CALLS] = "calls",
	[WEIR_R_ZEROCOPY] = "zerocopy",	 [WEIR_R_ULP] = "ulp",
	[WEIR_R_LOWAT] = "lowat",	 [WEIR_R_BUSY_POLL] = "busy_poll",
	[WEIR_R_URGENT_PORT] = "urgent", [WEIR_R_SETTINGS] = "settings",
	[WEIR_R_OPTIONS] = "options",	 [WEIR_R_OTHER_MAP] = "other_sockmap",
	[WEIR_R_FULL] = "full",		 [WEIR_R_TWICE] = "ambiguous",
	[WEIR_R_UNREADY] = "unready",
};

const char *const sock_refusal_texts[WEIR_REFUSALS] = {
	[WEIR_R_IDLE] = "hardly any traffic",
	[WEIR_R_ONE_WAY] = "small messages one way, which TCP packs better",
	[WEIR_R_BLOCKING] = "its socket is not O_NONBLOCK: a reader may sleep inside of recv",
	[WEIR_R_OTHER_READS] = "bytes are read by other means than recvmsg (splice, zero-copy)",
	[WEIR_R_SPINNING] = "its reader asks in a loop instead of waiting",
	[WEIR_R_CALLS] = "MSG_WAITALL, MSG_OOB or MSG_TRUNC is used",
	[WEIR_R_ZEROCOPY] = "SO_ZEROCOPY is set",
	[WEIR_R_ULP] = "an upper layer protocol has it (kernel TLS, MPTCP)",
	[WEIR_R_LOWAT] = "SO_RCVLOWAT is set",
	[WEIR_R_BUSY_POLL] = "SO_BUSY_POLL is set",
	[WEIR_R_OPTIONS] =
		"timestamps, TCP_INQ, SO_PEEK_OFF, SO_MAX_PACING_RATE or a socket filter "
		"is set",
	[WEIR_R_SETTINGS] = "the settings of its cgroup leave it out",
	[WEIR_R_URGENT_PORT] = "urgent data, or a port of a protocol that uses it",
	[WEIR_R_OTHER_MAP] = "another program's sockmap has it",
	[WEIR_R_FULL] = "there is no room for more pairs",
	[WEIR_R_TWICE] = "more than two sockets claim to be its ends",
	[WEIR_R_UNREADY] =
		"something was unread each time that it was to be short-cut, or nobody is in "
		"its network namespace",
};

const char *const sock_refusal_remedies[WEIR_REFUSALS] = {
	[WEIR_R_IDLE] = "nothing: it is looked at again as soon as there is more traffic",
	[WEIR_R_ONE_WAY] = "nothing: TCP is faster for such a stream",
	[WEIR_R_BLOCKING] =
		"only readers that never sleep in recv() can be short-cut: sockets with "
		"O_NONBLOCK, and epoll or poll to wait",
	[WEIR_R_OTHER_READS] =
		"let the program read by recv(), as by turning splicing off (HAProxy: "
		"no 'option splice-auto'); else nothing",
	[WEIR_R_SPINNING] = "let the program wait by epoll or poll; a reader that spins is slowed "
			    "down by the short cut",
	[WEIR_R_CALLS] = "nothing: what the program asks for works by TCP only",
	[WEIR_R_ZEROCOPY] =
		"turn zero-copy sends off in the program; bytes to a socket of this host "
		"are copied in any case",
	[WEIR_R_ULP] = "nothing: kernel TLS and MPTCP need TCP",
	[WEIR_R_LOWAT] =
		"let the program do without SO_RCVLOWAT; it is not obeyed on the short cut",
	[WEIR_R_BUSY_POLL] = "no SO_BUSY_POLL in the program, 'sysctl net.core.busy_read=0' on the "
			     "host; it does nothing between local sockets",
	[WEIR_R_OPTIONS] = "nothing: the program asked for what only packets can do",
	[WEIR_R_URGENT_PORT] = "nothing: urgent data needs TCP",
	[WEIR_R_SETTINGS] =
		"nothing, or other settings: 'weir sock attach' with --port and --local",
	[WEIR_R_OTHER_MAP] =
		"a socket can be in one sockmap with programs only; 'bpftool map' lists "
		"sockmaps and sockhashes of others",
	[WEIR_R_FULL] = "'weir sock detach --all', then attach with a larger --pairs",
	[WEIR_R_TWICE] = "nothing: a connection is short-cut only if its ends are beyond doubt",
	[WEIR_R_UNREADY] = "nothing: it is tried again",
};

/* ftp, telnet, rlogin and rsh interrupt by urgent data, which a short cut delivers in line. */
static bool is_urgent_port(__u16 port)
{
	return port == 21 || port == 23 || port == 513 || port == 514;
}

enum weir_refusal sock_must_leave(const struct weir_sock_record *r)
{
	if (r->flags & WEIR_SOCK_ZEROCOPY)
		return WEIR_R_ZEROCOPY;
	if (r->flags & WEIR_SOCK_ULP)
		return WEIR_R_ULP;
	if (r->flags & WEIR_SOCK_LOWAT)
		return WEIR_R_LOWAT;
	if (r->flags & WEIR_SOCK_BUSY)
		return WEIR_R_BUSY_POLL;
	if (r->flags & WEIR_SOCK_OPTIONS)
		return WEIR_R_OPTIONS;
	if (r->flags & WEIR_SOCK_URGENT || is_urgent_port(r->sock.port))
		return WEIR_R_URGENT_PORT;
	return WEIR_REFUSALS;
}

/* Bytes left the receive queue without recvmsg(): by splice(), a zero-copy receive... */
static bool reads_otherwise(const struct weir_sock_record *r)
{
	const struct weir_evidence *e = &r->sock.evidence;

	return e->odd || (!e->recvs && r->copied_seq - e->copied >= READ_OTHERWISE);
}

/* What one end does that a short cut cannot, or WEIR_REFUSALS. */
static enum weir_refusal judge_use(const struct weir_sock_record *r)
{
	const struct weir_evidence *e = &r->sock.evidence;
	enum weir_refusal options = sock_must_leave(r);

	if (r->flags & WEIR_SOCK_TWICE)
		return WEIR_R_TWICE;
	if (options != WEIR_REFUSALS)
		return options;
	if (e->saw & WEIR_SAW_ZEROCOPY)
		return WEIR_R_ZEROCOPY;
	if (e->saw & (WEIR_SAW_WAITALL | WEIR_SAW_OOB | WEIR_SAW_TRUNC))
		return WEIR_R_CALLS;
	if (e->saw & WEIR_SAW_BLOCKING || !(r->flags & WEIR_SOCK_NONBLOCK))
		return WEIR_R_BLOCKING;
	if (reads_otherwise(r))
		return WEIR_R_OTHER_READS;
	if (e->empty > EMPTY_FREE + EMPTY_PER_RECV * e->recvs)
		return WEIR_R_SPINNING;
	return WEIR_REFUSALS;
}

/* No byte is unaccounted for; while a call is under way it may be. */
static bool accounts_for_all(const struct weir_sock_record *r)
{
	const struct weir_evidence *e = &r->sock.evidence;

	return r->copied_seq - e->copied == (__u32)e->received;
}

static bool answers(const struct weir_evidence *e)
{
	return e->turns >= TURNS && e->sends <= MESSAGES_PER_TURN * e->turns;
}

/* How either end reads was seen: who sends most may be a proxy that splices what comes back. */
static bool streams_large(const struct weir_evidence *from, const struct weir_evidence *to)
{
	return from->sends >= LARGE_SENDS && from->sent / from->sends >= WEIR_LARGE &&
	       to->sends <= from->sends && to->recvs >= LARGE_SENDS / 2 && from->recvs;
}

/* Where of several messages not one was read while we looked on, and yet they are gone, that is the
 * reason, else this one. */
static struct sock_judgement judge_unread(const struct weir_sock_record *const ends[WEIR_ENDS],
					  enum weir_refusal reason, enum weir_end whose)
{
	for (int end = 0; end < WEIR_ENDS; end++) {
		const struct weir_evidence *e = &ends[end]->sock.evidence;

		if (!e->recvs && ends[end]->copied_seq != e->copied &&
		    ends[!end]->sock.evidence.sends >= TURNS)
			return (struct sock_judgement){SOCK_REFUSE, WEIR_R_OTHER_READS, end};
	}
	return (struct sock_judgement){SOCK_REFUSE, reason, whose};
}

static struct sock_judgement judge_traffic(const struct weir_sock_record *const ends[WEIR_ENDS])
{
	const struct weir_evidence *c = &ends[WEIR_CONNECTED]->sock.evidence;
	const struct weir_evidence *a = &ends[WEIR_ACCEPTED]->sock.evidence;
	struct sock_judgement wait = {.verdict = SOCK_WAIT};

	if ((answers(c) && answers(a)) || streams_large(c, a) || streams_large(a, c))
		return (struct sock_judgement){.verdict = SOCK_PROMOTE};
	if (c->sends >= ENOUGH_SENDS || a->sends >= ENOUGH_SENDS)
		return judge_unread(ends, WEIR_R_ONE_WAY,
				    c->sends >= ENOUGH_SENDS ? WEIR_CONNECTED : WEIR_ACCEPTED);
	return wait;
}

struct sock_judgement sock_judge(const struct weir_sock_record *const ends[WEIR_ENDS])
{
	struct sock_judgement j;

	for (int end = 0; end < WEIR_ENDS; end++) {
		enum weir_refusal reason = judge_use(ends[end]);

		if (reason != WEIR_REFUSALS)
			return (struct sock_judgement){SOCK_REFUSE, reason, end};
	}
	j = judge_traffic(ends);
	if (j.verdict == SOCK_PROMOTE &&
	    !(accounts_for_all(ends[WEIR_CONNECTED]) && accounts_for_all(ends[WEIR_ACCEPTED])))
		j.verdict = SOCK_WAIT;
	return j;
}

struct sock_judgement sock_judge_late(const struct weir_sock_record *const ends[WEIR_ENDS])
{
	return judge_unread(ends, WEIR_R_IDLE, WEIR_CONNECTED);
}

__u64 sock_judge_again(enum weir_refusal reason, unsigned int refusals)
{
	unsigned int doublings = refusals < 6 ? refusals : 6;

	switch (reason) {
	case WEIR_R_TWICE:
	case WEIR_R_SETTINGS:
	case WEIR_R_OTHER_READS:
	case WEIR_R_CALLS:
	case WEIR_R_ULP: return refusals < 3 && reason == WEIR_R_OTHER_READS ? SECOND : WEIR_NEVER;
	default: return SECOND << doublings;
	}
}
