/* SPDX-License-Identifier: GPL-2.0 */
/* Builds TCP segments in every wrapping the observer must see through, and runs them through the
 * TC programs of one device that exists only in this process. */
#ifndef WEIR_TC_SEGMENTS_H
#define WEIR_TC_SEGMENTS_H

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/pkt_cls.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "loader/watch/handshakes.h"
#include "tests/shared/packets.h"
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
	int extensions;	 /* IPv6: number of extension headers */
	char extension;	 /* IPv6: which, see packet_extension(); zero: destination options */
	uint8_t proto;	 /* in the IP header instead of what it should say */
	int vlans;
	int pad;	 /* bytes of link-layer padding */
	int fragment;	 /* offset in units of 8 bytes */
	bool more;	 /* more fragments follow */
	int cut;	 /* bytes taken off the end of the frame */
	bool bad_offset; /* TCP header shorter than 20 bytes */
};

static inline void build(struct packet *packet, const struct segment_spec *s, bool ethernet)
{
	const char *client = s->client, *server = s->server;
	char tags[8] = {}, chain[16] = {};
	struct packet_layout layout = {
		.family = s->family == 6 ? 6 : 4,
		.proto = IPPROTO_TCP,
		.flags = s->flags,
		.seq = s->seq,
		.ack = s->ack,
		.payload = s->data,
		.fill = 0xff,
		.tcp_options = s->tcp_options ? s->tcp_options : -1,
		.bare = !ethernet,
		.tags = memset(tags, 'q', s->vlans),
		.ip_options = s->ip_options,
		.chain = memset(chain, s->extension ? s->extension : 'd', s->extensions),
		.fragment = s->fragment,
		.more = s->more,
		.padding = s->pad,
	};

	if (s->fragment || s->more)
		chain[s->extensions] = 'f';
	if (!client)
		client = s->family == 6 ? "2001:db8::1" : "192.0.2.1";
	if (!server)
		server = s->family == 6 ? "2001:db8:1::1" : "198.51.100.1";
	layout.source = s->from_server ? server : client;
	layout.destination = s->from_server ? client : server;
	layout.sport = s->client_port ? s->client_port : 40000;
	layout.dport = s->server_port ? s->server_port : 80;
	if (s->from_server) {
		uint16_t port = layout.sport;

		layout.sport = layout.dport;
		layout.dport = port;
	}
	packet_build(packet, &layout);
	if (s->proto)
		packet->bytes[packet->l3 + (s->family == 6 ? 6 : 9)] = s->proto;
	if (s->bad_offset)
		packet->bytes[packet->l4 + 12] = 4 << 4;
	packet->length -= s->cut;
}

/* ---- the programs ---- */

static inline void observer_open_with(struct observer *o, const struct weir_tc_config *config)
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

static inline void observer_open(struct observer *o)
{
	struct weir_tc_config config = {.ifindex = 7, .ethernet = 1, .handshakes = 1};

	observer_open_with(o, &config);
}

static inline void observer_close(struct observer *o)
{
	weir_tc_bpf__destroy(o->skel);
}

static inline void pass(struct observer *o, const struct segment_spec *s, bool ingress)
{
	struct bpf_program *program =
		ingress ? o->skel->progs.weir_ingress : o->skel->progs.weir_egress;
	LIBBPF_OPTS(bpf_test_run_opts, run, .repeat = 1);
	struct packet packet;

	build(&packet, s, o->ethernet);
	run.data_in = packet.bytes;
	run.data_size_in = packet.length;
	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(program), &run), 0);
	assert_int_equal((int)run.retval, NEXT);
}

/* This host is the server: the client's segments come in, the server's go out. */
static inline void at_server(struct observer *o, struct segment_spec s)
{
	pass(o, &s, !s.from_server);
}

static inline void at_client(struct observer *o, struct segment_spec s)
{
	pass(o, &s, s.from_server);
}

/* ---- what it learnt ---- */

static inline struct handshake_endpoint endpoint_of(struct observer *o, enum weir_role role,
						    int port)
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

static inline struct handshake_endpoint other_endpoints(struct observer *o)
{
	struct handshake_endpoint *list, found = {};
	size_t count;

	assert_int_equal(handshakes_read(&o->maps, &list, &count, NULL), 0);
	if (count && list[count - 1].others)
		found = list[count - 1];
	free(list);
	return found;
}

static inline struct weir_tc_counters counters_of(struct observer *o)
{
	struct weir_tc_counters counters;
	struct handshake_endpoint *list;
	size_t count;

	assert_int_equal(handshakes_read(&o->maps, &list, &count, &counters), 0);
	free(list);
	return counters;
}

/* Every SYN has one end or is in flight. */
static inline void assert_balanced(const struct handshake_endpoint *e)
{
	const struct weir_endpoint_stats *s = &e->stats;

	assert_int_equal(s->syn, s->established + s->refused + s->reset + s->unanswered +
					 s->unfinished + s->untracked + e->half_open);
}

/* Everything in flight becomes older. */
static inline void let_pass(struct observer *o, uint64_t ns)
{
	static struct weir_handshakes table;
	uint32_t zero = 0;

	assert_int_equal(bpf_map_lookup_elem(o->maps.handshakes, &zero, &table), 0);
	for (int lane = 0; lane < WEIR_HANDSHAKE_WAYS; lane++)
		for (int set = 0; set < WEIR_HANDSHAKE_SETS; set++)
			if (table.way[lane][set].syn_ns)
				table.way[lane][set].syn_ns -= ns;
	table.swept -= ns >> WEIR_SWEEP_SHIFT;
	assert_int_equal(bpf_map_update_elem(o->maps.handshakes, &zero, &table, 0), 0);
}

#endif
