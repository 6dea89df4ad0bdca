// SPDX-License-Identifier: GPL-2.0
#include "publish.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bring.h"
#include "carry.h"
#include "loader/attach/device.h"
#include "loader/base/error.h"
#include "loader/host/clock.h"
#include "loader/rules/tables.h"
#include "ranges.h"
#include "records.h"
#include "service_table.h"

#define WAIT_MS 300 /* for a neighbour to answer */

static const struct balance_needs no_needs = {.maps = NO_BALANCE_MAPS_INIT};

/* Where a change stands: what was, what shall be, in which maps. */
struct publication {
	struct instance *in;
	struct balance before;
	struct balance *after;
	struct balance_maps maps; /* current ones; none: there were no services */
	struct balance_sizes sizes;
	__u64 generation;
	struct service_table table;
};

static int read_table(const struct balance_maps *maps, struct balance *balance, __u64 *generation,
		      __u32 *modes)
{
	const struct weir_service_head *head;
	void *table;
	size_t size;
	int err = balance_maps_table(maps, &table, &size);

	if (err)
		return err;
	err = service_table_source(table, size, balance);
	head = table;
	if (generation)
		*generation = head->generation;
	if (modes)
		*modes = head->modes;
	free(table);
	return err;
}

int balance_read(const struct balance_maps *maps, struct balance *balance, __u64 *generation)
{
	return read_table(maps, balance, generation, NULL);
}

int balance_load(const struct instance *in, struct balance *balance)
{
	struct balance_maps maps;
	int err = balance_maps_open(in, &maps);

	*balance = (struct balance){};
	if (err)
		return err == -ENOENT ? 0 : err;
	err = read_table(&maps, balance, NULL, NULL);
	balance_maps_close(&maps);
	return err;
}

static int needs_of(const struct balance_maps *maps, struct balance_needs *needs)
{
	struct balance unused = {};
	struct balance_sizes sizes;
	__u32 modes = 0;
	int err = read_table(maps, &unused, NULL, &modes);

	balance_free(&unused);
	if (!err)
		err = balance_maps_sizes(maps, &sizes);
	if (err)
		return err;
	needs->modes = modes;
	needs->service_bytes = sizes.service_bytes;
	needs->maps = *maps;
	return 0;
}

int balance_needs(const struct instance *in, struct balance_needs *needs)
{
	struct balance_maps maps;
	int err = balance_maps_open(in, &maps);

	*needs = no_needs;
	if (err)
		return err == -ENOENT ? 0 : err;
	err = needs_of(&maps, needs);
	if (err)
		balance_maps_close(&maps);
	return err;
}

void balance_release(struct balance_needs *needs)
{
	balance_maps_close(&needs->maps);
	*needs = no_needs;
}

/* All devices' programs, for these services and the rules as they are. */
static int reconcile(struct instance *in, const struct balance_needs *balance)
{
	struct needs needs = {.balance = *balance};
	int err = tables_needs(in, &needs.rules);

	if (err)
		return err;
	err = devices_reconcile(in, &needs);
	tables_release(&needs.rules);
	return err;
}

/* ---- steps of a change ---- */

/* New backends have no record yet. */
static bool is_new(const struct balance *before, const struct backend *backend)
{
	const struct backend *was = balance_find_backend(before, backend->service, backend);

	return !was || was->index != backend->index;
}

static int fill_records(const struct publication *p, const struct balance_maps *maps)
{
	struct records records;
	int err = records_open(maps, &records);

	for (size_t i = 0; i < p->after->backend_count && !err; i++) {
		const struct backend *b = &p->after->backends[i];

		if (!is_new(&p->before, b))
			continue;
		err = percpu_clear(maps->backend_counters, b->index,
				     sizeof(struct weir_backend_counters));
		if (!err)
			err = records_fill(&records, balance_service(p->after, b->service), b,
					   WAIT_MS);
	}
	records_close(&records);
	return err;
}

