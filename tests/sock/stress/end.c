// SPDX-License-Identifier: GPL-2.0
#include "stress.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS	    256
#define TICK_MS	    5
#define PER_TICK    10	       /* connections begun */
#define NO_INTEREST (1u << 27) /* not in the epoll set yet */
#define ROUNDS	    8	       /* of one connection before the next one's turn */

static int epoll_fd;
static long finished;

static void finish(struct end *e)
{
	uint64_t by_tcp = tcp_bytes_sent(e->fd);

	if (e->side == CLIENT && by_tcp >= sizeof(uint64_t))
		by_tcp -= sizeof(uint64_t);
	e->out->by_tcp = by_tcp;
	if (e->message.file >= 0 && e->message.left)
		close(e->message.file);
	close(e->fd);
	e->fd = -1;
	e->link->closed[e->side] = true;
	finished++;
}

static void reset(struct end *e)
{
	struct linger linger = {.l_onoff = 1};

	setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	finish(e);
}

void broken(struct end *e, struct way *way, const char *format, ...)
{
	va_list arguments;

	if (e->fd < 0)
		return;
	va_start(arguments, format);
	vsnprintf(way->why[e->side], sizeof(way->why[0]), format, arguments);
	va_end(arguments);
	reset(e);
}

bool may_be_reset(const struct end *e)
{
	return e->in->prefix;
}

static void begin(struct end *e, int fd, enum side side, long index)
{
	uint64_t key = mix(option.seed) ^ mix(index);

	*e = (struct end){.fd = fd,
			  .side = side,
			  .index = index,
			  .link = &links[index],
			  .out = &links[index].ways[side],
			  .in = &links[index].ways[!side],
			  .out_key = mix(key + side),
			  .in_key = mix(key + !side),
			  .dice = mix(key + 2 + side),
			  .message = {.file = -1},
			  .readable = true,
			  .writable = true,
			  .begun = true};
	e->edge = option.edge == 2 ? index % 2 : option.edge;
	e->slow = (long)roll(&e->dice, 100) < option.slow;
	plan_begin(&e->plan, index);
	e->step.kind = STEP_BULK; /* of nothing */
	e->link->progress = now();
	if (!net.send_buffer && !roll(&e->dice, 4))
		set_option(fd, SOL_SOCKET, SO_SNDBUF, 4096 + roll(&e->dice, LARGEST));
	if (!net.receive_buffer && !roll(&e->dice, 4))
		set_option(fd, SOL_SOCKET, SO_RCVBUF, 4096 + roll(&e->dice, LARGEST));
	if (roll(&e->dice, 2) && !net.nagle)
		set_option(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, 0);
}

static void begin_step(struct end *e)
{
	const struct step *step = &e->step;
	bool answers = step->kind == STEP_EXCHANGE ? e->side == SERVER
						   : step->kind == STEP_PART && step->answer_at_end;

	if (step->kind == STEP_PART) {
		answers = step->parting == PART_CLOSE ||
			  (answers && step->parting == (e->side == CLIENT ? PART_SERVER_HALF
									  : PART_CLIENT_HALF));
		answers = answers && !(step->parting == PART_CLOSE && e->side == CLIENT);
	}
	e->answered = !answers;
	if (!answers)
		e->send_goal += step->size[e->side];
	e->receive_goal += step->size[!e->side];
	if (step->kind == STEP_BULK)
		e->send_due = now() + roll(&e->dice, 100) / 1e3;
	if (step->kind == STEP_EXCHANGE && e->side == CLIENT) {
		e->send_due = now() + roll(&e->dice, 2 * option.think + 1) / 1e3;
		tally->exchanges++;
	}
}

static void part(struct end *e)
{
	enum parting parting = e->step.parting;

	if (!e->answered && e->seen_end) {
		e->answered = true;
		e->send_goal += e->step.size[e->side];
	}
	if (!e->answered || e->sent < e->send_goal || e->send_due > now())
		return;
	if (parting == (e->side == CLIENT ? PART_CLIENT_RESET : PART_SERVER_RESET)) {
		tally->resets++;
		e->in->prefix = e->out->prefix = true;
		e->in->ended = e->out->ended = true;
		reset(e);
		return;
	}
	if (parting == (e->side == CLIENT ? PART_SERVER_RESET : PART_CLIENT_RESET))
		return;
	if (parting == PART_CLOSE && e->side == CLIENT && e->received == e->receive_goal) {
		e->in->ended = true;
		finish(e);
		return;
	}
	if (!e->shut) {
		e->shut = true;
		tally->half_closes++;
		if (shutdown(e->fd, SHUT_WR)) {
			broken(e, e->out, "shutdown: %s", errno_name(errno));
			return;
		}
	}
	if (e->seen_end)
		finish(e);
}

static void advance(struct end *e)
{
	/* A RST may overtake what this step waits for. */
	if (e->seen_end && e->in->prefix)
		finish(e);
	while (e->fd >= 0 && e->step.kind != STEP_PART) {
		bool over = now() > e->life_end || tally->over || stopped;

		if (!e->answered && e->received >= e->receive_goal) {
			e->answered = true;
			e->send_goal += e->step.size[e->side];
		}
		if (!e->answered || e->sent < e->send_goal || e->received < e->receive_goal)
			return;
		plan_next(&e->plan, &e->step, e->link, e->side == CLIENT, over);
		begin_step(e);
	}
	if (e->fd >= 0)
		part(e);
}

static bool reads(const struct end *e, double t)
{
	return e->readable && !e->seen_end && e->read_due <= t;
}

