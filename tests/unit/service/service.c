// SPDX-License-Identifier: GPL-2.0
/* Services and backends as text, and as a set. */
#include "loader/service/service.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loader/base/error.h"
#include "tests/shared/any_service.h"

#include <cmocka.h> /* last: it defines fail() as a macro */

#define WORDS_MOST 32
#define COUNT(a)   (sizeof(a) / sizeof((a)[0]))

/* The words of a text, which must outlive them. */
struct words {
	char copy[512];
	char *word[WORDS_MOST];
	struct args args;
};

static struct args *split(struct words *w, const char *text)
{
	char *rest = w->copy;

	snprintf(w->copy, sizeof(w->copy), "%s", text);
	w->args = (struct args){.word = w->word};
	while (w->args.count < WORDS_MOST && (w->word[w->args.count] = strtok_r(rest, " ", &rest)))
		w->args.count++;
	return &w->args;
}

static int parse_service(const char *text, struct service *service)
{
	struct words w;
	int err = service_parse(split(&w, text), service);

	return err ? err : no_more_words(&w.args);
}

static int parse_change(const char *text, struct service *service)
{
	struct words w;
	int err = service_parse_change(split(&w, text), service);

	return err ? err : no_more_words(&w.args);
}

static int parse_backends(const char *text, const char *of, struct backend **list, size_t *count)
{
	struct service service;
	struct words w;

	if (parse_service(of, &service))
		fail_msg("%s: %s", of, failure());
	return backends_parse(split(&w, text), &service, list, count);
}

/* One line, exit status 1, and the value in question is in it. */
static void assert_refused(const char *text, int err, const char *about)
{
	if (!err)
		fail_msg("'%s' is taken", text);
	assert_int_equal(err, -EINVAL);
	assert_non_null(failure());
	assert_int_equal(failure_status(), 1);
	assert_null(strchr(failure(), '\n'));
	assert_true(strlen(failure()) > 15 && strlen(failure()) < 200);
	if (!strstr(failure(), about))
		fail_msg("'%s': '%s' is not about '%s'", text, failure(), about);
	forget_failure();
}

/* ---- text ---- */

static void test_services(void **state)
{
	static const char *const pairs[][2] = {
		{"tcp 192.0.2.1:80 mode nat", "tcp 192.0.2.1:80 mode nat"},
		{"udp 192.0.2.1:53 mode dsr-l2", "udp 192.0.2.1:53 mode dsr-l2"},
		{"tcp [2001:DB8:0::1]:443 mode dsr-ipip", "tcp [2001:db8::1]:443 mode dsr-ipip"},
		{"tcp 192.0.2.1:any mode nat", "tcp 192.0.2.1:any mode nat"},
		{"tcp 192.0.2.1:* mode nat", "tcp 192.0.2.1:any mode nat"},
		{"udp [2001:db8::1]:any mode nat", "udp [2001:db8::1]:any mode nat"},
		{"tcp 192.0.2.1:65535 mode nat", "tcp 192.0.2.1:65535 mode nat"},
		{"tcp 192.0.2.1:1 mode nat idle 900", "tcp 192.0.2.1:1 mode nat"},
		{"tcp 192.0.2.1:1 mode nat idle 60", "tcp 192.0.2.1:1 mode nat idle 60"},
		{"udp 192.0.2.1:1 mode nat idle 60", "udp 192.0.2.1:1 mode nat"},
		{"udp 192.0.2.1:1 mode nat idle 900", "udp 192.0.2.1:1 mode nat idle 900"},
		{"udp 192.0.2.1:1 mode nat udp sticky", "udp 192.0.2.1:1 mode nat"},
		{"udp 192.0.2.1:1 udp free mode dsr-l2", "udp 192.0.2.1:1 mode dsr-l2 udp free"},
		{"tcp 192.0.2.1:1 slots 1024 flows 5000 idle 1 mss 536 affinity source mode nat",
		 "tcp 192.0.2.1:1 mode nat affinity source mss 536 idle 1 flows 5000 slots 1024"},
		{"tcp 192.0.2.1:1 mode nat slots auto flows auto mss off affinity none source own",
		 "tcp 192.0.2.1:1 mode nat"},
		{"tcp 192.0.2.1:1 mode nat source 198.51.100.1/32",
		 "tcp 192.0.2.1:1 mode nat source 198.51.100.1"},
		{"tcp 192.0.2.1:1 mode dsr-ipip source 172.16.0.0/12",
		 "tcp 192.0.2.1:1 mode dsr-ipip source 172.16.0.0/12"},
		{"tcp 192.0.2.1:1 mode dsr-ipip source 2001:db8::/64",
		 "tcp 192.0.2.1:1 mode dsr-ipip source 2001:db8::/64"},
		{"tcp 192.0.2.1:1 mode nat mss 9160 idle 32400 flows 16777216 slots 1048576",
		 "tcp 192.0.2.1:1 mode nat mss 9160 idle 32400 flows 16777216 slots 1048576"},
		{"tcp 192.0.2.1:1 mode nat flows 64", "tcp 192.0.2.1:1 mode nat flows 64"},
	};
	struct service service, again;
	char text[SERVICE_TEXT];

	(void)state;
	for (size_t i = 0; i < COUNT(pairs); i++) {
		if (parse_service(pairs[i][0], &service))
			fail_msg("%s: %s", pairs[i][0], failure());
		service_format(&service, text);
		assert_string_equal(text, pairs[i][1]);
		assert_int_equal(parse_service(text, &again), 0);
		assert_memory_equal(&service, &again, sizeof(again));
	}
}

