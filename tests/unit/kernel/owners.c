// SPDX-License-Identifier: GPL-2.0
/* Which process has a TCP socket open, by the socket's address as the iterator over sockets tells it. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loader/host/netdev.h"
#include "loader/kernel/owners.h"
#include "loader/kernel/snapshot.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

struct found {
	__u16 port; /* of the listener */
	struct weir_socket listener, client, waiting;
};

static int listen_at(int family, struct sockaddr_storage *at, socklen_t *size)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*size = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	memset(at, 0, sizeof(*at));
	at->ss_family = family;
	if (family == AF_INET)
		((struct sockaddr_in *)at)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		((struct sockaddr_in6 *)at)->sin6_addr = in6addr_loopback;
	assert_int_equal(bind(fd, (struct sockaddr *)at, *size), 0);
	assert_int_equal(listen(fd, 4), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)at, size), 0);
	return fd;
}

static __u16 port_of(const struct sockaddr_storage *at)
{
	return ntohs(at->ss_family == AF_INET ? ((const struct sockaddr_in *)at)->sin_port
					      : ((const struct sockaddr_in6 *)at)->sin6_port);
}

static int keep(void *arg, const struct weir_socket *s)
{
	struct found *f = arg;

	if (s->state == TCP_LISTEN && s->ends.local_port == f->port)
		f->listener = *s;
	else if (s->ends.local_port == f->port)
		f->waiting = *s;
	else if (s->ends.remote_port == f->port)
		f->client = *s;
	return 0;
}

/* Another process, of another name, connects and stays until it is killed. */
static pid_t connect_by_child(const struct sockaddr_storage *to, socklen_t size)
{
	int done[2], fd;
	pid_t child;
	char c = 0;

	assert_int_equal(pipe(done), 0);
	child = fork();
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NAME, "owner-child");
		fd = socket(to->ss_family, SOCK_STREAM, 0);
		c = connect(fd, (const struct sockaddr *)to, size) ? 'f' : 'c';
		if (write(done[1], &c, 1) == 1)
			pause();
		_exit(0);
	}
	assert_int_equal(read(done[0], &c, 1), 1);
	assert_int_equal(c, 'c');
	close(done[0]);
	close(done[1]);
	return child;
}

static void check(int family)
{
	struct weir_trace_filter filter = {.netns = netdev_namespace()};
	struct sockaddr_storage at;
	struct snapshot *snapshot;
	struct owners *owners;
	struct found f = {};
	socklen_t size;
	int listener;
	pid_t child;

	if (geteuid())
		skip();
	listener = listen_at(family, &at, &size);
	f.port = port_of(&at);
	child = connect_by_child(&at, size);
	/* The child may be through before its last ACK has been. */
	assert_int_equal(poll(&(struct pollfd){.fd = listener, .events = POLLIN}, 1, 30000), 1);
	assert_int_equal(
		snapshot_open(&snapshot, &filter,
			      WEIR_STATE_BIT(TCP_LISTEN) | WEIR_STATE_BIT(TCP_ESTABLISHED)),
		0);
	assert_int_equal(snapshot_read(snapshot, keep, &f), 0);
	assert_int_equal(owners_read(&owners), 0);

	assert_non_null(owners_find(owners, f.client.address));
	assert_int_equal(owners_find(owners, f.client.address)->pid, child);
	assert_string_equal(owners_find(owners, f.client.address)->comm, "owner-child");
	/* Both have it. */
	assert_non_null(owners_find(owners, f.listener.address));
	assert_int_equal(owners_find(owners, f.listener.address)->pid,
			 child < getpid() ? child : getpid());
	assert_true(f.waiting.address != 0);
	assert_null(owners_find(owners, f.waiting.address));

	owners_free(owners);
	snapshot_close(snapshot);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(listener);
}

static void ip4(void **state)
{
	(void)state;
	check(AF_INET);
}

static void ip6(void **state)
{
	(void)state;
	check(AF_INET6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ip4),
		cmocka_unit_test(ip6),
	};

	return cmocka_run_group_tests_name("owners", tests, NULL, NULL);
}
