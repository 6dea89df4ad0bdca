/* SPDX-License-Identifier: GPL-2.0 */
/* The connections that weir knows, each with what is known of its two ends. */
#ifndef WEIR_SOCK_CONNECTIONS_H
#define WEIR_SOCK_CONNECTIONS_H

#include "loader/tend/walk.h"

enum connection_state {
	CONNECTION_UNPAIRED, /* the other end was not seen */
	CONNECTION_NEW,
	CONNECTION_OBSERVED,
	CONNECTION_TCP, /* refused */
	CONNECTION_JOINING,
	CONNECTION_SHORTCUT,
	CONNECTION_LEAVING,
	CONNECTION_STATES,
};

extern const char *const connection_state_names[CONNECTION_STATES];

struct connection {
	enum connection_state state;
	const struct weir_sock_record *end[WEIR_ENDS]; /* by enum weir_end; NULL: not known */
	struct weir_pair pair;			       /* as it was read; FREE: there is none */
};

struct connections {
	struct walker walker; /* whose records the ends are */
	struct connection *list;
	size_t count;
};

/* Those that `wanted` wants. 0 or < 0 with a fail() line; to be freed when 0. */
int connections_read(struct connections *c, const struct sock_maps *m,
		     bool (*wanted)(const struct connection *c, const void *data),
		     const void *data);
void connections_free(struct connections *c);

/* The end that is known; the accepting one first. */
const struct weir_sock_record *connection_known(const struct connection *c);
/* Bytes sent by both ends, as far as they are known. */
__u64 connection_shortcut_bytes(const struct connection *c);
__u64 connection_tcp_bytes(const struct connection *c);
/* Of the last refusal, of either end. WEIR_REFUSALS: there was none. */
enum weir_refusal connection_refusal(const struct connection *c);

struct sock_end {
	__be32 address[4]; /* IPv4 as ::ffff:a.b.c.d */
	__u16 port;	   /* host byte order */
};

struct sock_end sock_local(const struct weir_sock_record *r);
struct sock_end sock_remote(const struct weir_sock_record *r);
bool sock_end_equal(const struct sock_end *a, const struct sock_end *b);
/* The connecting and the accepting end's own address, or else what the other one knows it by. */
struct sock_end connection_client(const struct connection *c);
struct sock_end connection_server(const struct connection *c);

/* "192.0.2.1:80", "[2001:db8::1]:80" */
#define SOCK_END_TEXT 64
void sock_end_format(const struct sock_end *end, char text[SOCK_END_TEXT]);
/* The same back; any word of another form is a misuse(). */
int sock_end_parse(const char *text, struct sock_end *end);

#endif