static void test_defaults(void **state)
{
	struct service s;

	(void)state;
	assert_int_equal(parse_service("tcp 192.0.2.1:80 mode dsr-ipip", &s), 0);
	assert_int_equal(s.proto, IPPROTO_TCP);
	assert_int_equal(s.mode, WEIR_DSR_IPIP);
	assert_int_equal(s.port, 80);
	assert_int_equal(s.idle, 900);
	assert_int_equal(s.address.bits, 32);
	assert_memory_equal(s.address.byte, "\xc0\0\2\1", 5);
	assert_int_equal(s.source.family, 0);
	assert_int_equal(s.free + s.by_source + s.mss + s.flows_wanted + s.slots_wanted, 0);
	assert_int_equal(parse_service("udp [2001:db8::1]:any mode nat", &s), 0);
	assert_int_equal(s.proto, IPPROTO_UDP);
	assert_int_equal(s.port, 0);
	assert_int_equal(s.idle, 60);
	assert_int_equal(s.address.family, 6);
	assert_int_equal(s.address.bits, 128);
}

static void test_bad_services(void **state)
{
	static const char *const bad[][2] = {
		{"", "a service is missing"},
		{"tcp", "'tcp' needs ADDRESS:PORT"},
		{"sctp 192.0.2.1:80 mode nat", "'sctp': wanted tcp or udp"},
		{"TCP 192.0.2.1:80 mode nat", "'TCP'"},
		{"192.0.2.1:80 mode nat", "'192.0.2.1:80': wanted tcp or udp"},
		{"tcp 192.0.2.1:80", "the mode is missing"},
		{"tcp 192.0.2.1:80 idle 5", "the mode is missing"},
		{"tcp 192.0.2.1:80 nat", "'nat' is not expected"},
		{"tcp 192.0.2.1:80 mode", "'mode' needs a value"},
		{"tcp 192.0.2.1:80 mode dsr", "mode 'dsr': wanted nat, dsr-l2 or dsr-ipip"},
		{"tcp 192.0.2.1:80 mode NAT", "mode 'NAT'"},
		{"tcp 192.0.2.1:80 mode nat mode nat", "'mode' is given twice"},
		{"tcp 192.0.2.1:80 mode nat weight 5", "'weight' is not expected"},
		{"tcp 192.0.2.1:80 mode nat 10.0.0.1", "'10.0.0.1' is not expected"},
		/* addresses and ports */
		{"tcp 192.0.2.1 mode nat", "'192.0.2.1' has no port; wanted 192.0.2.1:80"},
		{"tcp 2001:db8::1 mode nat", "has no port; wanted [2001:db8::1]:80"},
		{"tcp [2001:db8::1] mode nat", "has no port; wanted [2001:db8::1]:80"},
		{"tcp 2001:db8::1:80 mode nat", "has no port; wanted [2001:db8::1:80]:80"},
		{"tcp [2001:db8::1:80 mode nat", "'[2001:db8::1:80': wanted [2001:db8::1]:80"},
		{"tcp [2001:db8::1]80 mode nat", "'[2001:db8::1]80': wanted"},
		{"tcp [192.0.2.1]:80 mode nat", "brackets are for IPv6"},
		{"tcp 192.0.2.1: mode nat", "port '' is not a number"},
		{"tcp 192.0.2.1:0 mode nat", "port 0 is no port; 'any'"},
		{"tcp 192.0.2.1:00 mode nat", "port 00 is not between"},
		{"tcp 192.0.2.1:65536 mode nat", "port 65536 is not between 1 and 65535"},
		{"tcp 192.0.2.1:99999999999999999999 mode nat", "port 99999999999999999999"},
		{"tcp 192.0.2.1:-1 mode nat", "port -1"},
		{"tcp 192.0.2.1:80-90 mode nat", "port '80-90' is not a number"},
		{"tcp 192.0.2.1:http mode nat", "port 'http' is not a number"},
		{"tcp :80 mode nat", "'' is no address"},
		{"tcp 192.0.2.256:80 mode nat", "'192.0.2.256' is no address"},
		{"tcp 192.0.2:80 mode nat", "'192.0.2' is no address"},
		{"tcp example.net:80 mode nat", "'example.net' is no address"},
		{"tcp [2001:db8:::1]:80 mode nat", "'2001:db8:::1' is no address"},
		{"tcp [fe80::1%eth0]:80 mode nat", "'fe80::1%eth0' is no address"},
		{"tcp 192.0.2.0/24:80 mode nat", "'192.0.2.0/24' is a network"},
		{"tcp [2001:db8::/64]:80 mode nat", "'2001:db8::/64' is a network"},
		{"tcp [::ffff:192.0.2.1]:80 mode nat", "write it as IPv4: 192.0.2.1"},
		{"tcp 1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd:eeee mode "
		 "nat",
		 "is no address"},
		/* what no packet can ask for */
		{"tcp 0.0.0.0:80 mode nat", "0.0.0.0 is no host's address"},
		{"tcp 0.1.2.3:80 mode nat", "0.1.2.3 is no host's address"},
		{"tcp [::]:80 mode nat", ":: is no host's address"},
		{"tcp 127.0.0.1:80 mode nat", "127.0.0.1 is a loopback address"},
		{"tcp [::1]:80 mode nat", "::1 is a loopback address"},
		{"tcp 224.0.0.1:80 mode nat", "224.0.0.1 is a multicast address"},
		{"tcp 239.255.255.255:80 mode nat", "is a multicast address"},
		{"tcp [ff02::1]:80 mode nat", "ff02::1 is a multicast address"},
		{"tcp 255.255.255.255:80 mode nat", "is the broadcast address"},
		{"tcp [fe80::1]:80 mode nat", "fe80::1 is a link-local address"},
		/* options */
		{"tcp 192.0.2.1:80 mode nat affinity", "'affinity' needs a value"},
		{"tcp 192.0.2.1:80 mode nat affinity client", "affinity 'client': wanted source"},
		{"udp 192.0.2.1:80 mode nat udp fre", "udp 'fre': wanted free or sticky"},
		{"tcp 192.0.2.1:80 mode dsr-l2 udp free", "'udp' belongs to services of UDP"},
		{"tcp 192.0.2.1:80 mode dsr-l2 udp sticky", "'udp' belongs to services of UDP"},
		{"udp 192.0.2.1:80 mode nat udp free", "nat remembers every flow"},
		{"tcp 192.0.2.1:80 mode nat mss 535", "mss 535 is not between 536 and 9160"},
		{"tcp 192.0.2.1:80 mode nat mss 9161", "mss 9161 is not between 536 and 9160"},
		{"tcp 192.0.2.1:80 mode nat mss 0", "mss 0"},
		{"tcp 192.0.2.1:80 mode nat mss no", "mss 'no'"},
		{"udp 192.0.2.1:80 mode nat mss 1400", "'mss' belongs to services of TCP"},
		{"udp 192.0.2.1:80 mode nat mss off", "'mss' belongs to services of TCP"},
		{"tcp 192.0.2.1:80 mode nat idle 0", "idle 0 is not between 1 and 32400"},
		{"tcp 192.0.2.1:80 mode nat idle 32401", "idle 32401"},
		{"tcp 192.0.2.1:80 mode nat idle 5s", "idle '5s' is not a number"},
		{"tcp 192.0.2.1:80 mode nat flows 63", "flows 63 is not between 64 and 16777216"},
		{"tcp 192.0.2.1:80 mode nat flows 16777217", "flows 16777217"},
		{"tcp 192.0.2.1:80 mode nat flows -64", "flows -64"},
		{"tcp 192.0.2.1:80 mode nat slots 512",
		 "slots 512 is not between 1024 and 1048576"},
		{"tcp 192.0.2.1:80 mode nat slots 2097152", "slots 2097152"},
		{"tcp 192.0.2.1:80 mode nat slots 65537", "slots 65537 is no power of two"},
		{"tcp 192.0.2.1:80 mode nat slots 0", "slots 0"},
		{"tcp 192.0.2.1:80 mode nat idle 5 idle 5", "'idle' is given twice"},
		/* source */
		{"tcp 192.0.2.1:80 mode dsr-l2 source 198.51.100.1", "dsr-l2 keeps the client's"},
		{"tcp 192.0.2.1:80 mode nat source 198.51.100.0/24", "wanted one address"},
		{"tcp 192.0.2.1:80 mode nat source 2001:db8::9", "the service's own family"},
		{"tcp [2001:db8::1]:80 mode nat source 198.51.100.1", "the service's own family"},
		{"tcp [2001:db8::1]:80 mode dsr-ipip source 172.16.0.0/12",
		 "IPv6 is not carried in IPv4"},
		{"tcp 192.0.2.1:80 mode nat source any", "source 'any' is no address"},
		{"tcp 192.0.2.1:80 mode nat source 127.0.0.1", "source 127.0.0.1 is a loopback"},
		{"tcp 192.0.2.1:80 mode dsr-ipip source 224.0.0.0/8", "224.0.0.0/8 is a multicast"},
		{"tcp 192.0.2.1:80 mode dsr-ipip source 0.0.0.0/0", "a prefix of 8 bits at least"},
		{"tcp 192.0.2.1:80 mode dsr-ipip source 172.16.0.1/12", "'172.16.0.0/12' is the"},
		{"tcp 192.0.2.1:80 mode dsr-ipip source 172.16.0.0/33", "prefix length 33"},
	};
	struct service before, service;

	(void)state;
	memset(&before, 0x55, sizeof(before));
	service = before;
	for (size_t i = 0; i < COUNT(bad); i++) {
		assert_refused(bad[i][0], parse_service(bad[i][0], &service), bad[i][1]);
		if (!strstr(bad[i][1], "not expected"))
			assert_memory_equal(&service, &before, sizeof(service));
		service = before;
	}
}