static int fill_services(const struct publication *p, const struct balance_maps *maps)
{
	int err = 0;

	for (size_t i = 0; i < p->after->service_count && !err; i++) {
		const struct service *s = &p->after->services[i];
		const struct service *was = balance_service(&p->before, s->index);

		if (!was)
			err = percpu_clear(maps->service_counters, s->index,
					     sizeof(struct weir_service_counters));
		if (!err)
			err = service_prepare(maps, p->after, s, was);
	}
	return err;
}

/* The addresses that NAT flows leave from. */
static int collect_sources(const struct balance *after, const struct balance_maps *maps,
			   struct nat_sources *sources)
{
	struct address *list = calloc(after->backend_count + 1, sizeof(*list));
	struct weir_backend *record;
	size_t bytes;

	*sources = (struct nat_sources){.address = list};
	if (!list)
		return fail(-ENOMEM, "out of memory");
	record = balance_map_memory(maps->backends, &bytes);
	if (!record)
		return -ENOMEM;
	for (size_t i = 0; i < after->backend_count; i++) {
		const struct backend *b = &after->backends[i];
		struct address *to = &list[sources->count];

		if (balance_service(after, b->service)->mode != WEIR_NAT)
			continue;
		to->family = b->address.family;
		to->bits = to->family == 4 ? 32 : 128;
		memcpy(to->byte, record[b->index].source, to->family == 4 ? 4 : 16);
		sources->count++;
	}
	balance_unmap(record, bytes);
	return 0;
}

static int compile(struct publication *p, const struct balance_maps *maps)
{
	struct weir_service_head *head;
	struct nat_sources sources;
	int err = collect_sources(p->after, maps, &sources);

	if (!err)
		err = service_table_compile(p->after, &sources, clock_tick_ns(), &p->table);
	free((void *)sources.address);
	if (err)
		return err;
	head = p->table.bytes;
	head->generation = p->generation + 1;
	head->nat_port_mask = p->sizes.nat_ports ? p->sizes.nat_ports - 1 : 0;
	return 0;
}

static bool has_room(const struct balance_sizes *have, const struct balance_sizes *need)
{
	return have->slots >= need->slots && have->backends >= need->backends &&
	       have->services >= need->services && have->flows >= need->flows &&
	       have->nat_flows >= need->nat_flows && have->nat_ports >= need->nat_ports;
}

/* Maps with room for all: the current ones, or larger copies that the programs do not use yet. */
static int find_room(struct publication *p, struct balance_maps *larger)
{
	struct balance_sizes need = {}, have = {};
	int err;

	ranges_sizes(p->after, &need);
	*larger = NO_BALANCE_MAPS;
	need.service_bytes = 4096;
	if (p->maps.services < 0) {
		p->sizes = need;
		return balance_maps_make(larger, &need, NULL);
	}
	err = balance_maps_sizes(&p->maps, &have);
	if (err)
		return err;
	if (has_room(&have, &need)) {
		p->sizes = have;
		return 0;
	}
	p->sizes = need;
	p->sizes.service_bytes = have.service_bytes;
	return balance_maps_grow(&p->maps, &p->sizes, NULL, larger);
}

/* Whether programs and maps stay as they are and only the table is exchanged. */
static bool stays(const struct publication *p, const struct balance_needs *now)
{
	const struct weir_service_head *head = p->table.bytes;

	return now->modes == head->modes && now->service_bytes >= p->table.size &&
	       now->service_bytes / 16 <= p->table.size;
}

static int swap_table(const struct publication *p, __u32 service_bytes)
{
	char *bytes = calloc(1, service_bytes);
	int err;

	if (!bytes)
		return fail(-ENOMEM, "out of memory");
	memcpy(bytes, p->table.bytes, p->table.size);
	err = balance_maps_swap(&p->maps, bytes, service_bytes);
	free(bytes);
	return err;
}

/* Before the programs go over, so that little is left to do after. */
static int carry(const struct publication *p, const struct balance_maps *to)
{
	return p->maps.services < 0 ? 0 : carry_late(&p->maps, to);
}

