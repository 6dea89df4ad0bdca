// SPDX-License-Identifier: GPL-2.0
#include "any_service.h"

#include <netinet/in.h>

static struct address random_host(struct dice *d, unsigned int family)
{
	struct address a = {.family = family, .bits = family == 4 ? 32 : 128};

	for (unsigned int i = 0; i < a.bits / 8u; i++)
		a.byte[i] = dice_percent(d, 40) ? 0 : dice_word(d);
	a.byte[0] = family == 4 ? 1 + dice_below(d, 126) : 0x20;
	return a;
}

static struct address random_source(struct dice *d, const struct service *s)
{
	struct address a = {};

	if (s->mode == WEIR_DSR_L2 || dice_percent(d, 50))
		return a;
	if (s->mode == WEIR_NAT)
		return random_host(d, s->address.family);
	a = random_host(d, s->address.family == 6 || dice_percent(d, 50) ? 6 : 4);
	a.bits = 8 + dice_below(d, a.bits - 7);
	for (unsigned int bit = a.bits; bit < 128; bit++)
		a.byte[bit / 8] &= ~(0x80 >> bit % 8);
	return a;
}

struct service any_service(struct dice *d)
{
	bool udp = dice_percent(d, 50);
	struct service s = {
		.proto = udp ? IPPROTO_UDP : IPPROTO_TCP,
		.mode = dice_below(d, WEIR_MODES),
		.by_source = dice_percent(d, 30),
		.address = random_host(d, dice_percent(d, 50) ? 4 : 6),
		.port = dice_percent(d, 20) ? 0 : 1 + dice_below(d, 65535),
		.idle = dice_percent(d, 50) ? (udp ? 60 : 900) : 1 + dice_below(d, 32400),
	};

	s.free = udp && s.mode != WEIR_NAT && dice_percent(d, 50);
	s.mss = !udp && dice_percent(d, 50) ? 536 + dice_below(d, 9160 - 535) : 0;
	s.flows_wanted = dice_percent(d, 50) ? 64 + dice_below(d, (1 << 24) - 63) : 0;
	s.slots_wanted = dice_percent(d, 50) ? 1024u << dice_below(d, 11) : 0;
	s.source = random_source(d, &s);
	return s;
}

struct backend any_backend(struct dice *d, const struct service *s)
{
	struct backend b = {
		.service = s->index,
		.weight = 1 + dice_below(d, WEIR_MAX_WEIGHT),
		.state = dice_below(d, BACKEND_LEAVING),
	};
	bool other = s->mode == WEIR_DSR_IPIP && dice_percent(d, 30);

	do
		b.address = random_host(d, other ? 6 : s->address.family);
	while (address_equal(&b.address, &s->address));
	if (s->mode == WEIR_NAT && dice_percent(d, 50))
		b.port = 1 + dice_below(d, 65535);
	if (b.port == s->port)
		b.port = 0;
	return b;
}