static void test_changes(void **state)
{
	static const char *const pairs[][2] = {
		{"idle 60", "udp 192.0.2.1:53 mode dsr-ipip"},
		{"udp free", "udp 192.0.2.1:53 mode dsr-ipip udp free idle 5"},
		{"mode dsr-ipip slots 2048", "udp 192.0.2.1:53 mode dsr-ipip idle 5 slots 2048"},
		{"source 172.16.0.0/12 affinity source",
		 "udp 192.0.2.1:53 mode dsr-ipip affinity source source 172.16.0.0/12 idle 5"},
	};
	static const char *const bad[][2] = {
		{"", "nothing to change is named"},
		{"weight 5", "'weight' is not expected"},
		{"mode nat", "the mode of a service cannot change"},
		{"mss 1400", "'mss' belongs to services of TCP"},
		{"idle 5 idle 6", "'idle' is given twice"},
		{"slots 1000", "slots 1000"},
	};
	struct service service, before;
	char text[SERVICE_TEXT];

	(void)state;
	assert_int_equal(parse_service("udp 192.0.2.1:53 mode dsr-ipip idle 5", &before), 0);
	before.index = 7;
	before.first_slot = 1024;
	before.since_ns = 99;
	for (size_t i = 0; i < COUNT(pairs); i++) {
		service = before;
		if (parse_change(pairs[i][0], &service))
			fail_msg("%s: %s", pairs[i][0], failure());
		service_format(&service, text);
		assert_string_equal(text, pairs[i][1]);
		assert_int_equal(service.index, 7);
		assert_int_equal(service.first_slot, 1024);
		assert_int_equal(service.since_ns, 99);
	}
	service = before;
	for (size_t i = 0; i < COUNT(bad); i++) {
		assert_refused(bad[i][0], parse_change(bad[i][0], &service), bad[i][1]);
		assert_memory_equal(&service, &before, sizeof(service));
	}
	/* What the service already is keeps the others' options out. */
	assert_int_equal(parse_service("tcp 192.0.2.1:80 mode dsr-l2", &service), 0);
	assert_refused("", parse_change("source 198.51.100.1", &service), "dsr-l2 keeps");
	assert_refused("", parse_change("udp free", &service), "'udp' belongs");
}

