/* SPDX-License-Identifier: GPL-2.0 */
/* Builds TCP segments in every wrapping the observer must see through, and runs them through the
 * TC programs of one device that exists only in this process. */
#ifndef WEIR_TC_SEGMENTS_H
#define WEIR_TC_SEGMENTS_H

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "loader/handshakes.h"
#include "weir_tc.skel.h"

#define FIN  0x01
#define SYN  0x02
#define RST  0x04
#define PSH  0x08
#define ACK  0x10
#define URG  0x20
#define ECE  0x40
#define CWR  0x80
#define NEXT TC_ACT_UNSPEC

struct observer {
	struct weir_tc_bpf *skel;
	struct handshake_maps maps;
	bool ethernet;
};

/* Zero means the plain case: IPv4, no tag, no options, no payload. */
struct segment_spec {
	int family; /* 6: IPv6 */
	const char *client, *server;
	uint16_t client_port, server_port;
	bool from_server;
	uint8_t flags;
	uint32_t seq, ack;
	int data;	 /* bytes of payload */
	int tcp_options; /* bytes, a multiple of 4 */
	int ip_options;	 /* IPv4: bytes, a multiple of 4 */
	int extensions;	 /* IPv6: number of destination option headers */
	int vlans;
	int pad;	 /* bytes of link-layer padding */
	int fragment;	 /* offset in units of 8 bytes */
	bool more;	 /* more fragments follow */
	int cut;	 /* bytes taken off the end of the frame */
	bool bad_offset; /* TCP header shorter than 20 bytes */
};

struct frame {
	uint8_t bytes[2048];
	int length;
};

static void *append(struct frame *f, int size)
{
	void *at = f->bytes + f->length;

	memset(at, 0, size);
	f->length += size;
	return at;
}

static void append_link(struct frame *f, const struct segment_spec *s, bool ethernet)
{
	uint16_t type = htons(s->family == 6 ? ETH_P_IPV6 : ETH_P_IP), tag = htons(ETH_P_8021Q);
	uint8_t *addresses;

	if (!ethernet)
		return;
	addresses = append(f, 12);
	addresses[5] = 1;
	addresses[11] = 2;
	for (int i = 0; i < s->vlans; i++) {
		memcpy(append(f, 2), &tag, 2);
		append(f, 2);
	}
	memcpy(append(f, 2), &type, 2);
}

static void append_ip4(struct frame *f, const struct segment_spec *s, int payload)
{
	struct iphdr ip = {.version = 4, .ttl = 64, .protocol = IPPROTO_TCP};
	const char *client = s->client ? s->client : "192.0.2.1";
	const char *server = s->server ? s->server : "198.51.100.1";

	ip.ihl = 5 + s->ip_options / 4;
	ip.tot_len = htons(20 + s->ip_options + payload);
	ip.frag_off = htons(s->fragment | (s->more ? 0x2000 : 0));
	inet_pton(AF_INET, s->from_server ? server : client, &ip.saddr);
	inet_pton(AF_INET, s->from_server ? client : server, &ip.daddr);
	memcpy(append(f, sizeof(ip)), &ip, sizeof(ip));
	memset(append(f, s->ip_options), 1, s->ip_options);
}

static void append_ip6(struct frame *f, const struct segment_spec *s, int payload)
{
	bool fragmented = s->fragment || s->more;
	struct ipv6hdr ip = {.version = 6, .hop_limit = 64};
	const char *client = s->client ? s->client : "2001:db8::1";
	const char *server = s->server ? s->server : "2001:db8:1::1";
	uint8_t next = IPPROTO_TCP;

	if (fragmented)
		next = IPPROTO_FRAGMENT;
	ip.nexthdr = s->extensions ? IPPROTO_DSTOPTS : next;
	ip.payload_len = htons(8 * s->extensions + (fragmented ? 8 : 0) + payload);
	inet_pton(AF_INET6, s->from_server ? server : client, &ip.saddr);
	inet_pton(AF_INET6, s->from_server ? client : server, &ip.daddr);
	memcpy(append(f, sizeof(ip)), &ip, sizeof(ip));
	for (int i = 0; i < s->extensions; i++) {
		uint8_t *options = append(f, 8);

		options[0] = i < s->extensions - 1 ? IPPROTO_DSTOPTS : next;
		options[2] = 1; /* PadN */
		options[3] = 4;
	}
	if (fragmented) {
		uint16_t offset = htons(s->fragment << 3 | s->more);
		uint8_t *header = append(f, 8);

		header[0] = IPPROTO_TCP;
		memcpy(header + 2, &offset, 2);
	}
}

