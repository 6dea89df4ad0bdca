// SPDX-License-Identifier: GPL-2.0
/* The ways in which a connection ends. */
#include "trap.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SETTLE_MS 100

static const char *recv_result(int fd)
{
	char byte;
	ssize_t done = recv(fd, &byte, 1, MSG_DONTWAIT);

	return done > 0 ? "data" : done ? errno_name(errno) : "EOF";
}

static const char *send_result(int fd)
{
	return send(fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1 ? "sent" : errno_name(errno);
}

static short events_of(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};

	poll(&p, 1, 0);
	return p.revents;
}

static void json_events(int fd)
{
	short events = events_of(fd);

	json_truth("pollhup", events & POLLHUP);
	json_truth("pollerr", events & POLLERR);
	json_truth("pollrdhup", events & POLLRDHUP);
}

static void close_end(struct pair *p, int *fd)
{
	close(*fd);
	if (p->client == *fd)
		p->client = -1;
	if (p->server == *fd)
		p->server = -1;
	*fd = -1;
}

int trap_close_unread(struct pair *p)
{
	const char *read, *written;

	pair_open(p);
	pair_warm(p);
	send_all(p->from, TRAP_KEY, 0, size_or(5000), 1000);
	pause_ms(SETTLE_MS);
	close_end(p, &p->to);
	wait_for(p->from, POLLIN | POLLRDHUP, trap_option.wait_ms);
	pause_ms(SETTLE_MS);
	trap_begin(p);
	json_events(p->from);
	read = recv_result(p->from);
	written = send_result(p->from);
	json_text("recv", read);
	json_text("send", written);
	return trap_end(p, !strcmp(read, "ECONNRESET") && !strcmp(written, "EPIPE"));
}

int trap_write_after_close(struct pair *p)
{
	const char *read, *first, *second;

	pair_open(p);
	pair_warm(p);
	close_end(p, &p->to);
	wait_for(p->from, POLLIN | POLLRDHUP, trap_option.wait_ms);
	pause_ms(SETTLE_MS);
	trap_begin(p);
	json_events(p->from);
	read = recv_result(p->from);
	first = send_result(p->from);
	wait_for(p->from, 0, trap_option.wait_ms); /* for POLLERR or POLLHUP */
	second = send_result(p->from);
	json_text("recv", read);
	json_text("send", first);
	json_text("send_again", second);
	return trap_end(p,
			!strcmp(read, "EOF") && !strcmp(first, "sent") && !strcmp(second, "EPIPE"));
}

/* The answer is given in parts, as it is read. */
int trap_half_close(struct pair *p)
{
	long size = size_or(200000), part = 20000;
	struct drained request, answer = {.wrong_at = -1}, last;
	uint64_t read = 0;
	bool good = true;

	pair_open(p);
	pair_warm(p);
	send_all(p->from, TRAP_KEY, 0, size_or(5000) < 5000 ? size_or(5000) : 5000, 1000);
	shutdown(p->from, SHUT_WR);
	request = drain(p->to, TRAP_KEY, 0, 1 << 20, trap_option.wait_ms);
	for (long at = 0; at < size && good; at += part) {
		if (part > size - at)
			part = size - at;
		good = send_all(p->to, ~TRAP_KEY, at, part, 1000);
		answer = drain(p->from, ~TRAP_KEY, at, part, trap_option.wait_ms);
		read += answer.bytes;
		good = good && answer.bytes == (uint64_t)part && answer.wrong_at < 0;
	}
	shutdown(p->to, SHUT_WR);
	last = drain(p->from, ~TRAP_KEY, read, 1, trap_option.wait_ms);
	trap_begin(p);
	json_drained("request", &request);
	json_whole("answered", read);
	json_whole("wrong_at", answer.wrong_at);
	json_drained("last", &last);
	return trap_end(p, good && request.wrong_at < 0 && !strcmp(request.end, "EOF") &&
				   read == (uint64_t)size && !strcmp(last.end, "EOF"));
}

/* Sends what is taken at once. */
static uint64_t send_what_goes(int fd, uint64_t size)
{
	uint64_t at = 0;

	while (at < size && send_all(fd, TRAP_KEY, at, size - at < 4096 ? size - at : 4096, 0))
		at += size - at < 4096 ? size - at : 4096;
	return at;
}

int trap_close_after_send(struct pair *p)
{
	struct drained d;
	uint64_t sent;

	pair_open(p);
	pair_warm(p);
	sent = send_what_goes(p->from, size_or(100000));
	close_end(p, &p->from);
	pause_ms(delay_or(100));
	d = drain(p->to, TRAP_KEY, 0, UINT64_MAX, trap_option.wait_ms);
	trap_begin(p);
	json_whole("sent", sent);
	json_drained("read", &d);
	return trap_end(p, d.bytes == sent && d.wrong_at < 0 && !strcmp(d.end, "EOF"));
}

int trap_rst(struct pair *p)
{
	struct linger linger = {.l_onoff = 1};
	struct drained d;
	uint64_t sent;

	pair_open(p);
	pair_warm(p);
	sent = send_what_goes(p->from, size_or(5000));
	setsockopt(p->from, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close_end(p, &p->from);
	wait_for(p->to, POLLRDHUP, trap_option.wait_ms);
	pause_ms(delay_or(100));
	trap_begin(p);
	json_events(p->to);
	d = drain(p->to, TRAP_KEY, 0, UINT64_MAX, trap_option.wait_ms);
	json_whole("sent", sent);
	json_drained("read", &d);
	return trap_end(p, d.bytes <= sent && d.wrong_at < 0 && !strcmp(d.end, "ECONNRESET"));
}

int trap_exit(struct pair *p)
{
	long size = size_or(50000);
	struct drained d;
	pid_t pid;

	pair_open(p);
	pair_warm(p);
	pid = fork();
	if (!pid) {
		send_all(p->from, TRAP_KEY, 0, size, 1000);
		kill(getpid(), SIGKILL);
	}
	close_end(p, &p->from);
	waitpid(pid, NULL, 0);
	pause_ms(delay_or(100));
	d = drain(p->to, TRAP_KEY, 0, UINT64_MAX, trap_option.wait_ms);
	trap_begin(p);
	json_whole("sent", size);
	json_drained("read", &d);
	return trap_end(p, d.bytes == (uint64_t)size && d.wrong_at < 0 && !strcmp(d.end, "EOF"));
}
