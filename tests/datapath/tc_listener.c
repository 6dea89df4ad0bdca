// SPDX-License-Identifier: GPL-2.0
/* What the observer says of a local listener's queues at each SYN; real sockets in a namespace of
 * this process, SYNs of strangers through BPF_PROG_TEST_RUN. */
#include "tests/datapath/tc_segments.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT  8080
#define HERE  "10.7.0.1" /* an address of ours */
#define HERE6 "fd07::1"
#define ROOM  64

static int sockets[ROOM], opened, listening;

static int keep(int fd)
{
	assert_true(fd >= 0 && opened < ROOM);
	sockets[opened++] = fd;
	return fd;
}

static void write_sysctl(const char *name, const char *value)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/sys/net/%s", name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(value, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static socklen_t address(struct sockaddr_storage *to, const char *text, int port)
{
	struct sockaddr_in *four = (void *)to;
	struct sockaddr_in6 *six = (void *)to;

	memset(to, 0, sizeof(*to));
	if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(port);
		return sizeof(*four);
	}
	assert_int_equal(inet_pton(AF_INET6, text, &six->sin6_addr), 1);
	six->sin6_family = AF_INET6;
	six->sin6_port = htons(port);
	return sizeof(*six);
}

static int listen_on(const char *text, int backlog)
{
	struct sockaddr_storage to;
	socklen_t length = address(&to, text, PORT);
	int fd = keep(socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0)), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(fd, (void *)&to, length), 0);
	assert_int_equal(listen(fd, backlog), 0);
	listening = fd;
	return fd;
}

static int accept_queue(void)
{
	struct tcp_info info = {};
	socklen_t length = sizeof(info);

	assert_int_equal(getsockopt(listening, IPPROTO_TCP, TCP_INFO, &info, &length), 0);
	return info.tcpi_unacked;
}

static uint16_t closed_port; /* the client's, of the connection that test_time_wait closes */

/* Columns are the number, both ends, and the state. */
static int sockets_in(const char *state, uint16_t remote_port)
{
	char command[120], end[8] = "";
	int count = -1;
	FILE *f;

	if (remote_port)
		snprintf(end, sizeof(end), ":%04X", remote_port);
	snprintf(command, sizeof(command), "awk '$4 == \"%s\" && $3 ~ /%s$/' /proc/net/tcp | wc -l",
		 state, end);
	f = popen(command, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &count), 1);
	pclose(f);
	return count;
}

static int syn_queue(void)
{
	return sockets_in("03", 0);
}

static int time_waits(void)
{
	return sockets_in("06", closed_port);
}

/* What is sent over loopback arrives at once, but for a busy machine. */
static void await(int (*depth)(void), int wanted)
{
	for (int i = 0; i < 4000 && depth() != wanted; i++)
		usleep(5000);
	assert_int_equal(depth(), wanted);
}

/* Returns the client's socket; nobody accepts. */
static int connect_to(const char *text)
{
	struct sockaddr_storage to;
	socklen_t length = address(&to, text, PORT);
	int fd = keep(socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	int before = accept_queue();

	connect(fd, (void *)&to, length);
	await(accept_queue, before + 1);
	return fd;
}

static void fill_accept_queue(const char *text, int backlog)
{
	for (int i = 0; i <= backlog; i++)
		connect_to(text);
}

static uint16_t local_port(int fd)
{
	struct sockaddr_in name;
	socklen_t length = sizeof(name);

	assert_int_equal(getsockname(fd, (void *)&name, &length), 0);
	return ntohs(name.sin_port);
}

/* SYNs that really arrive, from addresses that never answer; `queued` is what becomes of it. */
static void raw_syns(int count, int queued)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
	struct packet packet;
	char client[32];

	assert_true(fd >= 0);
	inet_pton(AF_INET, HERE, &to.sin_addr);
	for (int i = 0; i < count; i++) {
		struct segment_spec s = {.server = HERE,
					 .server_port = PORT,
					 .client = client,
					 .flags = SYN,
					 .seq = 99};

		snprintf(client, sizeof(client), "10.8.0.%d", 2 + i);
		build(&packet, &s, false);
		assert_int_equal(
			sendto(fd, packet.bytes, packet.length, 0, (void *)&to, sizeof(to)),
			packet.length);
	}
	close(fd);
	await(syn_queue, queued);
}

static struct segment_spec stranger(int number)
{
	return (struct segment_spec){.server = HERE,
				     .server_port = PORT,
				     .client_port = number,
				     .flags = SYN,
				     .seq = 1000};
}

