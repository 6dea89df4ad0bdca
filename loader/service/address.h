/* SPDX-License-Identifier: GPL-2.0 */
/* Addresses of services and backends, and how the user writes them. */
#ifndef WEIR_ADDRESS_H
#define WEIR_ADDRESS_H

#include <linux/types.h>
#include <stdbool.h>

struct address {
	__u8 family;   /* 4 or 6; 0: none */
	__u8 bits;     /* of a prefix; else 32 or 128 */
	__u8 byte[16]; /* network order; IPv4 in the first four */
	__u8 pad[2];
};

/* What a word like "192.0.2.1:80" or "[2001:db8::1]:any" says. */
struct endpoint {
	struct address address;
	int port; /* NO_PORT: none is named; 0: any */
};

#define NO_PORT	     (-1)
#define ADDRESS_TEXT 48

/* `what` names the value in the misuse() line. Any single address is taken. */
int address_parse(const char *what, const char *text, struct address *address);
/* As above; IPv6 with a port needs brackets. ":any" and ":*" are any port. */
int endpoint_parse(const char *what, const char *text, struct endpoint *endpoint);
/* A misuse() line if no packet of a network can come from there: loopback, multicast... */
int address_check_host(const char *what, const struct address *address);

/* Without its length where that is a host's. */
void address_format(const struct address *address, char text[ADDRESS_TEXT]);
/* "192.0.2.1:80", "[2001:db8::1]:any"; `out` has room for 24 bytes more than the address. */
void endpoint_format(const struct address *address, const char *port, char *out);
bool address_equal(const struct address *a, const struct address *b);

#endif
