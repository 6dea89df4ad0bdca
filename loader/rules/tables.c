// SPDX-License-Identifier: GPL-2.0
#include "tables.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "loader/attach/device_attach.h"
#include "loader/balance/publish.h"
#include "loader/base/error.h"
#include "redirects.h"

static const struct rule_needs no_needs = {.table = -1};

/* The value of the table in the slot of `tables`. */
static int read_table(int tables, void **bytes, size_t *size)
{
	struct bpf_map_info info = {};
	__u32 key = 0, id, length = sizeof(info);
	int fd, err;

	if (bpf_map_lookup_elem(tables, &key, &id))
		return -errno;
	fd = bpf_map_get_fd_by_id(id);
	if (fd < 0)
		return -errno;
	err = bpf_obj_get_info_by_fd(fd, &info, &length) ? -errno : 0;
	*bytes = err ? NULL : malloc(info.value_size);
	*size = info.value_size;
	if (!err && !*bytes)
		err = -ENOMEM;
	if (!err && bpf_map_lookup_elem(fd, &key, *bytes))
		err = -errno;
	close(fd);
	if (err)
		free(*bytes);
	return err;
}

/* The pinned tables and the current table's value; -ENOENT without a line: there are none. */
static int open_current(const struct instance *in, int *tables, void **bytes, size_t *size)
{
	int fd = in->exists ? pin_open(instance_path(in, "rules")) : -ENOENT, err;

	if (fd == -ENOENT)
		return fd;
	err = fd < 0 ? fd : read_table(fd, bytes, size);
	if (err) {
		if (fd >= 0)
			close(fd);
		return fail(err, "cannot read the rules of instance '%s': %s", in->name,
			    strerror(-err));
	}
	*tables = fd;
	return 0;
}

static struct rule_needs needs_of(const struct weir_table_head *head, size_t size, int tables)
{
	if (!head->rules)
		return no_needs;
	return (struct rule_needs){
		.fields = head->fields,
		.table_bytes = size,
		.limits = head->actions & 1u << WEIR_A_LIMIT,
		.redirects = head->actions & 1u << WEIR_A_REDIRECT,
		.table = tables,
	};
}

int tables_needs(const struct instance *in, struct rule_needs *needs)
{
	void *bytes;
	size_t size;
	int tables, err;

	*needs = no_needs;
	err = open_current(in, &tables, &bytes, &size);
	if (err)
		return err == -ENOENT ? 0 : err;
	*needs = needs_of(bytes, size, tables);
	free(bytes);
	return 0;
}

void tables_release(struct rule_needs *needs)
{
	if (needs->table >= 0)
		close(needs->table);
	*needs = no_needs;
}

int tables_load(const struct instance *in, struct rule_set *set)
{
	void *bytes;
	size_t size;
	int tables, err;

	*set = (struct rule_set){.next_id = 1};
	err = open_current(in, &tables, &bytes, &size);
	if (err == -ENOENT) {
		if (getrandom(&set->seed, sizeof(set->seed), 0) != sizeof(set->seed))
			return fail(-EIO, "no random numbers: getrandom(2) failed");
		return 0;
	}
	if (err)
		return err;
	err = table_source(bytes, size, set);
	close(tables);
	free(bytes);
	return err;
}

static int make_table_map(size_t size, const void *bytes)
{
	__u32 key = 0;
	int fd, err;

	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "weir_table", sizeof(key), size, 1, NULL);
	if (fd < 0)
		return fd;
	err = bytes && bpf_map_update_elem(fd, &key, bytes, BPF_ANY) ? -errno : 0;
	if (err)
		close(fd);
	return err ? err : fd;
}

/* A map of tables of this size, holding this one. */
static int make_tables(int table)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .inner_map_fd = table);
	__u32 key = 0;
	int fd;

	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "weir_rules", sizeof(key), sizeof(key), 1,
			    &opts);
	if (fd >= 0 && bpf_map_update_elem(fd, &key, &table, BPF_ANY)) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

/* Whether a table of these needs can take the other's place without new programs. Much too big a
 * map is a reason for new ones, a little is not: a list that grows and shrinks stays in place. */
static bool interchangeable(const struct rule_needs *now, const struct rule_needs *next)
{
	return now->table >= 0 && now->fields == next->fields && now->limits == next->limits &&
	       now->redirects == next->redirects && now->table_bytes >= next->table_bytes &&
	       now->table_bytes / 16 <= next->table_bytes;
}

