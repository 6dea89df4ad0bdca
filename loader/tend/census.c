// SPDX-License-Identifier: GPL-2.0
#include "census.h"

#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "loader/sock/attach.h"
#include "loader/base/error.h"
#include "loader/host/namespaces.h"
#include "weir_tend.skel.h"

static int tell_scopes(struct walker *w, const struct instance *in)
{
	int fd = bpf_map__fd(w->skel->maps.scopes), err = 0;
	struct sock_scope *scopes;
	int count = sock_scopes(in, &scopes);
	__u64 gone;

	while (!bpf_map_get_next_key(fd, NULL, &gone))
		bpf_map_delete_elem(fd, &gone);
	for (int i = 0; !err && i < count; i++)
		err = bpf_map_update_elem(fd, &scopes[i].cgroup, &scopes[i].config, BPF_ANY);
	sock_scopes_free(scopes, count);
	return err ? fail(err, "cannot look for older connections: %s", strerror(-err)) : 0;
}

static void forget_origins(struct walker *w)
{
	int fd = bpf_map__fd(w->skel->maps.origins);
	struct weir_origin o;

	while (!bpf_map_get_next_key(fd, NULL, &o))
		bpf_map_delete_elem(fd, &o);
}

int census(struct walker *w, const struct instance *in)
{
	struct netns_list list = {};
	struct bpf_link *link;
	int err = tell_scopes(w, in);

	if (err)
		return err;
	link = bpf_program__attach_iter(w->skel->progs.weir_census, NULL);
	if (!link)
		return fail(-errno, "cannot walk over TCP sockets: %m");
	err = netns_list_read(&list);
	for (int pass = 0; !err && pass < 2; pass++) {
		w->skel->bss->census_pass = pass;
		err = netns_for_each(&list, NULL, 0, walker_read_iterator, link, NULL);
	}
	netns_list_free(&list);
	bpf_link__destroy(link);
	forget_origins(w);
	return err;
}
