// SPDX-License-Identifier: GPL-2.0
/* The ways in which a connection begins, and goes on elsewhere. */
#include "trap.h"

#include <errno.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the client sends from before it is accepted until after; then it is read. */
static struct drained read_early(struct pair *p, uint64_t *sent)
{
	long size = size_or(3), count = count_or(10);

	for (long i = 0; i < count; i++, *sent += size) {
		if (!send_all(p->client, TRAP_KEY, *sent, size, 1000))
			die("send");
		if (p->server < 0)
			p->server = net_accept(p->listener, 5000);
		if (p->server < 0)
			die("accept");
	}
	pair_open(p);
	return drain(p->server, TRAP_KEY, 0, *sent, trap_option.wait_ms);
}

static int report_early(struct pair *p, uint64_t sent, const struct drained *d)
{
	pair_warm(p);
	trap_begin(p);
	json_whole("sent", sent);
	json_drained("read", d);
	return trap_end(p, d->bytes == sent && d->wrong_at < 0);
}

int trap_defer_accept(struct pair *p)
{
	struct drained d;
	uint64_t sent = 0;

	p->listener = net_listen(16);
	set_option(p->listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, 2);
	p->client = net_connect();
	pause_ms(delay_or(50));
	d = read_early(p, &sent);
	return report_early(p, sent, &d);
}

static bool begin_fast(struct pair *p, uint64_t *sent)
{
	struct address to = net_target();
	struct tcp_info info = {};
	socklen_t room = sizeof(info);
	size_t size = size_or(3);
	char *bytes = malloc(size);
	ssize_t done;

	p->client = net_socket(-1);
	set_option(p->client, IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1);
	fill(TRAP_KEY, 0, bytes, size);
	done = sendto(p->client, bytes, size, MSG_FASTOPEN | MSG_NOSIGNAL, &to.at.any, to.size);
	free(bytes);
	if (done < 0 && errno != EINPROGRESS)
		die("MSG_FASTOPEN");
	*sent = done < 0 ? 0 : done;
	p->server = net_accept(p->listener, 100);
	if (net_connected(p->client))
		die("connect");
	getsockopt(p->client, IPPROTO_TCP, TCP_INFO, &info, &room);
	return info.tcpi_options & TCPI_OPT_SYN_DATA;
}

int trap_fastopen(struct pair *p)
{
	long rounds = 5, in_syn = 0, good = 0;
	struct drained d = {};
	uint64_t sent = 0;

	p->listener = net_listen(16);
	set_option(p->listener, IPPROTO_TCP, TCP_FASTOPEN, 16);
	set_option(p->listener, IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1);
	for (long i = 0; i < rounds; i++) {
		if (i) {
			close(p->client);
			close(p->server);
			p->server = -1;
		}
		in_syn += begin_fast(p, &sent);
		d = read_early(p, &sent);
		good += d.bytes == sent && d.wrong_at < 0;
	}
	pair_warm(p);
	trap_begin(p);
	json_whole("rounds", rounds);
	json_whole("bytes_in_syn", in_syn);
	json_whole("rounds_right", good);
	json_drained("read", &d);
	return trap_end(p, good == rounds);
}

int trap_self_connect(struct pair *p)
{
	struct address self;
	int fd;

	fd = net_socket(0);
	if (!net.source_port) {
		bool v6 = net.family == FAMILY_6;

		net.port = 0;
		self = net_target();
		if (bind(fd, &self.at.any, self.size))
			die("bind");
		self = end_of(fd, false);
		net.port = ntohs(v6 ? self.at.v6.sin6_port : self.at.v4.sin_port);
	} else {
		net.port = net.source_port;
	}
	self = net_target();
	if (connect(fd, &self.at.any, self.size) && errno != EINPROGRESS)
		die("connect");
	if (net_connected(fd))
		die("connect");
	p->client = p->server = p->from = p->to = fd;
	pair_opened(p);
	if (!warm.ms)
		warm.ms = 300;
	pair_warm(p);
	trap_begin(p);
	return trap_end(p, p->warmth.exchanges > 0);
}

