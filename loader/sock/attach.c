// SPDX-License-Identifier: GPL-2.0
#include "attach.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "loader/base/error.h"
#include "loader/host/clock.h"
#include "loader/program/program.h"
#include "probe.h"
#include "weir_birth.skel.h"
#include "weir_shortcut.skel.h"

static const char *pin_of(const struct instance *in, __u64 cgroup, const char *name)
{
	return instance_path(in, "sock/cgroups/%llx/%s", cgroup, name);
}

/* The programs on the messages: those already in `ends` keep what they have, which does the same. */
static int attach_shortcut(const struct sock_maps *m, const struct sock_probe *probe)
{
	struct weir_shortcut_bpf *skel = weir_shortcut_bpf__open();
	int err;

	if (!skel)
		return fail(-errno, "cannot open the socket programs: %m");
	err = sock_maps_reuse(m, skel->obj);
	if (!err) {
		err = weir_shortcut_bpf__load(skel);
		if (!err && probe->verdict)
			err = bpf_prog_attach(bpf_program__fd(skel->progs.weir_received), m->ends,
					      BPF_SK_SKB_STREAM_VERDICT, 0);
		if (!err)
			err = bpf_prog_attach(bpf_program__fd(skel->progs.weir_message), m->ends,
					      BPF_SK_MSG_VERDICT, 0);
		if (err)
			fail(err, "the kernel refuses the socket programs: %s; -vv shows why",
			     strerror(-err));
	}
	weir_shortcut_bpf__destroy(skel);
	return err;
}

static struct weir_local_key key_of(__u64 cgroup, const struct sock_prefix *prefix)
{
	struct weir_local_key key = {.bits = 64 + prefix->bits, .cgroup = {cgroup, cgroup >> 32}};

	memcpy(key.address, prefix->address, sizeof(key.address));
	return key;
}

static bool belongs_to(const struct weir_local_key *key, __u64 cgroup)
{
	return key->cgroup[0] == (__u32)cgroup && key->cgroup[1] == cgroup >> 32;
}

static bool is_named(const struct sock_settings *s, __u64 cgroup, const struct weir_local_key *key)
{
	for (size_t i = 0; i < s->local_count; i++) {
		struct weir_local_key named = key_of(cgroup, &s->local[i]);

		if (!memcmp(&named, key, sizeof(named)))
			return true;
	}
	return false;
}

/* Takes out the prefixes of this cgroup which the settings, if any, do not name. */
static void drop_prefixes(const struct sock_maps *m, __u64 cgroup, const struct sock_settings *s)
{
	struct weir_local_key key, next;
	bool first = true;

	while (!bpf_map_get_next_key(m->local, first ? NULL : &key, &next)) {
		key = next;
		first = false;
		if (!belongs_to(&key, cgroup) || (s && is_named(s, cgroup, &key)))
			continue;
		bpf_map_delete_elem(m->local, &key);
		first = true;
	}
}

void sock_forget_prefixes(const struct sock_maps *m, const struct cgroup *cgroup)
{
	drop_prefixes(m, cgroup->id, NULL);
}

static int add_prefixes(const struct sock_maps *m, __u64 cgroup, const struct sock_settings *s)
{
	__u8 value = 1;

	for (size_t i = 0; i < s->local_count; i++) {
		struct weir_local_key key = key_of(cgroup, &s->local[i]);
		int err = bpf_map_update_elem(m->local, &key, &value, BPF_ANY);

		if (err)
			return fail(err,
				    "cannot store the local prefixes: %s; there is room for "
				    "%d in all",
				    strerror(-err), WEIR_LOCAL_MAX);
	}
	return 0;
}