#define NAT4  "tcp 192.0.2.1:80 mode nat"
#define NAT6  "tcp [2001:db8::1]:80 mode nat"
#define ANY4  "tcp 192.0.2.1:any mode nat"
#define L2_4  "tcp 192.0.2.1:80 mode dsr-l2"
#define IPIP4 "tcp 192.0.2.1:80 mode dsr-ipip"
#define IPIP6 "tcp [2001:db8::1]:80 mode dsr-ipip"

static void test_backends(void **state)
{
	static const char *const rows[][3] = {
		/* service, words, NAME/weight/state of each */
		{NAT4, "10.0.0.1", "10.0.0.1/1/up "},
		{NAT4, "10.0.0.1:8080", "10.0.0.1:8080/1/up "},
		{NAT4, "10.0.0.1:80", "10.0.0.1/1/up "},
		{ANY4, "10.0.0.1:80", "10.0.0.1:80/1/up "},
		{ANY4, "10.0.0.1:any", "10.0.0.1/1/up "},
		{NAT6, "[2001:db8::2]:8080", "[2001:db8::2]:8080/1/up "},
		{NAT6, "2001:db8::2", "2001:db8::2/1/up "},
		{NAT6, "[2001:db8::2]", "2001:db8::2/1/up "},
		{L2_4, "10.0.0.1:80", "10.0.0.1/1/up "},
		{IPIP4, "10.0.0.1 2001:db8::2", "10.0.0.1/1/up 2001:db8::2/1/up "},
		{IPIP6, "2001:db8::2", "2001:db8::2/1/up "},
		{NAT4, "10.0.0.1 weight 1000", "10.0.0.1/1000/up "},
		{NAT4, "10.0.0.1 state drain", "10.0.0.1/1/drain "},
		{NAT4, "10.0.0.1 state dead weight 3", "10.0.0.1/3/dead "},
		{NAT4, "10.0.0.3 10.0.0.2 weight 2 10.0.0.1:81 state up weight 4 10.0.0.1",
		 "10.0.0.3/1/up 10.0.0.2/2/up 10.0.0.1:81/4/up 10.0.0.1/1/up "},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct backend *list;
		char text[512] = "", name[BACKEND_NAME];
		size_t count;

		if (parse_backends(rows[i][1], rows[i][0], &list, &count))
			fail_msg("%s: %s", rows[i][1], failure());
		for (size_t n = 0; n < count; n++) {
			backend_format_name(&list[n], name);
			sprintf(text + strlen(text), "%s/%u/%s ", name, list[n].weight,
				backend_state_name(list[n].state));
		}
		assert_string_equal(text, rows[i][2]);
		free(list);
	}
}

