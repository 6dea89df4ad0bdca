// SPDX-License-Identifier: GPL-2.0
/* Why weir does not know a connection: from what the kernel tells of its sockets. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "loader/out/out.h"
#include "settings.h"
#include "why.h"

static void step(json_t *steps, const char *name, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void step(json_t *steps, const char *name, const char *format, ...)
{
	char text[PATH_MAX + 512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	json_array_append_new(steps,
			      json_pack("{s:s, s:o}", "step", name, "says", out_string(text)));
}

static void tell_socket(json_t *steps, const struct stranger *s, const struct sock_known *k)
{
	char local[SOCK_END_TEXT], remote[SOCK_END_TEXT];

	sock_end_format(&s->local, local);
	sock_end_format(&s->remote, remote);
	step(steps, "socket", "%s, connected to %s, in cgroup %s and network namespace %llu", local,
	     remote, sock_cgroup_label(k->scopes, k->scope_count, s->cgroup), s->netns);
}

static bool is_below(const char *path, const char *top)
{
	size_t length = strcmp(top, "/") ? strlen(top) : 0;

	return *top && !strncmp(path, top, length) && (path[length] == '/' || path[length] == '\0');
}

/* The attached cgroup that this socket is in or below; NULL: none. */
static const struct sock_scope *scope_of(const struct stranger *s, const struct sock_known *k)
{
	char path[PATH_MAX];

	if (cgroup_name(s->cgroup, path, sizeof(path)))
		return NULL;
	for (int i = 0; i < k->scope_count; i++)
		if (is_below(path, k->scopes[i].name))
			return &k->scopes[i];
	return NULL;
}

/* Whether this end is outside of what is attached, and says so. */
static bool tell_outside(json_t *steps, const struct stranger *s, const struct sock_known *k)
{
	const char *cgroup;

	if (scope_of(s, k))
		return false;
	cgroup = sock_cgroup_label(k->scopes, k->scope_count, s->cgroup);
	step(steps, "judgement", "stays on TCP: cgroup %s is not attached, nor one above it",
	     cgroup);
	step(steps, "remedy", "'weir sock attach %s'; connections that begin then are looked at",
	     cgroup);
	return true;
}

static bool tell_settings(json_t *steps, const struct stranger *s, const struct sock_known *k)
{
	const struct sock_scope *scope = scope_of(s, k);
	const struct weir_sock_config *c = &scope->config;
	char ports[SOCK_PORTS_TEXT];

	/* Which end has accepted is not known: the port that counts is one of the two. */
	if (!sock_ports_have(c->port, c->port_ranges, s->local.port) &&
	    !sock_ports_have(c->port, c->port_ranges, s->remote.port)) {
		sock_ports_format(c->port, c->port_ranges, ports);
		step(steps, "judgement", "stays on TCP: cgroup %s is attached for ports %s only",
		     sock_scope_name(scope), ports);
		step(steps, "remedy", "'weir sock attach %s --port %s,...' with its port",
		     sock_scope_name(scope), ports);
		return true;
	}
	if (!sock_prefixes_have(scope->local, scope->local_count, s->local.address) &&
	    !sock_prefixes_have(scope->local, scope->local_count, s->remote.address)) {
		step(steps, "judgement", "stays on TCP: cgroup %s is attached for other networks",
		     sock_scope_name(scope));
		step(steps, "remedy", "'weir sock attach %s --local ...' with its network, or any",
		     sock_scope_name(scope));
		return true;
	}
	return false;
}

static void tell_reason(json_t *steps, const struct stranger *s, const struct stranger *peer,
			const struct sock_known *k)
{
	if (!k->scope_count) {
		step(steps, "judgement", "stays on TCP: no cgroup is attached");
		step(steps, "remedy", "'weir sock attach %s'",
		     sock_cgroup_label(k->scopes, k->scope_count, s->cgroup));
		return;
	}
	if (tell_outside(steps, s, k) || (peer && tell_outside(steps, peer, k)))
		return;
	if (tell_settings(steps, s, k) || (peer && tell_settings(steps, peer, k)))
		return;
	if (!peer) {
		step(steps, "judgement",
		     "stays on TCP: no socket of this host was found at its other end; that is "
		     "another host, or NAT is between and the connection is older than the attach");
		step(steps, "remedy", "nothing, if it is another host; else as below");
	} else {
		step(steps, "judgement",
		     "stays on TCP: both ends are attached, so it is older than that, or was not "
		     "seen to begin");
	}
	step(steps, "remedy", "connections that begin now are known: let the program reconnect");
}

json_t *why_stranger(const struct strangers *s, const struct sock_end *end,
		     const struct sock_known *k)
{
	const struct stranger *first = s->count ? &s->list[0] : NULL;
	const struct stranger *peer = first ? stranger_peer(s, first) : NULL;
	char text[SOCK_END_TEXT], far[SOCK_END_TEXT];
	json_t *steps = json_array();

	sock_end_format(end, text);
	if (!first) {
		step(steps, "connection", "no connection that has %s as an end was found", text);
		step(steps, "remedy",
		     "name an end as its program sees it ('ss -tn'); network namespaces in which "
		     "no process is were not looked at");
		return json_pack("{s:b, s:n, s:n, s:s, s:o}", "known", 0, "client", "server",
				 "state", "absent", "steps", steps);
	}
	tell_socket(steps, first, k);
	if (peer)
		tell_socket(steps, peer, k);
	tell_reason(steps, first, peer, k);
	sock_end_format(&first->local, text);
	sock_end_format(&first->remote, far);
	return json_pack("{s:b, s:n, s:n, s:s, s:s, s:s, s:o}", "known", 0, "client", "server",
			 "local", text, "remote", far, "state", "unknown", "steps", steps);
}