static struct handshake_endpoint listener(struct observer *o)
{
	return endpoint_of(o, WEIR_SERVER, PORT);
}

static int setup(void **state)
{
	struct observer *o = calloc(1, sizeof(*o));

	write_sysctl("ipv4/tcp_syncookies", "1");
	write_sysctl("ipv4/tcp_max_syn_backlog", "1024");
	write_sysctl("ipv4/ip_forward", "0");
	write_sysctl("ipv4/tcp_rfc1337", "1"); /* no RST for a late ACK ends TIME_WAIT */
	observer_open(o);
	*state = o;
	return 0;
}

static int teardown(void **state)
{
	while (opened)
		close(sockets[--opened]);
	observer_close(*state);
	free(*state);
	return 0;
}

static void assert_admitted(struct observer *o)
{
	struct handshake_endpoint e = listener(o);

	assert_int_equal(e.stats.accept_queue_full, 0);
	assert_int_equal(e.stats.syn_queue_full, 0);
	assert_int_equal(e.stats.syn_cookies, 0);
}

/* ---- the accept queue ---- */

static void test_admitted(void **state)
{
	listen_on(HERE, 5);
	connect_to(HERE);
	connect_to(HERE);
	at_server(*state, stranger(1));
	assert_admitted(*state);
	assert_int_equal(listener(*state).queues.accept_queue, 2);
	assert_int_equal(listener(*state).queues.queue_max, 5);
}

static void test_accept_queue_full(void **state)
{
	struct handshake_endpoint e;
	char advice[400];

	listen_on("0.0.0.0", 2);
	fill_accept_queue(HERE, 2);
	at_server(*state, stranger(1));
	at_server(*state, stranger(1));
	at_server(*state, stranger(2));
	e = listener(*state);
	assert_int_equal(e.stats.accept_queue_full, 3);
	assert_int_equal(e.stats.syn, 2);
	assert_int_equal(e.queues.accept_queue, 3);
	assert_int_equal(e.queues.accept_queue_peak, 3);
	assert_int_equal(e.verdict, HANDSHAKE_ACCEPT_QUEUE_FULL);
	handshake_advice(&e, advice, sizeof(advice));
	assert_non_null(strstr(advice, "port 8080: 3 SYNs met a full accept queue (3/2)"));
}

static void test_the_queue_drains(void **state)
{
	int fd = listen_on(HERE, 2);

	fill_accept_queue(HERE, 2);
	at_server(*state, stranger(1));
	keep(accept4(fd, NULL, NULL, SOCK_CLOEXEC));
	at_server(*state, stranger(2));
	assert_int_equal(listener(*state).stats.accept_queue_full, 1);
	assert_int_equal(listener(*state).queues.accept_queue, 2);
	assert_int_equal(listener(*state).queues.accept_queue_peak, 3);
}

static void test_ipv6_and_dual_stack(void **state)
{
	struct segment_spec six = stranger(1);

	listen_on("::", 1);
	fill_accept_queue(HERE6, 1);
	six.family = 6;
	six.server = HERE6;
	at_server(*state, six);
	assert_int_equal(listener(*state).stats.accept_queue_full, 1);
	at_server(*state, stranger(2));
	assert_int_equal(listener(*state).stats.accept_queue_full, 2);
}

static void test_nobody_listens(void **state)
{
	at_server(*state, stranger(1));
	assert_admitted(*state);
	assert_int_equal(listener(*state).queues.queue_max, 0);
}

static void test_own_syns_are_not_judged(void **state)
{
	struct segment_spec s = stranger(1);

	listen_on("0.0.0.0", 1);
	fill_accept_queue(HERE, 1);
	at_client(*state, s);
	assert_int_equal(endpoint_of(*state, WEIR_CLIENT, PORT).stats.accept_queue_full, 0);
}

/* ---- sockets that answer for the listener ---- */

static void test_established_socket(void **state)
{
	struct segment_spec s = stranger(1);

	listen_on(HERE, 1);
	s.client = HERE;
	s.client_port = local_port(connect_to(HERE));
	connect_to(HERE);
	at_server(*state, s);
	assert_admitted(*state);
	assert_int_equal(listener(*state).queues.queue_max, 0);
}