static void test_bad_backends(void **state)
{
	static const char *const rows[][3] = {
		{NAT4, "", "a backend is missing; wanted ADDRESS[:PORT]"},
		{L2_4, "", "a backend is missing; wanted ADDRESS"},
		{NAT4, "weight 5", "'weight' is no address"},
		{NAT4, "10.0.0.1 weight", "'weight' needs a value"},
		{NAT4, "10.0.0.1 weight 0", "weight 0 is not between 1 and 1000; 'state drain'"},
		{NAT4, "10.0.0.1 weight -1", "weight -1 is not between 1 and 1000"},
		{NAT4, "10.0.0.1 weight 1001", "weight 1001 is not between 1 and 1000"},
		{NAT4, "10.0.0.1 weight 99999999999999999999", "weight 99999999999999999999"},
		{NAT4, "10.0.0.1 weight 1.5", "weight '1.5' is not a number"},
		{NAT4, "10.0.0.1 weight heavy", "weight 'heavy' is not a number"},
		{NAT4, "10.0.0.1 weight 1 weight 2", "'weight' is given twice"},
		{NAT4, "10.0.0.1 state up state up", "'state' is given twice"},
		{NAT4, "10.0.0.1 state", "'state' needs a value"},
		{NAT4, "10.0.0.1 state down", "state 'down': wanted up, drain or dead"},
		{NAT4, "10.0.0.1 state leaving", "'weir backend del'"},
		{NAT4, "10.0.0.1 10.0.0.2 10.0.0.1", "backend 10.0.0.1 is given twice"},
		{NAT4, "10.0.0.1 10.0.0.1:80 weight 3", "backend 10.0.0.1 is given twice"},
		{NAT6, "2001:db8::2 [2001:DB8::2]", "backend 2001:db8::2 is given twice"},
		{NAT4, "10.0.0.0/24", "'10.0.0.0/24' is a network"},
		{NAT4, "10.0.0.1/32", "is a network"},
		{NAT4, "10.0.0.1:0", "port 0 is no port"},
		{NAT4, "10.0.0.1:any", "leave ':any' out"},
		{NAT4, "10.0.0.1:65536", "port 65536"},
		{NAT4, "10.0.0.1:", "port ''"},
		{NAT4, "127.0.0.1", "127.0.0.1 is a loopback"},
		{NAT4, "0.0.0.0", "is no host's address"},
		{NAT4, "224.1.1.1", "is a multicast"},
		{NAT4, "255.255.255.255", "is the broadcast"},
		{NAT6, "fe80::1", "is a link-local"},
		{NAT6, "ff05::1", "is a multicast"},
		{NAT6, "::1", "is a loopback"},
		{NAT4, "backend1", "'backend1' is no address"},
		{NAT4, "192.0.2.1", "192.0.2.1 is the service's own address"},
		{NAT4, "192.0.2.1:8080", "192.0.2.1 is the service's own address"},
		{IPIP6, "2001:db8::1", "is the service's own address"},
		/* families */
		{NAT4, "2001:db8::2", "mode nat wants an IPv4 address"},
		{NAT6, "10.0.0.1", "mode nat wants an IPv6 address"},
		{L2_4, "2001:db8::2", "mode dsr-l2 wants an IPv4 address"},
		{IPIP6, "10.0.0.1", "IPv6 is not carried in IPv4"},
		/* ports */
		{L2_4, "10.0.0.1:8080", "mode dsr-l2 cannot change ports"},
		{IPIP4, "10.0.0.1:8080", "mode dsr-ipip cannot change ports"},
		{IPIP6, "[2001:db8::2]:81", "mode dsr-ipip cannot change ports"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct backend *list = (struct backend *)1;
		size_t count = 7;
		int err = parse_backends(rows[i][1], rows[i][0], &list, &count);

		assert_refused(rows[i][1], err, rows[i][2]);
		assert_ptr_equal(list, (struct backend *)1);
		assert_int_equal(count, 7);
	}
}

static int change_backend(const char *text, struct backend *backend)
{
	struct words w;
	int err = backend_parse_change(split(&w, text), backend);

	return err ? err : no_more_words(&w.args);
}

static void test_backend_changes(void **state)
{
	struct backend b = {.index = 3, .weight = 5, .state = BACKEND_DEAD};

	(void)state;
	assert_int_equal(change_backend("weight 7", &b), 0);
	assert_int_equal(b.weight, 7);
	assert_int_equal(b.state, BACKEND_DEAD);
	assert_int_equal(change_backend("state up", &b), 0);
	assert_int_equal(b.weight, 7);
	assert_int_equal(b.state, BACKEND_UP);
	assert_int_equal(change_backend("state drain weight 1", &b), 0);
	assert_int_equal(b.weight, 1);
	assert_int_equal(b.state, BACKEND_DRAIN);
	assert_int_equal(b.index, 3);
	assert_refused("", change_backend("", &b), "nothing to change is named");
	assert_refused("", change_backend("drain", &b), "'drain' is not expected");
	assert_refused("", change_backend("weight 0", &b), "weight 0");
	assert_int_equal(b.weight, 1);
}

static void test_endpoints(void **state)
{
	struct endpoint e;

	(void)state;
	assert_int_equal(endpoint_parse("source", "127.0.0.1:9", &e), 0);
	assert_int_equal(e.address.family, 4);
	assert_int_equal(e.port, 9);
	assert_int_equal(endpoint_parse("source", "ff02::1", &e), 0);
	assert_int_equal(e.address.family, 6);
	assert_int_equal(e.port, NO_PORT);
	assert_int_equal(endpoint_parse("source", "[::]:*", &e), 0);
	assert_int_equal(e.port, 0);
	assert_refused("", endpoint_parse("source", "", &e), "source '' is no address");
}

/* ---- text of anything ---- */

static void test_random_round_trip(void **state)
{
	struct dice dice = dice_from_environment();

	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct service service = any_service(&dice), again;
		struct backend backend, *list;
		char text[SERVICE_TEXT], words[BACKEND_NAME + 40], name[BACKEND_NAME];
		size_t count;

		service_format(&service, text);
		assert_true(strlen(text) < sizeof(text));
		if (parse_service(text, &again))
			fail_msg("%s: %s", text, failure());
		assert_memory_equal(&service, &again, sizeof(again));
		service_format_name(&service, text);
		assert_true(strlen(text) < SERVICE_NAME);

		backend = any_backend(&dice, &service);
		backend_format_name(&backend, name);
		assert_true(strlen(name) < sizeof(name));
		snprintf(words, sizeof(words), "%s weight %u state %s", name, backend.weight,
			 backend_state_name(backend.state));
		service_format(&service, text);
		if (parse_backends(words, text, &list, &count))
			fail_msg("%s: %s: %s", text, words, failure());
		assert_int_equal(count, 1);
		assert_memory_equal(list, &backend, sizeof(backend));
		free(list);
	}
}