static int load_birth(struct weir_birth_bpf **skel, const struct sock_maps *m, __u64 cgroup,
		      const struct sock_settings *s)
{
	struct weir_birth_bpf *b = *skel = weir_birth_bpf__open();
	int err;

	if (!b)
		return fail(-errno, "cannot open the socket programs: %m");
	b->rodata->config.cgroup = cgroup;
	b->rodata->config.limit = s->limit;
	b->rodata->config.local = s->local_count > 0;
	b->rodata->config.port_ranges = s->port_ranges;
	for (unsigned int i = 0; i < s->port_ranges; i++) {
		b->rodata->config.port[i].from = s->port[i].from;
		b->rodata->config.port[i].to = s->port[i].to;
	}
	err = sock_maps_reuse(m, b->obj);
	if (err)
		return err;
	err = weir_birth_bpf__load(b);
	return err ? fail(err, "the kernel refuses the socket programs: %s; -vv shows why",
			  strerror(-err))
		   : 0;
}

/* A link of this cgroup that is pinned gets the new program; a link that a removed cgroup left
 * behind gives none. */
static int update_link(const char *pin, int program)
{
	int fd = pin_open(pin), err;

	if (fd < 0)
		return fd;
	err = bpf_link_update(fd, program, NULL);
	close(fd);
	return err;
}

static int attach_link(const struct cgroup *cgroup, const char *pin, int program,
		       enum bpf_attach_type type)
{
	int fd, err;

	if (!update_link(pin, program))
		return 0;
	fd = bpf_link_create(program, cgroup->fd, type, NULL);
	if (fd == -EPERM)
		return fail(fd,
			    "%s: a program that allows no other is attached to it or above it; "
			    "'bpftool cgroup tree' shows which",
			    cgroup->path);
	if (fd < 0)
		return fail(fd, "cannot attach to %s: %s", cgroup->path, strerror(-fd));
	err = pin_replace(fd, pin);
	close(fd);
	return err;
}

static void remove_scope(const struct instance *in, __u64 cgroup)
{
	/* With the last link the kernel detaches: no new connection is seen. */
	unlink(pin_of(in, cgroup, "sockops"));
	unlink(pin_of(in, cgroup, "setsockopt"));
	rmdir(instance_path(in, "sock/cgroups/%llx", cgroup));
}

void sock_scope_remove(const struct instance *in, const struct cgroup *cgroup)
{
	struct sock_scope *scopes;
	int count;

	if (cgroup) {
		remove_scope(in, cgroup->id);
		return;
	}
	count = sock_scopes(in, &scopes);
	for (int i = 0; i < count; i++)
		remove_scope(in, scopes[i].cgroup);
	sock_scopes_free(scopes, count);
}

static int attach_birth(const struct instance *in, const struct sock_maps *m,
			const struct cgroup *cgroup, const struct sock_settings *s)
{
	bool fresh = access(pin_of(in, cgroup->id, "sockops"), F_OK);
	struct weir_birth_bpf *skel = NULL;
	int err = pin_mkdir(instance_path(in, "sock/cgroups"));

	if (!err)
		err = pin_mkdir(instance_path(in, "sock/cgroups/%llx", cgroup->id));
	if (!err)
		err = load_birth(&skel, m, cgroup->id, s);
	if (!err)
		err = attach_link(cgroup, pin_of(in, cgroup->id, "setsockopt"),
				  bpf_program__fd(skel->progs.weir_option), BPF_CGROUP_SETSOCKOPT);
	if (!err)
		err = attach_link(cgroup, pin_of(in, cgroup->id, "sockops"),
				  bpf_program__fd(skel->progs.weir_established),
				  BPF_CGROUP_SOCK_OPS);
	if (err && fresh)
		remove_scope(in, cgroup->id);
	weir_birth_bpf__destroy(skel);
	return err;
}

