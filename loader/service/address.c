// SPDX-License-Identifier: GPL-2.0
#include "address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "loader/base/args.h"
#include "loader/base/error.h"

int address_parse(const char *what, const char *text, struct address *address)
{
	static const __u8 mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct address a = {};

	if (strchr(text, '/'))
		return misuse("%s '%.60s' is a network; wanted one address", what, text);
	if (inet_pton(AF_INET, text, a.byte) == 1)
		a.family = 4;
	else if (inet_pton(AF_INET6, text, a.byte) == 1)
		a.family = 6;
	else
		return misuse("%s '%.60s' is no address; wanted 192.0.2.1 or 2001:db8::1", what,
			      text);
	if (a.family == 6 && !memcmp(a.byte, mapped, sizeof(mapped)))
		return misuse("%s '%s' is an IPv4 address inside IPv6, which no packet carries; "
			      "write it as IPv4: %s",
			      what, text, strrchr(text, ':') + 1);
	a.bits = a.family == 4 ? 32 : 128;
	*address = a;
	return 0;
}

/* What one host cannot have, or not without saying on which device; NULL: nothing is wrong. */
static const char *no_host(const struct address *a)
{
	static const __u8 zero[15];

	if (a->family == 4) {
		if (!a->byte[0])
			return "is no host's address";
		if (a->byte[0] == 127)
			return "is a loopback address, which no packet on a network carries";
		if (a->byte[0] >= 224 && a->byte[0] < 240)
			return "is a multicast address";
		if (!memcmp(a->byte, "\xff\xff\xff\xff", 4))
			return "is the broadcast address";
		return NULL;
	}
	if (!memcmp(a->byte, zero, 15) && a->byte[15] < 2)
		return a->byte[15] ? "is a loopback address, which no packet on a network carries"
				   : "is no host's address";
	if (a->byte[0] == 0xff)
		return "is a multicast address";
	if (a->byte[0] == 0xfe && (a->byte[1] & 0xc0) == 0x80)
		return "is a link-local address, which means nothing beyond its link";
	return NULL;
}

int address_check_host(const char *what, const struct address *a)
{
	const char *wrong = no_host(a);
	char text[ADDRESS_TEXT];

	if (!wrong)
		return 0;
	address_format(a, text);
	return misuse("%s %s %s", what, text, wrong);
}

bool address_equal(const struct address *a, const struct address *b)
{
	return a->family == b->family && !memcmp(a->byte, b->byte, sizeof(a->byte));
}

static int parse_port(const char *text, int *port)
{
	long number;

	if (!strcmp(text, "any") || !strcmp(text, "*")) {
		*port = 0;
		return 0;
	}
	if (!strcmp(text, "0"))
		return misuse("port 0 is no port; 'any' is every port");
	if (parse_number("port", text, 1, 65535, &number))
		return -EINVAL;
	*port = number;
	return 0;
}

int endpoint_parse(const char *what, const char *text, struct endpoint *endpoint)
{
	struct endpoint e = {.port = NO_PORT};
	const char *begin = text, *end, *port;
	char address[INET6_ADDRSTRLEN + 8];
	bool brackets = *text == '[';

	if (brackets) {
		end = strchr(++begin, ']');
		if (!end || (end[1] && end[1] != ':'))
			return misuse("%s '%.60s': wanted [2001:db8::1]:80", what, text);
		port = end[1] ? end + 2 : NULL;
	} else {
		/* Two colons and no brackets: an IPv6 address by itself. */
		end = strchr(text, ':');
		port = end && !strchr(end + 1, ':') ? end + 1 : NULL;
		if (!port)
			end = text + strlen(text);
	}
	snprintf(address, sizeof(address), "%.*s", (int)(end - begin), begin);
	if (address_parse(what, address, &e.address))
		return -EINVAL;
	if (brackets && e.address.family == 4)
		return misuse("%s '%.60s': brackets are for IPv6; wanted 192.0.2.1:80", what, text);
	if (port && parse_port(port, &e.port))
		return -EINVAL;
	*endpoint = e;
	return 0;
}

void address_format(const struct address *a, char text[ADDRESS_TEXT])
{
	inet_ntop(a->family == 4 ? AF_INET : AF_INET6, a->byte, text, ADDRESS_TEXT);
	if (a->bits != (a->family == 4 ? 32 : 128))
		sprintf(text + strlen(text), "/%u", a->bits);
}

void endpoint_format(const struct address *a, const char *port, char *out)
{
	char text[ADDRESS_TEXT];

	address_format(a, text);
	if (a->family == 4)
		sprintf(out, "%s:%s", text, port);
	else
		sprintf(out, "[%s]:%s", text, port);
}