static void test_longest_text(void **state)
{
	struct service s = {
		.proto = IPPROTO_UDP,
		.mode = WEIR_DSR_IPIP,
		.by_source = 1,
		.free = 1,
		.address = {.family = 6, .bits = 128},
		.port = 65535,
		.mss = 65535,
		.source = {.family = 6, .bits = 127},
		.idle = 4294967295u,
		.flows_wanted = 4294967295u,
		.slots_wanted = 4294967295u,
	};
	struct backend b = {.address = {.family = 6, .bits = 128}, .port = 65535};
	char text[SERVICE_TEXT + 64], name[BACKEND_NAME + 64];

	(void)state;
	memset(s.address.byte, 0xfe, 16);
	memset(s.source.byte, 0xfe, 16);
	memset(b.address.byte, 0xfe, 16);
	service_format(&s, text);
	assert_true(strlen(text) < SERVICE_TEXT);
	service_format_name(&s, text);
	assert_true(strlen(text) < SERVICE_NAME);
	backend_format_name(&b, name);
	assert_true(strlen(name) < BACKEND_NAME);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_services),	  cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_bad_services),	  cmocka_unit_test(test_changes),
		cmocka_unit_test(test_backends),	  cmocka_unit_test(test_bad_backends),
		cmocka_unit_test(test_backend_changes),	  cmocka_unit_test(test_endpoints),
		cmocka_unit_test(test_random_round_trip), cmocka_unit_test(test_longest_text),
	};

	return cmocka_run_group_tests_name("services", tests, NULL, NULL);
}