static int prepare(struct instance *in, struct sock_maps *m, const struct sock_settings *s)
{
	struct sock_probe probe;
	int err = sock_probe(&probe);

	if (!err)
		err = sock_probe_check(&probe);
	if (!err)
		err = sock_maps_make(m, in, s->pairs ? s->pairs : WEIR_PAIRS_DEFAULT);
	if (err)
		return err;
	if (s->pairs && s->pairs != m->pair_count)
		err = fail(-EBUSY,
			   "there is room for %u pairs, which cannot change while a cgroup is "
			   "attached; 'weir sock detach --all' first",
			   m->pair_count);
	if (!err)
		err = attach_shortcut(m, &probe);
	if (err)
		sock_maps_close(m);
	return err;
}

static void remove_if_unused(struct instance *in)
{
	if (!sock_scopes(in, NULL))
		pin_remove_tree(instance_path(in, "sock"));
}

int sock_attach(struct instance *in, const struct cgroup *cgroup, const struct sock_settings *s)
{
	struct sock_maps m;
	int err = prepare(in, &m, s);

	if (!err) {
		err = add_prefixes(&m, cgroup->id, s);
		if (!err)
			err = attach_birth(in, &m, cgroup, s);
		if (!err) {
			drop_prefixes(&m, cgroup->id, s);
			if (!m.control->started_ns)
				m.control->started_ns = clock_now_ns();
			m.control->attached++;
			m.control->on = 1;
		}
		sock_maps_close(&m);
	}
	if (err)
		remove_if_unused(in);
	return err;
}

static int read_config(const struct instance *in, __u64 cgroup, struct weir_sock_config *config)
{
	struct bpf_link_info info = {};
	__u32 size = sizeof(info);
	int fd = pin_open(pin_of(in, cgroup, "sockops")), err;

	if (fd < 0)
		return fd;
	err = bpf_obj_get_info_by_fd(fd, &info, &size);
	close(fd);
	return err ? err : program_constants(info.prog_id, 0, config, sizeof(*config));
}

static int read_prefixes(const struct instance *in, struct sock_scope *scope)
{
	int fd = pin_open(instance_path(in, "sock/local"));
	struct weir_local_key key, next;
	bool first = true;

	while (fd >= 0 && !bpf_map_get_next_key(fd, first ? NULL : &key, &next)) {
		struct sock_prefix *more;

		key = next;
		first = false;
		if (!belongs_to(&key, scope->cgroup))
			continue;
		more = realloc(scope->local, (scope->local_count + 1) * sizeof(*more));
		if (!more)
			break;
		scope->local = more;
		more[scope->local_count].bits = key.bits - 64;
		memcpy(more[scope->local_count++].address, key.address, sizeof(key.address));
	}
	if (fd >= 0)
		close(fd);
	return 0;
}

static void describe(const struct instance *in, struct sock_scope *scope)
{
	if (cgroup_name(scope->cgroup, scope->name, sizeof(scope->name)))
		scope->name[0] = '\0';
	if (read_config(in, scope->cgroup, &scope->config))
		scope->config = (struct weir_sock_config){.cgroup = scope->cgroup};
	read_prefixes(in, scope);
}

int sock_scopes(const struct instance *in, struct sock_scope **scopes)
{
	DIR *d = in->exists ? opendir(instance_path(in, "sock/cgroups")) : NULL;
	struct sock_scope *found = NULL;
	struct dirent *entry;
	int count = 0;

	while (d && (entry = readdir(d))) {
		struct sock_scope *more;

		if (entry->d_name[0] == '.')
			continue;
		count++;
		if (!scopes)
			continue;
		more = realloc(found, count * sizeof(*found));
		if (!more) {
			count--;
			break;
		}
		found = more;
		found[count - 1] = (struct sock_scope){
			.cgroup = strtoull(entry->d_name, NULL, 16),
		};
		describe(in, &found[count - 1]);
	}
	if (d)
		closedir(d);
	if (scopes)
		*scopes = found;
	return count;
}

void sock_scopes_free(struct sock_scope *scopes, int count)
{
	for (int i = 0; i < count; i++)
		free(scopes[i].local);
	free(scopes);
}