/* Programs go over to other maps or switches, one device after the other; if one cannot, all go back. */
static int move_programs(struct publication *p, const struct balance_maps *maps)
{
	const struct weir_service_head *head = p->table.bytes;
	struct balance_needs now, next = {.modes = head->modes, .service_bytes = p->table.size};
	int err = balance_needs(p->in, &now);

	if (err)
		return err;
	p->sizes.service_bytes = p->table.size;
	err = balance_maps_grow(maps, &p->sizes, p->table.bytes, &next.maps);
	if (!err)
		err = carry(p, &next.maps);
	if (!err)
		err = reconcile(p->in, &next);
	if (!err)
		err = carry(p, &next.maps);
	if (!err)
		err = balance_maps_pin(p->in, &next.maps);
	if (err)
		reconcile(p->in, &now);
	balance_release(&now);
	if (err) {
		balance_maps_close(&next.maps);
		return err;
	}
	balance_maps_close(&p->maps);
	p->maps = next.maps;
	return 0;
}

static int exchange(struct publication *p, const struct balance_maps *larger)
{
	struct balance_needs now = no_needs;
	bool keep;
	int err;

	if (larger->services >= 0)
		return move_programs(p, larger);
	err = needs_of(&p->maps, &now);
	if (err)
		return err;
	keep = stays(p, &now);
	return keep ? swap_table(p, now.service_bytes) : move_programs(p, &p->maps);
}

static bool still_used(const struct balance *after, const struct backend *gone)
{
	for (size_t i = 0; i < after->backend_count; i++)
		if (address_equal(&after->backends[i].address, &gone->address))
			return true;
	return false;
}

static void release_neighbours(const struct balance *before, const struct balance *after)
{
	for (size_t i = 0; i < before->backend_count; i++)
		if (!still_used(after, &before->backends[i]))
			records_release(&before->backends[i]);
}

/* Without services nothing of them stays. */
static int clear(struct publication *p)
{
	struct balance_needs none = no_needs;
	int err;

	if (p->maps.services < 0)
		return 0;
	err = reconcile(p->in, &none);
	if (!err)
		err = balance_maps_unpin(p->in);
	return err;
}

static int replace_held(struct publication *p)
{
	struct balance_maps larger;
	const struct balance_maps *into;
	int err = ranges_assign(p->after, &p->before);

	if (!err)
		err = find_room(p, &larger);
	if (err)
		return err;
	into = larger.services >= 0 ? &larger : &p->maps;
	err = fill_records(p, into);
	if (!err)
		err = fill_services(p, into);
	if (!err)
		err = compile(p, into);
	if (!err)
		err = exchange(p, &larger);
	if (!err && p->before.service_count)
		err = bring_late(&p->maps, p->after, &p->before, larger.services >= 0);
	balance_maps_close(&larger);
	if (!err)
		err = bring_all(&p->maps, p->after, &p->before, p->generation + 1);
	return err;
}

static int replace(struct publication *p)
{
	int err = p->maps.services < 0 ? 0 : carry_hold(&p->maps, true);

	if (err)
		return err;
	err = replace_held(p);
	if (p->maps.services >= 0)
		carry_hold(&p->maps, false);
	return err;
}

void balance_abandon(const struct instance *in)
{
	struct balance was, none = {};

	if (balance_load(in, &was)) {
		forget_failure();
		return;
	}
	release_neighbours(&was, &none);
	balance_free(&was);
}

int balance_publish(struct instance *in, struct balance *after)
{
	struct publication p = {.in = in, .after = after};
	int err = balance_maps_open(in, &p.maps);

	if (err && err != -ENOENT)
		return err;
	err = err ? 0 : read_table(&p.maps, &p.before, &p.generation, NULL);
	if (!err)
		err = after->service_count ? replace(&p) : clear(&p);
	if (!err)
		release_neighbours(&p.before, after);
	free(p.table.bytes);
	balance_free(&p.before);
	balance_maps_close(&p.maps);
	return err;
}
