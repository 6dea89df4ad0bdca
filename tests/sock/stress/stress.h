/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The parts of `sock stress`. Both ends of a connection follow one plan, which is known from the
 * seed and the number of the connection: phases of small exchanges, bulk phases in between, and a
 * way to part. When it is time to part the client says in shared memory.
 */
#ifndef STRESS_H
#define STRESS_H

#include "tests/sock/sock.h"

#include <stdatomic.h>

#define LARGEST 65536 /* message, and read */

/* One direction; its index is the side that sends. */
struct way {
	_Atomic uint64_t sent, received;
	_Atomic uint64_t by_tcp;
	_Atomic bool prefix; /* a RST may cut it anywhere */
	_Atomic bool ended;  /* the receiver has seen the end */
	_Atomic bool hung;
	char why[2][192]; /* what the client and the server saw wrong; "" if nothing */
};

struct link {
	_Atomic int last_phase;
	_Atomic double progress;
	_Atomic bool closed[2];
	struct way ways[2];
};

struct tally {
	_Atomic uint64_t exchanges, peeks, peek_less, size_asks, size_less, full;
	_Atomic uint64_t resets, half_closes;
	_Atomic uint64_t refused; /* bytes of calls that a RST made fail */
	_Atomic bool over;	  /* enough bytes */
	_Atomic uint64_t bytes;
};

struct stress_option {
	long connections, seed, seconds, bytes, bulk, think, exchanges, hang, damage, slow, edge;
};

enum damage {
	DAMAGE_NONE,
	DAMAGE_CORRUPT,
	DAMAGE_REORDER,
	DAMAGE_LOSE,
	DAMAGE_STALL,
};

extern struct stress_option option;
extern struct link *links;
extern struct tally *tally;

enum step_kind {
	STEP_EXCHANGE,
	STEP_BULK,
	STEP_PART,
};

enum parting {
	PART_BOTH,
	PART_CLIENT_HALF,
	PART_SERVER_HALF,
	PART_CLOSE, /* the client, with everything just said */
	PART_CLIENT_RESET,
	PART_SERVER_RESET,
};

struct step {
	enum step_kind kind;
	enum parting parting;
	bool answer_at_end; /* what follows a half-close begins when it has arrived */
	uint64_t size[2];
};

struct plan {
	uint64_t dice;
	int phase;
	unsigned int left; /* exchanges of this phase */
};

struct message {
	size_t left;
	enum {
		BY_SEND,
		BY_MORE,
		BY_WRITEV,
		BY_SENDFILE,
	} method;
	int file;
	off_t file_at;
};

struct end {
	int fd;
	enum side side;
	long index;
	struct link *link;
	struct way *out, *in;
	uint64_t out_key, in_key, dice;
	struct plan plan;
	struct step step;
	uint64_t sent, received, send_goal, receive_goal;
	struct message message;
	double send_due, read_due, life_end;
	uint32_t interest;
	bool readable, writable, edge, slow;
	bool answered, shut, seen_end;
	bool begun; /* it is known which connection this is */
};

/* stress_plan.c */
void plan_begin(struct plan *plan, long index);
/* The client says with `over` that the phase of exchanges that begins now is the last one. */
void plan_next(struct plan *plan, struct step *step, struct link *link, bool client, bool over);

/* stress_send.c, stress_receive.c */
void transmit(struct end *e);
void receive(struct end *e);

/* stress_end.c */
int stress_client(void *context);
int stress_server(void *listener);
__attribute__((format(printf, 3, 4))) void broken(struct end *e, struct way *way,
						  const char *format, ...);
bool may_be_reset(const struct end *e);

#endif
