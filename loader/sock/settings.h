/* SPDX-License-Identifier: GPL-2.0 */
/* The settings of an attached cgroup as the user writes and reads them. */
#ifndef WEIR_SOCK_SETTINGS_H
#define WEIR_SOCK_SETTINGS_H

#include "attach.h"

/* Each sets what its text says and leaves the rest. 0, or < 0 with a misuse() line. */
int sock_ports_parse(const char *text, struct sock_settings *s); /* "443,80,8000-8100", "any" */
int sock_local_parse(const char *text, struct sock_settings *s); /* "10.0.0.0/8,fd00::/8", "any" */
int sock_limit_parse(const char *text, struct sock_settings *s); /* "65536", "512K", "1M" */
/* "512K", as it may be written. */
#define SOCK_LIMIT_TEXT 16
void sock_limit_format(__u32 bytes, char text[SOCK_LIMIT_TEXT]);
int sock_pairs_parse(const char *text, struct sock_settings *s); /* "4096" */

/* Those of a cgroup that is attached, to be changed in part. */
int sock_settings_of(const struct sock_scope *scope, struct sock_settings *s);
void sock_settings_free(struct sock_settings *s);

/* "80,8000-8100", or "any" when there are none. */
#define SOCK_PORTS_TEXT (WEIR_PORT_RANGES * 12 + 4)
void sock_ports_format(const struct weir_port_range *range, unsigned int count,
		       char text[SOCK_PORTS_TEXT]);
bool sock_ports_have(const struct weir_port_range *range, unsigned int count, __u16 port);

/* "10.0.0.0/8", "2001:db8::1" */
#define SOCK_PREFIX_TEXT 52
void sock_prefix_format(const struct sock_prefix *prefix, char text[SOCK_PREFIX_TEXT]);
bool sock_prefixes_have(const struct sock_prefix *prefix, size_t count, const __be32 address[4]);

#endif
