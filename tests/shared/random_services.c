// SPDX-License-Identifier: GPL-2.0
#include "random_services.h"

#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "balance_run.h"

#define BACKENDS_MOST 6
#define TRIES	      100

static const __u16 some_ports[] = {0, 1, 53, 80, 443, 8080, 65535};

#define PORTS (sizeof(some_ports) / sizeof(*some_ports))

/* ---- services ---- */

static bool has_service(const struct balance *services, const struct service *other)
{
	for (size_t i = 0; i < services->service_count; i++) {
		const struct service *s = &services->services[i];

		if (s != other && s->proto == other->proto && s->port == other->port &&
		    !memcmp(&s->address, &other->address, sizeof(s->address)))
			return true;
	}
	return false;
}

/* Few addresses, near each other, so that services share them. */
static void vip_text(struct dice *d, char *text, size_t size)
{
	static const char *const forms[] = {"192.0.2.%u", "192.0.%u.2", "2001:db8::%x",
					    "2001:db8:%x::1", "2001:db8:0:%x::1"};

	snprintf(text, size, forms[dice_below(d, 5)], dice_below(d, 16) + 1);
}

static void random_backends(struct dice *d, struct balance *services, bool over6)
{
	__u32 count = dice_below(d, BACKENDS_MOST + 1);
	char text[ADDRESS_TEXT];

	for (__u32 i = 0; i < count; i++) {
		snprintf(text, sizeof(text), over6 ? "fd00::%x" : "10.0.0.%u", i + 1);
		test_backend(services, text, 0, dice_percent(d, 50) ? 1 : 1 + dice_below(d, 10));
	}
}

void random_services(struct dice *d, size_t count, unsigned int modes, struct balance *services)
{
	for (int tries = 0; services->service_count < count && tries < TRIES * (int)count;
	     tries++) {
		enum weir_mode mode = dice_below(d, WEIR_MODES);
		char text[ADDRESS_TEXT];
		struct service *service;

		vip_text(d, text, sizeof(text));
		if (!(modes & 1u << mode))
			continue;
		service = test_service(services, dice_percent(d, 50) ? IPPROTO_TCP : IPPROTO_UDP,
				       text, some_ports[dice_below(d, PORTS)], mode);
		service->by_source = dice_percent(d, 30);
		service->free = service->proto == IPPROTO_UDP && dice_percent(d, 30);
		if (has_service(services, service)) {
			services->service_count--;
			continue;
		}
		random_backends(d, services,
				service->address.family == 6 ||
					(mode == WEIR_DSR_IPIP && dice_percent(d, 50)));
	}
}

/* ---- tuples ---- */

struct address random_client(struct dice *d, unsigned int family)
{
	struct address client = test_address(family == 6 ? "2001:db8:c::" : "198.51.0.0");
	unsigned int first = family == 6 ? 6 : 2, last = family == 6 ? 16 : 4;

	for (unsigned int i = first; i < last; i++)
		client.byte[i] = dice_below(d, 256);
	return client;
}

static void miss_a_little(struct dice *d, struct tuple *tuple)
{
	unsigned int bytes = tuple->destination.family == 6 ? 16 : 4;

	switch (dice_below(d, 3)) {
	case 0: tuple->destination.byte[dice_below(d, bytes)] ^= 1 << dice_below(d, 8); break;
	case 1: tuple->dport += dice_percent(d, 50) ? 1 : dice_below(d, 65536); break;
	case 2: tuple->proto = tuple->proto == IPPROTO_TCP ? IPPROTO_UDP : IPPROTO_TCP; break;
	}
}

void random_tuple(struct dice *d, const struct balance *services, struct tuple *tuple)
{
	const struct service *s = &services->services[dice_below(d, services->service_count)];

	memset(tuple, 0, sizeof(*tuple));
	tuple->destination = s->address;
	tuple->proto = s->proto;
	tuple->dport = s->port ? s->port : dice_below(d, 65536);
	tuple->sport = dice_below(d, 65536);
	tuple->source = random_client(d, s->address.family);
	if (dice_percent(d, 40))
		miss_a_little(d, tuple);
}

void tuple_packet(const struct tuple *tuple, const struct packet_layout *layout,
		  struct packet *packet)
{
	struct packet_layout whole = *layout;
	char source[INET6_ADDRSTRLEN], destination[INET6_ADDRSTRLEN];
	int family = tuple->source.family == 6 ? AF_INET6 : AF_INET;

	inet_ntop(family, tuple->source.byte, source, sizeof(source));
	inet_ntop(family, tuple->destination.byte, destination, sizeof(destination));
	whole.family = tuple->source.family;
	whole.proto = tuple->proto;
	whole.source = source;
	whole.destination = destination;
	whole.sport = tuple->sport;
	whole.dport = tuple->dport;
	packet_build(packet, &whole);
}

/* ---- twin ---- */

const struct service *twin_service(const struct balance *services, const struct tuple *tuple)
{
	const struct service *any = NULL;

	for (size_t i = 0; i < services->service_count; i++) {
		const struct service *s = &services->services[i];

		if (s->proto != tuple->proto ||
		    memcmp(&s->address, &tuple->destination, sizeof(s->address)))
			continue;
		if (s->port == tuple->dport)
			return s;
		if (!s->port)
			any = s;
	}
	return any;
}

static __u64 half(const __u8 *byte)
{
	__u64 value = 0;

	for (int i = 0; i < 8; i++)
		value = value << 8 | byte[i];
	return value;
}

/* The mixing that xdp/balance/hash.h makes part of the ABI. */
static __u64 mixed(__u64 value)
{
	for (int round = 0; round < 2; round++) {
		value ^= value >> 32;
		value *= 0xe9846af9b1a615dull;
	}
	return value ^ value >> 28;
}

__u64 twin_hash(const struct tuple *tuple, bool by_source)
{
	const __u64 golden = 0x9e3779b97f4a7c15ull;
	__u64 source = half(tuple->source.byte), hash;

	if (tuple->source.family == 6)
		source = mixed(source ^ golden) + half(tuple->source.byte + 8) * golden;
	hash = mixed(source ^ ((__u64)tuple->sport << 16 | tuple->dport));
	if (by_source)
		hash = mixed(source) >> 40 << 40 | hash << 24 >> 24;
	return hash;
}

__u32 twin_slot(const struct service *service, const struct tuple *tuple)
{
	return twin_hash(tuple, service->by_source) >> 40 & (service->slots - 1);
}