static void test_time_wait(void **state)
{
	int fd = listen_on(HERE, 1), client, server;
	struct segment_spec s = stranger(1);
	char byte;

	client = connect_to(HERE);
	server = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	s.client = HERE;
	s.client_port = closed_port = local_port(client);
	shutdown(server, SHUT_WR);
	close(server);
	assert_int_equal(poll(&(struct pollfd){.fd = client, .events = POLLIN}, 1, 20000), 1);
	assert_int_equal(read(client, &byte, 1), 0);
	shutdown(client, SHUT_WR);
	await(time_waits, 1);
	at_server(*state, s);
	assert_admitted(*state);
	assert_int_equal(listener(*state).queues.queue_max, 1);
	fill_accept_queue(HERE, 1);
	at_server(*state, s);
	assert_int_equal(listener(*state).stats.accept_queue_full, 1);
}

static void test_request_socket(void **state)
{
	struct segment_spec s = {
		.server = HERE, .server_port = PORT, .client = "10.8.0.2", .flags = SYN, .seq = 99};

	listen_on(HERE, 1);
	raw_syns(1, 1);
	fill_accept_queue(HERE, 1);
	at_server(*state, s);
	assert_admitted(*state);
}

/* ---- the SYN queue ---- */

static void test_syn_queue_full(void **state)
{
	write_sysctl("ipv4/tcp_syncookies", "0");
	listen_on(HERE, 4);
	raw_syns(20, 5);
	at_server(*state, stranger(1));
	assert_int_equal(listener(*state).stats.syn_queue_full, 1);
	assert_int_equal(listener(*state).queues.syn_queue, 5);
	assert_int_equal(listener(*state).verdict, HANDSHAKE_SYN_QUEUE_FULL);
}

static void test_syn_queue_at_its_limit_admits(void **state)
{
	struct weir_tc_config old = {.ethernet = 1, .handshakes = 1, .synq_full_at_max = 1};
	struct observer o;

	write_sysctl("ipv4/tcp_syncookies", "0");
	listen_on(HERE, 4);
	raw_syns(4, 4);
	at_server(*state, stranger(1));
	assert_int_equal(listener(*state).queues.syn_queue, 4);
	assert_admitted(*state);
	observer_open_with(&o, &old);
	at_server(&o, stranger(1));
	assert_int_equal(listener(&o).stats.syn_queue_full, 1);
	observer_close(&o);
}

static void test_cookies(void **state)
{
	listen_on(HERE, 4);
	raw_syns(20, 5);
	at_server(*state, stranger(1));
	assert_int_equal(listener(*state).stats.syn_cookies, 1);
	assert_int_equal(listener(*state).stats.syn_queue_full, 0);
	fill_accept_queue(HERE, 4);
	at_server(*state, stranger(2));
	assert_int_equal(listener(*state).stats.accept_queue_full, 1);
}

static void test_cookies_for_everyone(void **state)
{
	write_sysctl("ipv4/tcp_syncookies", "2");
	listen_on(HERE, 4);
	at_server(*state, stranger(1));
	assert_int_equal(listener(*state).stats.syn_cookies, 1);
}

static void test_last_quarter_of_the_backlog(void **state)
{
	write_sysctl("ipv4/tcp_syncookies", "0");
	write_sysctl("ipv4/tcp_max_syn_backlog", "8");
	listen_on(HERE, 100);
	raw_syns(6, 6);
	at_server(*state, stranger(1));
	assert_admitted(*state);
	raw_syns(20, 7);
	at_server(*state, stranger(2));
	assert_int_equal(listener(*state).stats.syn_queue_full, 1);
}

/* ---- forwarding ---- */

static void test_forwarded_syn(void **state)
{
	struct segment_spec away = stranger(1);

	write_sysctl("ipv4/ip_forward", "1");
	listen_on("0.0.0.0", 1);
	fill_accept_queue(HERE, 1);
	away.server = "10.8.0.77";
	at_server(*state, away);
	assert_admitted(*state);
	assert_int_equal(listener(*state).queues.queue_max, 0);
	at_server(*state, stranger(2));
	assert_int_equal(listener(*state).stats.accept_queue_full, 1);
	away.client_port = 3;
	at_server(*state, away);
	assert_int_equal(listener(*state).stats.accept_queue_full, 1);
}

/* ---- events ---- */

/* Nobody renews it while a test takes its time. */
static void prolong_lease(struct observer *o)
{
	struct weir_watch lease = {.until_ns = ~0ull, .holder = getpid()};
	uint32_t zero = 0;

	assert_int_equal(bpf_map_update_elem(o->maps.watchers, &zero, &lease, 0), 0);
}

struct seen {
	int count;
	struct weir_handshake_event event[16];
};

