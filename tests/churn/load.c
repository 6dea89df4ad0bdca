// SPDX-License-Identifier: GPL-2.0
/*
 * Many connections at once, some for the whole run, the others replaced as they end. Each says a
 * block, waits until all of it has come back, pauses, and says the next one. The outcome is a JSON
 * document; each broken connection is a line on stderr.
 */
#include "churn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS	 256
#define LARGEST	 4000 /* block: more than two segments */
#define SERVERS	 64
#define TICK_MS	 5
#define PER_TICK 8 /* connections begun */

enum state {
	NONE,
	CONNECTING,
	TALKING,
	PARTING, /* has said all and waits for the rest */
};

enum cause {
	UNOPENED,
	RESET,
	CUT, /* an end before everything had come back */
	TIMED_OUT,
	WRONG_DATA,
	CAUSES,
};

static const char *const cause_names[] = {
	[UNOPENED] = "unopened", [RESET] = "reset",	      [CUT] = "cut",
	[TIMED_OUT] = "timeout", [WRONG_DATA] = "wrong_data",
};

struct connection {
	int fd;
	enum state state;
	bool lasting;
	bool sending; /* a block is not yet in the socket as a whole */
	uint64_t seed;
	uint64_t said, to_say, heard; /* bytes; heard without the name */
	size_t name_heard;
	char name[NAME_SIZE];
	double begun, due, end, progress;
	unsigned int target;
};

struct server {
	char name[NAME_SIZE];
	unsigned long connections, broken;
};

static struct {
	long alive, lasting, life_ms, pause_ms, wait_s, longest_s;
} option = {.alive = 200,
	    .lasting = 50,
	    .life_ms = 1500,
	    .pause_ms = 100,
	    .wait_s = 20,
	    .longest_s = 60};

static struct connection *connections;
static struct endpoint *targets;
static size_t target_count;
static struct server servers[SERVERS];
static size_t server_count;
static unsigned long opened, finished, broken[CAUSES], retransmitted;
static uint64_t bytes;
static double started, longest;
static int epoll_fd;

/* Byte `at` of the stream of this seed. */
static unsigned char byte_of(uint64_t seed, uint64_t at)
{
	return mix(seed + at / 8) >> at % 8 * 8;
}

static double vary(long mean_ms)
{
	return mean_ms * (0.5 + (double)(dice() % 1000) / 1000) / 1000;
}

static struct server *server_named(const char *name)
{
	for (size_t i = 0; i < server_count; i++)
		if (!memcmp(servers[i].name, name, NAME_SIZE))
			return &servers[i];
	if (server_count == SERVERS)
		die("too many servers");
	memcpy(servers[server_count].name, name, NAME_SIZE);
	return &servers[server_count++];
}

static void begin(struct connection *c, double t)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
	unsigned int target = c->target = dice() % target_count;
	const struct endpoint *e = &targets[target];
	bool lasting = c->lasting;

	*c = (struct connection){.state = CONNECTING,
				 .lasting = lasting,
				 .target = target,
				 .seed = dice(),
				 .begun = t,
				 .progress = t,
				 .end = t + (lasting ? option.longest_s : vary(option.life_ms))};
	c->fd = socket(e->at.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		die("socket");
	if (connect(c->fd, &e->at.any, e->size) && errno != EINPROGRESS)
		die("connect");
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event))
		die("epoll");
	opened++;
}

static void end(struct connection *c, double t)
{
	struct tcp_info info = {};
	socklen_t size = sizeof(info);

	if (!getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &size))
		retransmitted += info.tcpi_total_retrans;
	if (t - c->begun > longest)
		longest = t - c->begun;
	bytes += c->heard;
	close(c->fd);
	c->state = NONE;
}

static void break_off(struct connection *c, enum cause cause, double t)
{
	struct endpoint here = {.size = sizeof(here.at)};

	getsockname(c->fd, &here.at.any, &here.size);
	if (c->state == CONNECTING)
		cause = UNOPENED;
	else if (c->name_heard == NAME_SIZE)
		server_named(c->name)->broken++;
	fprintf(stderr,
		"%.3f %s: target %u port %u server %s, open for %.3f s, said %lu heard %lu\n", t,
		cause_names[cause], c->target, ntohs(here.at.v4.sin_port),
		c->name_heard == NAME_SIZE ? c->name : "-", t - c->begun, (unsigned long)c->said,
		(unsigned long)c->heard);
	broken[cause]++;
	end(c, t);
}

static enum cause cause_of(int error)
{
	return error == ETIMEDOUT ? TIMED_OUT : RESET;
}

/* As much of the block as the socket takes. */
static void say(struct connection *c, double t)
{
	unsigned char block[LARGEST];

	while (c->said < c->to_say) {
		size_t size = c->to_say - c->said;
		ssize_t n;

		for (size_t i = 0; i < size; i++)
			block[i] = byte_of(c->seed, c->said + i);
		n = send(c->fd, block, size, MSG_NOSIGNAL);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0) {
			break_off(c, cause_of(errno), t);
			return;
		}
		c->said += n;
	}
}

static void hear_name(struct connection *c, const char *data, size_t size)
{
	memcpy(c->name + c->name_heard, data, size);
	c->name_heard += size;
	if (c->name_heard == NAME_SIZE)
		server_named(c->name)->connections++;
}

/* false: it is not what was said. */
static bool check(struct connection *c, const unsigned char *data, size_t size)
{
	for (size_t i = 0; i < size; i++, c->heard++)
		if (c->heard >= c->said || data[i] != byte_of(c->seed, c->heard))
			return false;
	return true;
}

