// SPDX-License-Identifier: GPL-2.0
#include "trap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sock_diag.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST_S 300 /* of waiting for a file */

static const char *const whens[] = {"late", "start", NULL};
static const char *const blockings[] = {"never", "late", "start", NULL};

struct trap_option trap_option = {
	.size = -1, .count = -1, .cap = 64 << 20, .delay_ms = -1, .wait_ms = 10000};
static const char *trap_name;

static const struct option_line options[] = {
	{"--size", OPTION_NUMBER, &trap_option.size, 1, 1 << 30, NULL,
	 "bytes of a message; -1: what suits the trap"},
	{"--count", OPTION_NUMBER, &trap_option.count, 1, 1 << 30, NULL,
	 "messages, or rounds; -1: what suits the trap"},
	{"--cap", OPTION_NUMBER, &trap_option.cap, 1, 1l << 40, NULL,
	 "bytes at most, where a sender goes on until it is stopped"},
	{"--delay", OPTION_NUMBER, &trap_option.delay_ms, 0, 600000, NULL,
	 "ms until the reader reads, or the peer sends; -1: what suits"},
	{"--wait", OPTION_NUMBER, &trap_option.wait_ms, 1, 600000, NULL,
	 "ms after which what has not come is missing"},
	{"--delay-until", OPTION_TEXT, &trap_option.delay_until, 0, 0, NULL,
	 "instead: makes FILE.there, and goes on when FILE is"},
	{"--hold", OPTION_NUMBER, &trap_option.hold_ms, 0, 600000, NULL,
	 "ms to stay open afterwards"},
	{"--hold-until", OPTION_TEXT, &trap_option.hold_until, 0, 0, NULL,
	 "or until this file is there"},
	{"--when", OPTION_WORD, &trap_option.when, 0, 0, whens,
	 "socket options: before or after the warm-up"},
	{"--blocking", OPTION_WORD, &trap_option.blocking, 0, 0, blockings,
	 "the reader's socket: after the warm-up, or always"},
	{"--from-server", OPTION_FLAG, &trap_option.from_server, 0, 0, NULL,
	 "the server's end sends; else the client's"},
	{},
};

static const struct {
	const char *name;
	int (*run)(struct pair *p);
	const char *help;
} traps[] = {
	{"splice", trap_splice, "reads by splice() from the start; --blocking start"},
	{"splice-late", trap_splice_late, "reads by recv() first, then by splice()"},
	{"blocking", trap_blocking, "a thread sleeps in recv(); from the start, or late"},
	{"blocking-writer", trap_blocking_writer, "a thread sleeps in send() of --size"},
	{"spin", trap_spin, "spins on recv(MSG_DONTWAIT) for --delay ms"},
	{"edge", trap_edge, "EPOLLET: every arrival wakes, and so does the end"},
	{"oob", trap_oob, "urgent data"},
	{"waitall", trap_waitall, "MSG_WAITALL for 100 bytes that come in two parts"},
	{"rcvlowat", trap_rcvlowat, "SO_RCVLOWAT of 100"},
	{"peek", trap_peek, "MSG_PEEK, and again"},
	{"trunc", trap_trunc, "MSG_TRUNC throws bytes away"},
	{"fionread", trap_fionread, "FIONREAD is exact, after each message and each read"},
	{"zerocopy", trap_zerocopy, "MSG_ZEROCOPY: every send is completed"},
	{"sendfile", trap_sendfile, "sendfile(); is a later change of the file seen?"},
	{"ulp", trap_ulp, "TCP_ULP tls: what the kernel says"},
	{"close-unread", trap_close_unread, "close() with bytes unread: what the sender sees"},
	{"write-after-close", trap_write_after_close, "what the sender sees of a peer that closed"},
	{"half-close", trap_half_close, "shutdown(), and an answer afterwards"},
	{"close-after-send", trap_close_after_send, "close() with all of it under way"},
	{"rst", trap_rst, "SO_LINGER 0 right after a send"},
	{"exit", trap_exit, "the sending process is killed"},
	{"defer-accept", trap_defer_accept, "bytes that come before the connection is accepted"},
	{"fastopen", trap_fastopen, "bytes in the SYN; needs net.ipv4.tcp_fastopen"},
	{"self-connect", trap_self_connect, "a socket that is connected to itself"},
	{"reconnect", trap_reconnect, "the same socket is connected anew"},
	{"server-first", trap_server_first, "the server speaks first, --count times"},
	{"fd-passing", trap_fd_passing, "another process goes on with the socket"},
	{"keepalive", trap_keepalive, "keepalive and TCP_USER_TIMEOUT, idle for --delay ms"},
	{"slow-reader", trap_slow_reader, "sends until it is stopped; then all is read"},
	{"late-reader", trap_late_reader,
	 "--count messages wait for --delay, more follow while read"},
};

#define TRAPS (sizeof(traps) / sizeof(traps[0]))

void trap_help(void)
{
	printf(" NAME: what a short-cut may break; \"right\" is what plain TCP does\n");
	for (size_t i = 0; i < TRAPS; i++)
		printf("    %-18s %s\n", traps[i].name, traps[i].help);
	printf("  with\n");
	show_options(options);
	show_options(warm_options);
}

long size_or(long size)
{
	return trap_option.size < 0 ? size : trap_option.size;
}

long count_or(long count)
{
	return trap_option.count < 0 ? count : trap_option.count;
}

long delay_or(long ms)
{
	return trap_option.delay_ms < 0 ? ms : trap_option.delay_ms;
}

static bool is_there(const char *file)
{
	return !access(file, F_OK);
}

