// SPDX-License-Identifier: GPL-2.0
/*
 * Many connections that say a little from time to time. Each frame carries the secret of the
 * process that sent it, so bytes that went to another connection, process or namespace are seen.
 */
#include "sock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define LARGEST	 4096
#define EVENTS	 256
#define TICK_MS	 5
#define PER_TICK 20 /* connections begun */
#define LATE_S	 15 /* what is lost never comes; a process may stand still */
#define KEEP_MS	 50 /* between looks at a connection that has ended */

static struct {
	long connections, rate, seconds, size, secret, expect, life_ms, wait_ms;
	bool serve, connect, keep, may_end;
} option = {.connections = 100, .rate = 10, .seconds = 5, .size = 64, .wait_ms = 3000};

static const struct option_line options[] = {
	{"--conns", OPTION_NUMBER, &option.connections, 1, 30000, NULL, "connections"},
	{"--rate", OPTION_NUMBER, &option.rate, 1, 1000, NULL, "exchanges a second, of each"},
	{"--seconds", OPTION_NUMBER, &option.seconds, 1, 3600, NULL, "how long"},
	{"--size", OPTION_NUMBER, &option.size, 32, LARGEST, NULL, "bytes of a frame"},
	{"--serve", OPTION_FLAG, &option.serve, 0, 0, NULL, "only the server; needs --port"},
	{"--connect", OPTION_FLAG, &option.connect, 0, 0, NULL, "only the clients; needs --port"},
	{"--secret", OPTION_NUMBER, &option.secret, 0, 1l << 60, NULL, "of this process; 0: any"},
	{"--expect", OPTION_NUMBER, &option.expect, 0, 1l << 60, NULL,
	 "secret of the other process; 0: that of the first frame"},
	{"--life", OPTION_NUMBER, &option.life_ms, 0, 3600000, NULL,
	 "mean ms until a connection is replaced; 0: never"},
	{"--wait", OPTION_NUMBER, &option.wait_ms, 0, 60000, NULL,
	 "ms to wait for a server that listens"},
	{"--keep", OPTION_FLAG, &option.keep, 0, 0, NULL,
	 "connections that the peer ended stay open here and are tried on"},
	{"--may-end", OPTION_FLAG, &option.may_end, 0, 0, NULL, "an end by the peer is no error"},
	{},
};

struct frame {
	uint64_t secret, connection, sequence;
};

struct line {
	int fd;
	enum side side;
	bool awaits, ended;
	uint64_t connection, sequence, peer, sent_before;
	double due, since, life_end;
	size_t heard;
	unsigned char in[LARGEST];
};

static struct {
	uint64_t opened, failed, exchanges, foreign, wrong, late, ended, reset, after_end;
	uint64_t bytes, by_tcp, quiet;
} tally;

static struct line **lines; /* by descriptor */
static long line_room, client_lines;
static int epoll_fd;
static uint64_t dice;
static double end_time;

void pairs_help(void)
{
	printf(": connections that are kept, and are known by their secrets\n");
	show_options(options);
}

static uint64_t secret_of(enum side side)
{
	return option.serve || option.connect ? option.secret : option.secret + side;
}

static struct line *begin(int fd, enum side side)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
	struct line *l = calloc(1, sizeof(*l));
	double t = now();

	if (fd >= line_room)
		die("too many files");
	*l = (struct line){.fd = fd, .side = side, .since = t, .due = t};
	l->due += roll(&dice, 1000) / 1e3 / option.rate;
	l->life_end = end_time;
	if (option.life_ms)
		l->life_end = t + option.life_ms * (0.5 + roll(&dice, 1000) / 1e3) / 1e3;
	l->peer = option.serve || option.connect ? (uint64_t)option.expect : secret_of(!side);
	lines[fd] = l;
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event))
		die("epoll_ctl");
	return l;
}

static void end(struct line *l)
{
	if (l->awaits && now() - l->since > LATE_S)
		tally.late++;
	tally.by_tcp += tcp_bytes_sent(l->fd);
	close(l->fd);
	lines[l->fd] = NULL;
	client_lines -= l->side == CLIENT;
	free(l);
}

static void ended_by_peer(struct line *l, int error)
{
	bool own = option.serve || l->side == SERVER;

	if (error == ECONNRESET || error == EPIPE)
		tally.reset++;
	else if (!own || l->heard)
		tally.ended++;
	if (!option.keep) {
		end(l);
		return;
	}
	epoll_ctl(epoll_fd, EPOLL_CTL_DEL, l->fd, NULL);
	l->ended = true;
	l->due = 0;
}

static bool say(struct line *l)
{
	unsigned char out[LARGEST];
	struct frame frame = {secret_of(l->side), l->connection, l->sequence};

	memcpy(out, &frame, sizeof(frame));
	fill(mix(frame.secret) ^ mix(frame.connection) ^ frame.sequence, 0, out + sizeof(frame),
	     option.size - sizeof(frame));
	l->since = now();
	l->sent_before = tcp_bytes_sent(l->fd);
	if (send(l->fd, out, option.size, MSG_NOSIGNAL) != option.size)
		return false;
	tally.bytes += option.size;
	return true;
}

static void judge(struct line *l)
{
	struct frame frame;

	memcpy(&frame, l->in, sizeof(frame));
	if (!l->peer)
		l->peer = frame.secret;
	if (l->side == SERVER && !l->sequence)
		l->connection = frame.connection;
	if (frame.secret != l->peer) {
		fprintf(stderr, "sock: a frame of %llu on a connection with %llu\n",
			(unsigned long long)frame.secret, (unsigned long long)l->peer);
		tally.foreign++;
	} else if (frame.connection != l->connection || frame.sequence != l->sequence ||
		   wrong_at(mix(frame.secret) ^ mix(frame.connection) ^ frame.sequence, 0,
			    l->in + sizeof(frame), option.size - sizeof(frame)) >= 0) {
		tally.wrong++;
	}
}