static void append_tcp(struct frame *f, const struct segment_spec *s)
{
	uint16_t client = htons(s->client_port ? s->client_port : 40000);
	uint16_t server = htons(s->server_port ? s->server_port : 80);
	struct tcphdr tcp = {.doff = 5 + s->tcp_options / 4, .window = htons(65535)};

	if (s->bad_offset)
		tcp.doff = 4;
	tcp.source = s->from_server ? server : client;
	tcp.dest = s->from_server ? client : server;
	tcp.seq = htonl(s->seq);
	tcp.ack_seq = htonl(s->ack);
	((uint8_t *)&tcp)[13] = s->flags;
	memcpy(append(f, sizeof(tcp)), &tcp, sizeof(tcp));
	memset(append(f, s->tcp_options), 1, s->tcp_options);
	memset(append(f, s->data), 0xff, s->data);
}

static void build(struct frame *f, const struct segment_spec *s, bool ethernet)
{
	int payload = 20 + s->tcp_options + s->data;

	f->length = 0;
	append_link(f, s, ethernet);
	if (s->family == 6)
		append_ip6(f, s, payload);
	else
		append_ip4(f, s, payload);
	append_tcp(f, s);
	append(f, s->pad);
	f->length -= s->cut;
}

/* ---- the programs ---- */

static void observer_open_with(struct observer *o, const struct weir_tc_config *config)
{
	o->skel = weir_tc_bpf__open();
	assert_non_null(o->skel);
	*(struct weir_tc_config *)&o->skel->rodata->config = *config;
	o->ethernet = config->ethernet;
	assert_int_equal(weir_tc_bpf__load(o->skel), 0);
	o->maps = (struct handshake_maps){
		.handshakes = bpf_map__fd(o->skel->maps.bss),
		.endpoints = bpf_map__fd(o->skel->maps.endpoints),
		.endpoint_stats = bpf_map__fd(o->skel->maps.endpoint_stats),
		.tc_counters = bpf_map__fd(o->skel->maps.tc_counters),
		.watchers = bpf_map__fd(o->skel->maps.watchers),
		.events = bpf_map__fd(o->skel->maps.events),
	};
}

static void observer_open(struct observer *o)
{
	struct weir_tc_config config = {.ifindex = 7, .ethernet = 1, .handshakes = 1};

	observer_open_with(o, &config);
}

static void observer_close(struct observer *o)
{
	weir_tc_bpf__destroy(o->skel);
}

static void pass(struct observer *o, const struct segment_spec *s, bool ingress)
{
	struct bpf_program *program =
		ingress ? o->skel->progs.weir_ingress : o->skel->progs.weir_egress;
	LIBBPF_OPTS(bpf_test_run_opts, run, .repeat = 1);
	struct frame frame;

	build(&frame, s, o->ethernet);
	run.data_in = frame.bytes;
	run.data_size_in = frame.length;
	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(program), &run), 0);
	assert_int_equal((int)run.retval, NEXT);
}

/* This host is the server: the client's segments come in, the server's go out. */
static void at_server(struct observer *o, struct segment_spec s)
{
	pass(o, &s, !s.from_server);
}

static void at_client(struct observer *o, struct segment_spec s)
{
	pass(o, &s, s.from_server);
}

/* ---- what it learnt ---- */

static struct handshake_endpoint endpoint_of(struct observer *o, enum weir_role role, int port)
{
	struct handshake_endpoint *list, found = {};
	size_t count;

	assert_int_equal(handshakes_read(&o->maps, &list, &count, NULL), 0);
	for (size_t i = 0; i < count; i++)
		if (!list[i].others && list[i].role == role && list[i].port == port)
			found = list[i];
	free(list);
	return found;
}

static struct handshake_endpoint other_endpoints(struct observer *o)
{
	struct handshake_endpoint *list, found = {};
	size_t count;

	assert_int_equal(handshakes_read(&o->maps, &list, &count, NULL), 0);
	if (count && list[count - 1].others)
		found = list[count - 1];
	free(list);
	return found;
}

static struct weir_tc_counters counters_of(struct observer *o)
{
	struct weir_tc_counters counters;
	struct handshake_endpoint *list;
	size_t count;

	assert_int_equal(handshakes_read(&o->maps, &list, &count, &counters), 0);
	free(list);
	return counters;
}

/* Every SYN has one end or is in flight. */
static void assert_balanced(const struct handshake_endpoint *e)
{
	const struct weir_endpoint_stats *s = &e->stats;

	assert_int_equal(s->syn, s->established + s->refused + s->reset + s->unanswered +
					 s->unfinished + s->untracked + e->half_open);
}

/* Everything in flight becomes older. */
static void let_pass(struct observer *o, uint64_t ns)
{
	static struct weir_handshakes table;
	uint32_t zero = 0;

	assert_int_equal(bpf_map_lookup_elem(o->maps.handshakes, &zero, &table), 0);
	for (int i = 0; i < WEIR_HANDSHAKE_SETS * WEIR_HANDSHAKE_WAYS; i++)
		if (table.way[i].syn_ns)
			table.way[i].syn_ns -= ns;
	table.swept -= ns >> WEIR_SWEEP_SHIFT;
	assert_int_equal(bpf_map_update_elem(o->maps.handshakes, &zero, &table, 0), 0);
}

#endif