static bool writes(const struct end *e, double t)
{
	return e->writable && e->sent < e->send_goal && e->send_due <= t;
}

static void listen_for(struct end *e, double t)
{
	struct epoll_event event = {.data.ptr = e};

	if (e->edge)
		event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
	else
		event.events = (e->seen_end || e->read_due > t ? 0 : EPOLLIN) |
			       (e->writable ? 0 : EPOLLOUT);
	if (event.events == e->interest)
		return;
	if (epoll_ctl(epoll_fd, e->interest & NO_INTEREST ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, e->fd,
		      &event))
		die("epoll_ctl");
	e->interest = event.events;
}

/* Whether there is more to do at once. */
static bool work(struct end *e, double t)
{
	for (int n = 0; n < ROUNDS && e->fd >= 0; n++) {
		uint64_t before = e->sent + e->received;

		if (reads(e, t)) {
			receive(e);
			if (!e->edge)
				e->readable = false;
		}
		if (e->fd >= 0)
			advance(e);
		if (e->fd >= 0 && writes(e, t))
			transmit(e);
		if (e->fd >= 0)
			advance(e);
		if (e->sent + e->received == before)
			break;
	}
	if (e->fd < 0)
		return false;
	listen_for(e, t);
	return reads(e, t) || writes(e, t);
}

static void note(struct end *e, uint32_t events)
{
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		e->readable = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		e->writable = true;
}

static void find_hung(struct end *ends, double t)
{
	for (long i = 0; i < option.connections; i++) {
		struct end *e = &ends[i];

		if (!e->begun || e->fd < 0 || t - e->link->progress < option.hang)
			continue;
		for (int side = CLIENT; side <= SERVER; side++)
			e->link->ways[side].hung = !e->link->ways[side].ended;
		broken(e, e->out,
		       "no progress for %ld s: sent %llu of %llu, received %llu of %llu, phase %d",
		       option.hang, (unsigned long long)e->sent, (unsigned long long)e->send_goal,
		       (unsigned long long)e->received, (unsigned long long)e->receive_goal,
		       e->plan.phase);
	}
}

/* Waits for events, works on all connections, and says how long to wait next time. */
static int turn(struct end *ends, int wait_ms, bool *accepts)
{
	struct epoll_event events[EVENTS];
	int count = epoll_wait(epoll_fd, events, EVENTS, wait_ms);
	static double looked;
	bool busy = count == EVENTS;
	double t = now();

	for (int i = 0; i < count; i++)
		if (events[i].data.ptr)
			note(events[i].data.ptr, events[i].events);
		else
			*accepts = true;
	for (long i = 0; i < option.connections; i++)
		if (ends[i].begun && ends[i].fd >= 0 && work(&ends[i], t))
			busy = true;
	if (t - looked > 0.25) {
		looked = t;
		find_hung(ends, t);
	}
	return busy ? 0 : TICK_MS;
}

static void open_link(struct end *e, long index)
{
	struct address to = net_target();
	uint64_t hello = htobe64(0x50c4000000000000ull + index);
	int fd = net_socket(index);
	const char *why = NULL;

	if (connect(fd, &to.at.any, to.size) && errno != EINPROGRESS)
		why = errno_name(errno);
	if (!why)
		why = net_connected(fd);
	begin(e, fd, CLIENT, index);
	e->interest = NO_INTEREST;
	e->life_end = now() + option.seconds * (0.6 + roll(&e->dice, 400) / 1e3) - 1;
	if (why || send(fd, &hello, sizeof(hello), MSG_NOSIGNAL) != sizeof(hello))
		broken(e, e->out, "connect: %s", why ? why : errno_name(errno));
}

int stress_client(void *context)
{
	struct end *ends = calloc(option.connections, sizeof(*ends));
	double limit = now() + option.seconds + 2 * option.hang + 10;
	long begun = 0;
	bool ignored;
	int wait_ms = 0;

	(void)context;
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	while (finished < option.connections && now() < limit) {
		for (int n = 0; n < PER_TICK && begun < option.connections; n++, begun++)
			open_link(&ends[begun], begun);
		wait_ms = turn(ends, begun < option.connections ? 0 : wait_ms, &ignored);
		if (option.bytes && tally->bytes > (uint64_t)option.bytes)
			tally->over = true;
	}
	return finished < option.connections;
}

/* The first eight bytes say which connection it is. */
static bool recognise(struct end *ends, int fd)
{
	uint64_t hello;
	long index;

	if (!wait_for(fd, POLLIN, 8000) || recv(fd, &hello, sizeof(hello), 0) != sizeof(hello))
		return false;
	index = be64toh(hello) & 0xffffffff;
	if (be64toh(hello) >> 32 != 0x50c40000 || index >= option.connections || ends[index].begun)
		return false;
	begin(&ends[index], fd, SERVER, index);
	ends[index].interest = NO_INTEREST;
	return true;
}

int stress_server(void *context)
{
	struct end *ends = calloc(option.connections, sizeof(*ends));
	double limit = now() + option.seconds + 2 * option.hang + 10;
	struct epoll_event event = {.events = EPOLLIN};
	int listener = *(int *)context, wait_ms = 0;

	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event))
		die("epoll_ctl");
	while (finished < option.connections && now() < limit) {
		bool accepts = false;
		int fd;

		wait_ms = turn(ends, wait_ms, &accepts);
		while (accepts && (fd = net_accept(listener, 0)) >= 0)
			if (!recognise(ends, fd))
				close(fd);
	}
	return finished < option.connections;
}