static void hear_end(struct connection *c, double t)
{
	if (c->state != PARTING || c->heard != c->said) {
		break_off(c, CUT, t);
		return;
	}
	finished++;
	end(c, t);
}

static void hear(struct connection *c, double t)
{
	unsigned char data[16384];
	ssize_t n;

	while (c->state == TALKING || c->state == PARTING) {
		size_t name;

		n = recv(c->fd, data, sizeof(data), 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			n ? break_off(c, cause_of(errno), t) : hear_end(c, t);
			return;
		}
		c->progress = t;
		name = NAME_SIZE - c->name_heard;
		name = name < (size_t)n ? name : (size_t)n;
		if (name)
			hear_name(c, (char *)data, name);
		if (!check(c, data + name, n - name)) {
			break_off(c, WRONG_DATA, t);
			return;
		}
		if (c->heard == c->to_say)
			c->due = t + vary(option.pause_ms) * (dice() % 10 ? 1 : 10);
	}
}

static void connected(struct connection *c, double t)
{
	socklen_t size = sizeof(int);
	int error = 0;

	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (error) {
		break_off(c, UNOPENED, t);
		return;
	}
	c->state = TALKING;
	c->progress = c->due = t;
}

static void attend(struct connection *c, uint32_t events, double t)
{
	if (c->state == CONNECTING && events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
		connected(c, t);
	if (events & EPOLLOUT && c->state == TALKING)
		say(c, t);
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		hear(c, t);
}

/* What is due, whether or not anything came. `leaving`: nothing new is begun. The client speaks
 * first: with SYN cookies, a handshake whose last ACK is lost is only completed by what the
 * client says. */
static void go_on(struct connection *c, double t, bool leaving)
{
	bool answered = c->heard == c->to_say;

	if (t - c->progress > option.wait_s && (c->state != TALKING || !answered)) {
		break_off(c, TIMED_OUT, t);
	} else if (c->state == TALKING && answered) {
		if (c->to_say && (leaving || t >= c->end)) {
			c->state = PARTING;
			c->progress = t;
			shutdown(c->fd, SHUT_WR);
		} else if (t >= c->due) {
			c->to_say += 1 + dice() % LARGEST;
			c->progress = t;
			say(c, t);
		}
	}
}

/* Returns how many are alive. */
static long pass(double t, bool leaving)
{
	long begun = 0, alive = 0;

	for (long i = 0; i < option.alive; i++) {
		struct connection *c = &connections[i];

		if (c->state == NONE && !leaving && begun++ < PER_TICK)
			begin(c, t);
		else if (c->state != NONE)
			go_on(c, t, leaving);
		alive += c->state != NONE;
	}
	return alive;
}

static void run(void)
{
	struct epoll_event events[EVENTS];
	bool said = false;
	double next = 0;
	long alive;

	do {
		bool leaving = stopped || now() - started > option.longest_s;
		int count = epoll_wait(epoll_fd, events, EVENTS, TICK_MS);
		double t = now();

		for (int i = 0; i < count; i++)
			attend(events[i].data.ptr, events[i].events, t);
		alive = option.alive;
		if (t >= next || leaving) {
			alive = pass(t, leaving);
			next = t + TICK_MS / 1000.0;
		}
		if (!said && opened >= (unsigned long)option.alive) {
			said = true;
			fputs("ready\n", stderr);
		}
		if (leaving && !alive)
			return;
	} while (true);
}

static void tell(void)
{
	unsigned long sum = 0;

	for (int i = 0; i < CAUSES; i++)
		sum += broken[i];
	printf("{\"connections\":%lu,\"finished\":%lu,\"broken\":%lu", opened, finished, sum);
	for (int i = 0; i < CAUSES; i++)
		printf(",\"%s\":%lu", cause_names[i], broken[i]);
	printf(",\"bytes\":%lu,\"retransmitted\":%lu,\"longest_seconds\":%.1f,\"servers\":{",
	       (unsigned long)bytes, retransmitted, longest);
	for (size_t i = 0; i < server_count; i++)
		printf("%s\"%s\":{\"connections\":%lu,\"broken\":%lu}", i ? "," : "",
		       servers[i].name, servers[i].connections, servers[i].broken);
	printf("}}\n");
}

int load(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "c:l:m:p:w:t:s:")) != -1) {
		switch (c) {
		case 'c': option.alive = number(optarg, 1, 10000); break;
		case 'l': option.lasting = number(optarg, 0, 10000); break;
		case 'm': option.life_ms = number(optarg, 1, 60000); break;
		case 'p': option.pause_ms = number(optarg, 0, 60000); break;
		case 'w': option.wait_s = number(optarg, 1, 60); break;
		case 't': option.longest_s = number(optarg, 1, 300); break;
		case 's': seed_dice(number(optarg, 0, 1L << 40)); break;
		default: return 1;
		}
	}
	target_count = argc - optind;
	targets = calloc(target_count + 1, sizeof(*targets));
	connections = calloc(option.alive, sizeof(*connections));
	if (!targets || !connections || !target_count)
		die("load needs ADDRESS:PORT and memory");
	for (size_t i = 0; i < target_count; i++)
		targets[i] = endpoint_of(argv[optind + i]);
	for (long i = 0; i < option.alive && i < option.lasting; i++)
		connections[i].lasting = true;
	epoll_fd = epoll_create1(0);
	started = now();
	run();
	tell();
	return 0;
}