static int swap(const struct rule_needs *now, const struct table *table)
{
	char *bytes = calloc(1, now->table_bytes);
	__u32 key = 0;
	int fd, err = 0;

	if (!bytes)
		return fail(-ENOMEM, "out of memory");
	memcpy(bytes, table->bytes, table->size);
	fd = make_table_map(now->table_bytes, bytes);
	free(bytes);
	if (fd >= 0 && bpf_map_update_elem(now->table, &key, &fd, BPF_ANY))
		err = -errno;
	if (fd >= 0)
		close(fd);
	if (fd < 0 || err)
		return fail(fd < 0 ? fd : err, "cannot swap the rule table: %s",
			    strerror(fd < 0 ? -fd : -err));
	return 0;
}

/* The programs of all devices, for these rules and the services as they are. */
static int reconcile(struct instance *in, const struct rule_needs *rules)
{
	struct needs needs = {.rules = *rules};
	int err = balance_needs(in, &needs.balance);

	if (err)
		return err;
	err = devices_reconcile(in, &needs);
	balance_release(&needs.balance);
	return err;
}

/* The devices go over one by one; if one cannot, those that went are brought back. */
static int move(struct instance *in, const struct rule_needs *now, struct rule_needs *next,
		const struct table *table)
{
	int fd = make_table_map(table->size, table->bytes), err;

	if (fd < 0)
		return fail(fd, "cannot make a rule table of %zu bytes: %s", table->size,
			    strerror(-fd));
	next->table = make_tables(fd);
	close(fd);
	if (next->table < 0)
		return fail(next->table, "cannot make the map of rule tables: %s",
			    strerror(-next->table));
	err = reconcile(in, next);
	if (!err)
		err = pin_replace(next->table, instance_path(in, "rules"));
	if (err)
		reconcile(in, now);
	close(next->table);
	return err;
}

/* Without rules nothing of them stays. */
static int clear(struct instance *in)
{
	static const char *const pins[] = {"rules", "rule_counters", "buckets", "redirect_devs"};
	int err = reconcile(in, &no_needs);

	for (size_t i = 0; i < sizeof(pins) / sizeof(pins[0]) && !err; i++)
		if (unlink(instance_path(in, "%s", pins[i])) && errno != ENOENT)
			err = fail(-errno, "cannot remove %s: %m",
				   instance_path(in, "%s", pins[i]));
	return err;
}

static int publish(struct instance *in, const struct rule_set *set, const struct table *table)
{
	struct rule_needs next = needs_of(table->bytes, table->size, -1), now;
	int err = tables_needs(in, &now);

	if (err)
		return err;
	if (!set->count) {
		err = clear(in);
	} else if (interchangeable(&now, &next)) {
		err = reconcile(in, &now);
		if (!err)
			err = swap(&now, table);
	} else {
		err = move(in, &now, &next, table);
	}
	tables_release(&now);
	return err;
}

/* The index of the device that a rule names, which may have another name by now. */
static bool follow(char *name, __u32 *ifindex)
{
	char now[IF_NAMESIZE];
	__u32 index;

	if (!*name)
		return false;
	if (*ifindex && if_indextoname(*ifindex, now)) {
		if (!strcmp(name, now))
			return false;
		strcpy(name, now);
		return true;
	}
	index = if_nametoindex(name);
	if (index == *ifindex)
		return false;
	*ifindex = index;
	return true;
}

static bool follow_devices(const struct instance *in, struct rule_set *set)
{
	bool changed = false;

	for (size_t i = 0; i < set->count; i++) {
		struct rule *r = &set->rules[i];

		changed |= follow(r->dev, &r->dev_ifindex);
		changed |= follow(r->target, &r->target_ifindex);
		if (changed && *r->dev && !r->dev_ifindex)
			notice("rule %u: there is no device %s now, so it matches nothing", r->id,
			       r->dev);
	}
	redirects_prepare(in, set);
	for (size_t i = 0; i < set->count; i++)
		changed |= redirects_outdated(&set->rules[i]);
	return changed;
}

int tables_settle(struct instance *in)
{
	struct rule_needs needs;
	struct rule_set set;
	int err;

	/* A table that cannot be read is for the command itself to tell of: it may be a flush. */
	if (tables_load(in, &set) || tables_needs(in, &needs)) {
		forget_failure();
		return 0;
	}
	err = follow_devices(in, &set) ? tables_publish(in, &set) : reconcile(in, &needs);
	tables_release(&needs);
	rule_set_free(&set);
	return err;
}

int tables_publish(struct instance *in, struct rule_set *set)
{
	struct table_names names;
	struct table table;
	int err;

	follow_devices(in, set);
	err = redirects_resolve(in, set, &names);
	if (err)
		return err;
	err = table_compile(set, &names, &table);
	if (!err) {
		err = publish(in, set, &table);
		free(table.bytes);
	}
	if (!err)
		redirects_settle(in, &names);
	redirects_release(&names);
	return err;
}
