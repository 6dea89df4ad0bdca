// SPDX-License-Identifier: GPL-2.0
/* Why weir does not know a connection: from what the kernel tells of its sockets. */
#include <string.h>

#include "loader/out/out.h"
#include "loader/sock/settings.h"
#include "why.h"

static void tell_socket(json_t *steps, const struct stranger *s, const struct sock_known *k)
{
	char local[SOCK_END_TEXT], remote[SOCK_END_TEXT];

	sock_end_format(&s->local, local);
	sock_end_format(&s->remote, remote);
	why_step(steps, "socket", "%s, connected to %s, in cgroup %s and network namespace %llu",
		 local, remote, sock_cgroup_label(k->scopes, k->scope_count, s->cgroup), s->netns);
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
	why_step(steps, "judgement", "stays on TCP: cgroup %s is not attached, nor one above it",
		 cgroup);
	why_step(steps, "remedy",
		 "'weir sock attach %s'; connections that begin then are looked at", cgroup);
	return true;
}

static bool tell_settings(json_t *steps, const struct stranger *s, __u16 port,
			  const struct sock_known *k)
{
	const struct sock_scope *scope = scope_of(s, k);
	const struct weir_sock_config *c = &scope->config;
	char ports[SOCK_PORTS_TEXT];

	if (!sock_ports_have(c->port, c->port_ranges, port ? port : s->local.port) &&
	    !sock_ports_have(c->port, c->port_ranges, port ? port : s->remote.port)) {
		sock_ports_format(c->port, c->port_ranges, ports);
		why_step(steps, "judgement",
			 "stays on TCP: cgroup %s is attached for ports %s only",
			 sock_scope_name(scope), ports);
		why_step(steps, "remedy", "'weir sock attach %s --port %s,...' with its port",
			 sock_scope_name(scope), ports);
		return true;
	}
	if (!sock_prefixes_have(scope->local, scope->local_count, s->local.address) &&
	    !sock_prefixes_have(scope->local, scope->local_count, s->remote.address)) {
		why_step(steps, "judgement",
			 "stays on TCP: cgroup %s is attached for other networks",
			 sock_scope_name(scope));
		why_step(steps, "remedy",
			 "'weir sock attach %s --local ...' with its network, or any",
			 sock_scope_name(scope));
		return true;
	}
	return false;
}

void why_outside(json_t *steps, const struct stranger *s, const struct stranger *peer, __u16 port,
		 const struct sock_known *k)
{
	if (!k->scope_count) {
		why_step(steps, "judgement", "stays on TCP: no cgroup is attached");
		why_step(steps, "remedy", "'weir sock attach %s'",
			 sock_cgroup_label(k->scopes, k->scope_count, s->cgroup));
		return;
	}
	if (tell_outside(steps, s, k) || (peer && tell_outside(steps, peer, k)))
		return;
	if (tell_settings(steps, s, port, k) || (peer && tell_settings(steps, peer, port, k)))
		return;
	if (!peer) {
		why_step(
			steps, "judgement",
			"stays on TCP: no socket of this host was found at its other end; that is "
			"another host, or NAT is between and the connection is older than the attach");
		why_step(steps, "remedy", "nothing, if it is another host; else as below");
	} else {
		why_step(
			steps, "judgement",
			"stays on TCP: both ends are attached, so it is older than that, or was not "
			"seen to begin");
	}
	why_step(steps, "remedy",
		 "connections that begin now are known: let the program reconnect");
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
		why_step(steps, "connection", "no connection that has %s as an end was found",
			 text);
		why_step(
			steps, "remedy",
			"name an end as its program sees it ('ss -tn'); network namespaces in which "
			"no process is were not looked at");
		return json_pack("{s:b, s:n, s:n, s:s, s:o}", "known", 0, "client", "server",
				 "state", "absent", "steps", steps);
	}
	tell_socket(steps, first, k);
	if (peer)
		tell_socket(steps, peer, k);
	why_outside(steps, first, peer, 0, k);
	sock_end_format(&first->local, text);
	sock_end_format(&first->remote, far);
	return json_pack("{s:b, s:n, s:n, s:s, s:s, s:s, s:o}", "known", 0, "client", "server",
			 "local", text, "remote", far, "state", "unknown", "steps", steps);
}
