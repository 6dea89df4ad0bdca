// SPDX-License-Identifier: GPL-2.0
/* Says its name, then sends back what it gets, until the client has no more to say. */
#include "churn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS	64
#define BACKLOG 4096

struct guest {
	int fd;
	bool listens;
	bool ended;	 /* the client has no more to say */
	size_t from, to; /* of what is yet to be sent */
	char data[16384];
};

static int epoll_fd;
static char name[NAME_SIZE];
static unsigned long accepted;

static void watch(struct guest *g, int how, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = g};

	if (epoll_ctl(epoll_fd, how, g->fd, &event))
		die("epoll");
}

static void listen_at(const char *text)
{
	struct endpoint e = endpoint_of(text);
	struct guest *g = calloc(1, sizeof(*g));
	int one = 1;

	if (!g)
		die("memory");
	g->listens = true;
	g->fd = socket(e.at.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (g->fd < 0)
		die("socket");
	setsockopt(g->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (e.at.any.sa_family == AF_INET6)
		setsockopt(g->fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(g->fd, &e.at.any, e.size) || listen(g->fd, BACKLOG))
		die(text);
	watch(g, EPOLL_CTL_ADD, EPOLLIN);
}

static void part(struct guest *g)
{
	close(g->fd);
	free(g);
}

static void accept_all(const struct guest *listener)
{
	int fd;

	while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		struct guest *g = malloc(sizeof(*g));

		if (!g)
			die("memory");
		*g = (struct guest){.fd = fd, .to = NAME_SIZE};
		memcpy(g->data, name, NAME_SIZE);
		accepted++;
		watch(g, EPOLL_CTL_ADD, EPOLLOUT);
	}
}

static bool passing(void)
{
	return errno == EAGAIN || errno == EINTR;
}

/* false: the connection is over. */
static bool send_back(struct guest *g)
{
	while (g->from < g->to) {
		ssize_t n = send(g->fd, g->data + g->from, g->to - g->from, MSG_NOSIGNAL);

		if (n < 0)
			return passing();
		g->from += n;
	}
	return !g->ended;
}

static bool receive(struct guest *g)
{
	ssize_t n = recv(g->fd, g->data, sizeof(g->data), 0);

	if (n < 0)
		return passing();
	g->from = 0;
	g->to = n;
	g->ended = !n;
	return send_back(g);
}

static void attend(struct guest *g)
{
	bool waiting = g->from < g->to;

	if (!(waiting ? send_back(g) : receive(g)))
		part(g);
	else if (waiting != (g->from < g->to))
		watch(g, EPOLL_CTL_MOD, waiting ? EPOLLIN : EPOLLOUT);
}

int serve(int argc, char **argv)
{
	struct epoll_event events[EVENTS];

	if (argc < 3)
		die("serve NAME ADDRESS:PORT...");
	strncpy(name, argv[1], NAME_SIZE - 1);
	epoll_fd = epoll_create1(0);
	for (int i = 2; i < argc; i++)
		listen_at(argv[i]);
	puts("ready");
	fflush(stdout);
	while (!stopped) {
		int count = epoll_wait(epoll_fd, events, EVENTS, 1000);

		for (int i = 0; i < count; i++) {
			struct guest *g = events[i].data.ptr;

			if (g->listens)
				accept_all(g);
			else
				attend(g);
		}
	}
	printf("%lu\n", accepted);
	return 0;
}