int trap_reconnect(struct pair *p)
{
	struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
	struct warmth before;
	struct drained d;
	struct address to;

	pair_open(p);
	pair_warm(p);
	before = p->warmth;
	if (connect(p->client, &nowhere, sizeof(nowhere)))
		die("disconnect");
	d = drain(p->server, TRAP_KEY, 0, 1, trap_option.wait_ms);
	close(p->server);
	p->server = -1;
	to = net_target();
	if (connect(p->client, &to.at.any, to.size) && errno != EINPROGRESS)
		die("connect");
	if (net_connected(p->client))
		die("connect");
	pair_open(p);
	p->warmth = (struct warmth){};
	if (!warm.ms)
		warm.ms = 300;
	pair_warm(p);
	trap_begin(p);
	json_whole("exchanges_before", before.exchanges);
	json_truth("short_cut_before", before.short_cut);
	json_text("server_saw", d.end);
	json_whole("bytes_left", d.bytes);
	return trap_end(p, !before.wrong && p->warmth.exchanges && !d.bytes &&
				   !strcmp(d.end, "ECONNRESET"));
}

int trap_server_first(struct pair *p)
{
	long rounds = count_or(100), good = 0, size = size_or(100);

	p->listener = net_listen(16);
	for (long i = 0; i < rounds; i++) {
		bool greeted;

		if (i) {
			close(p->client);
			close(p->server);
		}
		p->client = net_connect();
		p->server = net_accept(p->listener, 5000);
		greeted = p->server >= 0 && send_all(p->server, TRAP_KEY, 0, size, 1000) &&
			  send_all(p->server, TRAP_KEY, size, size, 1000) &&
			  receive_all(p->client, TRAP_KEY, 0, 2 * size, 1000);
		good += greeted && exchange(p->client, p->server, size, i);
	}
	pair_open(p);
	pair_warm(p);
	trap_begin(p);
	json_whole("rounds", rounds);
	json_whole("rounds_right", good);
	return trap_end(p, good == rounds);
}

static void give(int channel, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = "", byte = 0;
	struct iovec vector = {&byte, 1};
	struct msghdr header = {.msg_iov = &vector,
				.msg_iovlen = 1,
				.msg_control = control,
				.msg_controllen = sizeof(control)};
	struct cmsghdr *m = CMSG_FIRSTHDR(&header);

	m->cmsg_level = SOL_SOCKET;
	m->cmsg_type = SCM_RIGHTS;
	m->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(m), &fd, sizeof(int));
	if (sendmsg(channel, &header, 0) != 1)
		die("SCM_RIGHTS");
}

static int take(int channel)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec vector = {&byte, 1};
	struct msghdr header = {.msg_iov = &vector,
				.msg_iovlen = 1,
				.msg_control = control,
				.msg_controllen = sizeof(control)};
	int fd = -1;

	if (recvmsg(channel, &header, 0) == 1 && CMSG_FIRSTHDR(&header))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof(int));
	return fd;
}

/* The child has no copy of the socket but the one it is given. */
static void go_on(int channel, struct pair *p)
{
	struct echo e = {};

	close(p->client);
	if (p->server >= 0)
		close(p->server);
	echo_start(&e, take(channel), BY_RECV);
	task_done(&e.task, 60000);
	_exit(e.wrong);
}

int trap_fd_passing(struct pair *p)
{
	struct talk talk = {};
	int channel[2], status;
	pid_t pid;

	pair_open(p);
	pair_warm(p);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel))
		die("socketpair");
	pid = fork();
	if (!pid)
		go_on(channel[1], p);
	give(channel[0], p->server);
	close(p->server);
	p->server = -1;
	talk_for(p->client, &talk, warm.size, delay_or(500), warm.pause_us);
	shutdown(p->client, SHUT_RDWR);
	waitpid(pid, &status, 0);
	trap_begin(p);
	json_talk("talk", &talk);
	json_truth("child_right", !status);
	return trap_end(p, !talk.hung && !talk.wrong && talk.rounds && !status);
}

int trap_keepalive(struct pair *p)
{
	bool good;

	pair_open(p);
	for (int i = 0; i < 2; i++) {
		int fd = i ? p->server : p->client;

		set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
		set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1);
		set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
		set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 2);
		set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 2000);
	}
	pair_warm(p);
	pause_ms(delay_or(3200));
	good = exchange(p->client, p->server, size_or(100), 1);
	trap_begin(p);
	json_truth("alive", good);
	return trap_end(p, good);
}
