/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Each trap is one use of sockets that a short-cut may break. It says what it saw; "right" is what
 * plain TCP does.
 */
#ifndef TRAP_H
#define TRAP_H

#include "tests/sock/sock.h"

#include <pthread.h>
#include <stdatomic.h>

enum when {
	WHEN_LATE,
	WHEN_START,
};

enum blocking {
	BLOCKING_NEVER,
	BLOCKING_LATE,
	BLOCKING_START,
};

struct trap_option {
	long size, count, cap, hold_ms, delay_ms, wait_ms;
	long when, blocking;
	bool from_server;
	const char *delay_until, *hold_until;
};

extern struct trap_option trap_option;

struct pair {
	int listener, client, server;
	int from, to; /* who sends in what the trap is about */
	struct warmth warmth;
	uint64_t tcp_before;
	char client_name[80], server_name[80];
};

#define TRAP_KEY 0x7a9ull
#define QUIET_MS 500 /* nothing is to come; what is, is waited for much longer */

/* What was given as an option, or else this. */
long size_or(long size);
long count_or(long count);
long delay_or(long ms);
/* In the state that the trap is about: for this time, or until --delay-until says so. */
void delay(long ms);
/* Whether such a delay, which has begun now, is not over. */
bool delay_goes_on(void);

/* Listens if nobody does yet, connects, accepts. */
void pair_open(struct pair *p);
/* What pair_open() does once the connection is there. */
void pair_opened(struct pair *p);
/* Exchanges until the connection is warm. */
void pair_warm(struct pair *p);
/* Begins the JSON document; trap_end() ends it and gives the exit status. */
void trap_begin(struct pair *p);
int trap_end(struct pair *p, bool right);

struct drained {
	uint64_t bytes;
	long long wrong_at; /* -1: all right */
	const char *end;    /* "", "EOF" or the error */
};

/* Reads what comes until nothing has come for this time, `most` bytes are there, or the end. */
struct drained drain(int fd, uint64_t key, uint64_t offset, uint64_t most, int quiet_ms);
void json_drained(const char *name, const struct drained *d);
/* Of SO_MEMINFO: bytes held for the reader, and for the sender. */
uint32_t memory_held(int fd, bool sending);

/* A call that may never return is made by a thread. */
struct task {
	pthread_t thread;
	void (*run)(struct task *task);
	_Atomic bool done;
	int fd;
	size_t size;
	ssize_t result;
	int error;
	void *context;
};

void task_start(struct task *task);
bool task_done(struct task *task, int wait_ms);

/* How the server's end reads what it sends an answer to, byte for byte. */
enum manner {
	BY_RECV,
	BY_SPIN,
	BY_SLEEP, /* in recv() */
	BY_SPLICE,
	BY_SPLEEP, /* asleep in splice() */
};

struct echo {
	struct task task;
	enum manner manner;
	int pipe[2];
	_Atomic uint64_t heard, in_vain; /* bytes; reads of a readable socket that gave none */
	_Atomic bool wrong, stop;
};

struct talk {
	uint64_t at, rounds, wrong;
	double p50;
	bool hung;
};

void echo_start(struct echo *echo, int fd, enum manner manner);
/* True if it came to its end; a sleeping reader does when the stream does. */
bool echo_stop(struct echo *echo, int wait_ms);
/* Goes on for this time; 0: one round. */
void talk_for(int client, struct talk *talk, size_t size, long ms, long pause_us);
void json_talk(const char *name, const struct talk *talk);

int trap_slow_reader(struct pair *p);
int trap_late_reader(struct pair *p);
int trap_splice(struct pair *p);
int trap_splice_late(struct pair *p);
int trap_zerocopy(struct pair *p);
int trap_sendfile(struct pair *p);
int trap_oob(struct pair *p);
int trap_waitall(struct pair *p);
int trap_rcvlowat(struct pair *p);
int trap_peek(struct pair *p);
int trap_fionread(struct pair *p);
int trap_spin(struct pair *p);
int trap_blocking(struct pair *p);
int trap_blocking_writer(struct pair *p);
int trap_trunc(struct pair *p);
int trap_close_unread(struct pair *p);
int trap_write_after_close(struct pair *p);
int trap_half_close(struct pair *p);
int trap_close_after_send(struct pair *p);
int trap_rst(struct pair *p);
int trap_exit(struct pair *p);
int trap_defer_accept(struct pair *p);
int trap_fastopen(struct pair *p);
int trap_self_connect(struct pair *p);
int trap_reconnect(struct pair *p);
int trap_server_first(struct pair *p);
int trap_fd_passing(struct pair *p);
int trap_keepalive(struct pair *p);
int trap_ulp(struct pair *p);
int trap_edge(struct pair *p);

#endif