static void hear(struct line *l)
{
	ssize_t done = recv(l->fd, l->in + l->heard, option.size - l->heard, 0);

	if (done < 0 && errno == EAGAIN)
		return;
	if (done <= 0) {
		ended_by_peer(l, done ? errno : 0);
		return;
	}
	l->heard += done;
	if (l->heard < (size_t)option.size)
		return;
	l->heard = 0;
	judge(l);
	if (l->side == SERVER) {
		if (!say(l)) {
			ended_by_peer(l, errno);
			return;
		}
	} else {
		tally.exchanges++;
		tally.quiet += tcp_bytes_sent(l->fd) == l->sent_before;
		if (now() - l->since > LATE_S)
			tally.late++;
		l->awaits = false;
	}
	l->sequence++;
}

/* A connection whose peer has gone: nothing may come any more. */
static void try_on(struct line *l, double t)
{
	unsigned char rest[LARGEST] = "";
	uint64_t secret;
	ssize_t done = recv(l->fd, rest, sizeof(rest), 0);

	if (done > 0) {
		memcpy(&secret, rest, sizeof(secret));
		fprintf(stderr, "sock: %zd bytes after the end, of %llu\n", done,
			(unsigned long long)secret);
		tally.after_end += done;
	}
	send(l->fd, rest, option.size, MSG_NOSIGNAL);
	l->due = t + KEEP_MS / 1e3;
}

static void tick(struct line *l, double t)
{
	if (l->ended) {
		if (t >= l->due)
			try_on(l, t);
		return;
	}
	if (l->side != CLIENT || t < l->due)
		return;
	if (l->awaits) {
		if (t - l->since > LATE_S)
			end(l);
		return;
	}
	if (t >= l->life_end) {
		end(l);
		return;
	}
	l->due += 1.0 / option.rate;
	if (l->due < t)
		l->due = t;
	l->awaits = true;
	if (!say(l))
		ended_by_peer(l, errno);
}

static void open_line(void)
{
	struct address to = net_target();
	double limit = now() + option.wait_ms / 1e3;

	for (;;) {
		int fd = net_socket(tally.opened % option.connections);
		bool begun = !connect(fd, &to.at.any, to.size) || errno == EINPROGRESS;
		const char *why = begun ? net_connected(fd) : errno_name(errno);

		if (!why) {
			begin(fd, CLIENT)->connection = ++tally.opened;
			client_lines++;
			return;
		}
		close(fd);
		/* The addresses of a connection that was here before rest for a second, each its own. */
		if (now() > limit || stopped ||
		    (tally.opened && !option.life_ms && strcmp(why, "EADDRNOTAVAIL"))) {
			fprintf(stderr, "sock: connect: %s\n", why);
			tally.failed++;
			client_lines++; /* not tried again */
			return;
		}
		pause_ms(20);
	}
}

static void accept_lines(int listener)
{
	int fd;

	while ((fd = net_accept(listener, 0)) >= 0)
		begin(fd, SERVER);
}

static void turn(int listener)
{
	struct epoll_event events[EVENTS];
	int count = epoll_wait(epoll_fd, events, EVENTS, TICK_MS);
	double t = now();

	for (int i = 0; i < count; i++) {
		int fd = events[i].data.fd;

		if (fd == listener)
			accept_lines(listener);
		else if (lines[fd])
			hear(lines[fd]);
	}
	for (long fd = 0; fd < line_room; fd++)
		if (lines[fd])
			tick(lines[fd], t);
}

static void report(void)
{
	bool right = !tally.foreign && !tally.wrong && !tally.late && !tally.failed &&
		     !tally.after_end && (option.may_end || !(tally.ended + tally.reset));

	json_begin();
	json_whole("secret", option.secret);
	json_whole("opened", tally.opened);
	json_whole("failed_connects", tally.failed);
	json_whole("exchanges", tally.exchanges);
	json_whole("exchanges_short_cut", tally.quiet);
	json_whole("foreign", tally.foreign);
	json_whole("wrong", tally.wrong);
	json_whole("late", tally.late);
	json_whole("ended", tally.ended);
	json_whole("reset", tally.reset);
	json_whole("bytes_after_end", tally.after_end);
	json_whole("bytes", tally.bytes);
	json_whole("bytes_by_tcp", tally.by_tcp);
	json_truth("right", right);
	json_end();
	exit(!right);
}

int pairs(int argc, char **argv)
{
	int listener = -1;

	dice = mix(getpid()) ^ mix((uint64_t)(now() * 1e9));
	parse_options(argc, argv, options, NULL);
	if (!option.secret)
		option.secret = mix(dice) >> 8;
	line_room = 2 * option.connections + 64;
	allow_files(line_room);
	lines = calloc(line_room, sizeof(*lines));
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	end_time = now() + option.seconds;
	if (!option.connect) {
		struct epoll_event event = {.events = EPOLLIN};

		listener = event.data.fd = net_listen(4096);
		if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event))
			die("epoll_ctl");
	}
	while (now() < end_time && !stopped) {
		for (int n = 0; !option.serve && n < PER_TICK; n++)
			if (client_lines < option.connections)
				open_line();
		turn(listener);
	}
	for (long fd = 0; fd < line_room; fd++)
		if (lines[fd])
			end(lines[fd]);
	report();
	return 0;
}