static int note_event(void *arg, const struct weir_handshake_event *event)
{
	struct seen *seen = arg;

	assert_true(seen->count < 16);
	seen->event[seen->count++] = *event;
	return 0;
}

static void test_events(void **state)
{
	struct segment_spec answer = stranger(1), third = stranger(1);
	struct handshake_watch *watch;
	struct observer *o = *state;
	struct seen seen = {};

	listen_on(HERE, 1);
	fill_accept_queue(HERE, 1);
	at_server(o, stranger(3)); /* nobody watches yet */
	assert_int_equal(handshake_watch_open(&o->maps, 1, note_event, &seen, &watch), 0);
	prolong_lease(o);
	at_server(o, stranger(1));
	answer.from_server = true;
	answer.flags = SYN | ACK;
	answer.ack = 1001;
	at_server(o, answer);
	third.flags = ACK;
	third.seq = 1001;
	third.ack = 1001;
	at_server(o, third);
	assert_int_equal(handshake_watch_poll(watch), 0);
	assert_int_equal(seen.count, 2);
	assert_int_equal(seen.event[0].kind, WEIR_EVENT_ACCEPT_QUEUE_FULL);
	assert_int_equal(seen.event[0].accept_queue, 2);
	assert_int_equal(seen.event[0].queue_max, 1);
	assert_int_equal(seen.event[1].kind, WEIR_EVENT_ESTABLISHED);
	assert_int_equal(seen.event[1].role, WEIR_SERVER);
	assert_int_equal(seen.event[1].ifindex, 7);
	assert_int_equal(ntohs(seen.event[1].client_port), 1);
	assert_int_equal(ntohs(seen.event[1].server_port), PORT);
	assert_int_equal(seen.event[1].client[2], htonl(0xffff));
	handshake_watch_close(watch);
	at_server(o, stranger(4));
	assert_int_equal(handshake_watch_open(&o->maps, 1, note_event, &seen, &watch), 0);
	assert_int_equal(handshake_watch_poll(watch), 0);
	assert_int_equal(seen.count, 2);
	handshake_watch_close(watch);
}

/* The lease of a killed watcher runs out by itself; that of a living one is respected. */
static void test_one_watcher(void **state)
{
	struct weir_watch lease = {.until_ns = ~0ull, .holder = 1};
	struct handshake_watch *watch;
	struct observer *o = *state;
	struct seen seen = {};
	uint32_t zero = 0;

	bpf_map_update_elem(o->maps.watchers, &zero, &lease, 0);
	assert_int_equal(handshake_watch_open(&o->maps, 1, note_event, &seen, &watch), -EBUSY);
	lease.until_ns = 1;
	bpf_map_update_elem(o->maps.watchers, &zero, &lease, 0);
	assert_int_equal(handshake_watch_open(&o->maps, 1, note_event, &seen, &watch), 0);
	handshake_watch_close(watch);
}

static void test_lost_events(void **state)
{
	struct handshake_watch *watch;
	struct observer *o = *state;
	struct seen seen = {};

	assert_int_equal(handshake_watch_open(&o->maps, 1, note_event, &seen, &watch), 0);
	prolong_lease(o);
	for (int i = 0; i < 5000; i++)
		at_server(o, stranger(1));
	assert_in_range(handshake_watch_lost(watch), 1000, 4999);
	handshake_watch_close(watch);
}

/* SYN-ACKs for strangers get lost behind a veth. It does without ARP, whose failure would make the
 * kernel forget the SYNs. */
static int make_namespace(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNET))
		return -1;
	return system("ip link set lo up && ip link add veth0 type veth peer name veth1 && "
		      "ip link set veth0 arp off up && ip link set veth1 up && "
		      "ip address add " HERE "/32 dev lo && ip address add " HERE6 "/128 dev lo && "
		      "ip address add 10.8.0.1/24 dev veth0");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(admitted),
		TEST(accept_queue_full),
		TEST(the_queue_drains),
		TEST(ipv6_and_dual_stack),
		TEST(nobody_listens),
		TEST(own_syns_are_not_judged),
		TEST(established_socket),
		TEST(time_wait),
		TEST(request_socket),
		TEST(syn_queue_full),
		TEST(syn_queue_at_its_limit_admits),
		TEST(cookies),
		TEST(cookies_for_everyone),
		TEST(last_quarter_of_the_backlog),
		TEST(forwarded_syn),
		TEST(events),
		TEST(one_watcher),
		TEST(lost_events),
	};

	return cmocka_run_group_tests(tests, make_namespace, NULL);
}
