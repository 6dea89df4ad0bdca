/* SPDX-License-Identifier: GPL-2.0 */
/* The end of a connection, and the time of an event, as all lines show them. */
#ifndef WEIR_OUT_ENDPOINT_H
#define WEIR_OUT_ENDPOINT_H

#include <jansson.h>
#include <linux/types.h>

/* "192.0.2.1:80" or "[2001:db8::1]:80". IPv4 is ::ffff:a.b.c.d; family 4 or 6, port in host order. */
json_t *out_end(const __be32 address[4], __u16 port, __u8 family);
/* The address alone. */
json_t *out_address(const __be32 address[4], __u8 family);
/* "2026-11-22T01:44:24.123456Z" of CLOCK_MONOTONIC. */
json_t *out_time(__u64 monotonic_ns);

#endif