bool delay_goes_on(void)
{
	static bool told;
	char there[512];
	int fd;

	if (!trap_option.delay_until)
		return false;
	if (!told) {
		snprintf(there, sizeof(there), "%s.there", trap_option.delay_until);
		fd = open(there, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		if (fd < 0)
			die(there);
		close(fd);
		told = true;
	}
	return !is_there(trap_option.delay_until);
}

void delay(long ms)
{
	double limit = now() + MOST_S;

	if (!trap_option.delay_until)
		pause_ms(ms);
	while (delay_goes_on() && now() < limit)
		pause_ms(5);
}

static void hold(void)
{
	double limit = now() + MOST_S;

	pause_ms(trap_option.hold_ms);
	while (trap_option.hold_until && !is_there(trap_option.hold_until) && now() < limit)
		pause_ms(5);
}

static uint64_t tcp_bytes(const struct pair *p)
{
	return tcp_bytes_sent(p->client) + tcp_bytes_sent(p->server);
}

void pair_opened(struct pair *p)
{
	struct address client = end_of(p->client, false), server = end_of(p->client, true);

	name_of(&client, p->client_name, sizeof(p->client_name));
	name_of(&server, p->server_name, sizeof(p->server_name));
	announce(p->client, p->server);
	p->tcp_before = tcp_bytes(p);
}

void pair_open(struct pair *p)
{
	if (p->listener < 0)
		p->listener = net_listen(16);
	if (p->client < 0)
		p->client = net_connect();
	if (p->server < 0)
		p->server = net_accept(p->listener, 5000);
	if (p->server < 0)
		die("accept");
	p->from = trap_option.from_server ? p->server : p->client;
	p->to = trap_option.from_server ? p->client : p->server;
	if (trap_option.blocking == BLOCKING_START)
		set_blocking(p->to, true);
	pair_opened(p);
}

void pair_warm(struct pair *p)
{
	warm_up(p->client, p->server, &p->warmth);
	if (trap_option.blocking == BLOCKING_LATE)
		set_blocking(p->to, true);
	p->tcp_before = tcp_bytes(p);
}

void trap_begin(struct pair *p)
{
	json_begin();
	json_text("trap", trap_name);
	json_text("client", p->client_name);
	json_text("server", p->server_name);
	json_open("warm");
	json_whole("exchanges", p->warmth.exchanges);
	json_whole("bytes", p->warmth.bytes);
	json_whole("bytes_by_tcp", p->warmth.by_tcp);
	json_truth("short_cut", p->warmth.short_cut);
	json_whole("wrong", p->warmth.wrong);
	json_truth("hung", p->warmth.hung);
	json_close();
}

int trap_end(struct pair *p, bool right)
{
	right = right && !p->warmth.wrong;
	if (p->client >= 0 && p->server >= 0)
		json_whole("bytes_by_tcp", tcp_bytes(p) - p->tcp_before);
	json_truth("right", right);
	json_end();
	hold();
	return !right;
}

struct drained drain(int fd, uint64_t key, uint64_t offset, uint64_t most, int quiet_ms)
{
	static _Thread_local unsigned char bytes[65536];
	struct drained d = {.wrong_at = -1, .end = ""};
	double limit = now() + quiet_ms / 1e3;

	while (d.bytes < most) {
		size_t size = most - d.bytes < sizeof(bytes) ? most - d.bytes : sizeof(bytes);
		ssize_t wrong, done;

		if (!wait_for(fd, POLLIN, quiet_ms))
			return d;
		done = recv(fd, bytes, size, MSG_DONTWAIT);
		/* Of a stream that --force has torn poll() says so for ever. */
		if (done < 0 && errno == EAGAIN) {
			if (now() > limit)
				return d;
			pause_ms(1);
			continue;
		}
		if (done <= 0) {
			d.end = done ? errno_name(errno) : "EOF";
			return d;
		}
		wrong = wrong_at(key, offset + d.bytes, bytes, done);
		if (wrong >= 0 && d.wrong_at < 0)
			d.wrong_at = offset + d.bytes + wrong;
		d.bytes += done;
		limit = now() + quiet_ms / 1e3;
	}
	return d;
}

void json_drained(const char *name, const struct drained *d)
{
	json_open(name);
	json_whole("bytes", d->bytes);
	json_whole("wrong_at", d->wrong_at);
	json_text("end", d->end);
	json_close();
}

uint32_t memory_held(int fd, bool sending)
{
	uint32_t held[SK_MEMINFO_VARS] = {};
	socklen_t size = sizeof(held);

	getsockopt(fd, SOL_SOCKET, SO_MEMINFO, held, &size);
	return held[sending ? SK_MEMINFO_WMEM_QUEUED : SK_MEMINFO_RMEM_ALLOC];
}

static void *run_task(void *context)
{
	struct task *task = context;

	task->run(task);
	task->done = true;
	return NULL;
}

void task_start(struct task *task)
{
	if (pthread_create(&task->thread, NULL, run_task, task))
		die("pthread_create");
}

bool task_done(struct task *task, int wait_ms)
{
	double limit = now() + wait_ms / 1e3;

	while (!task->done && now() < limit)
		pause_ms(1);
	return task->done;
}

int trap(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < TRAPS; i++) {
		struct pair p = {.listener = -1, .client = -1, .server = -1};

		if (strcmp(argv[1], traps[i].name))
			continue;
		trap_name = traps[i].name;
		parse_options(argc - 1, argv + 1, options, warm_options);
		return traps[i].run(&p);
	}
	fprintf(stderr, "sock: no such trap; see sock help trap\n");
	return 2;
}
