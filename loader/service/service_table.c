// SPDX-License-Identifier: GPL-2.0
#include "service_table.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "loader/base/error.h"
#include "xdp/balance/hash.h"

#define TABLE_LEAST    4096u
#define ENTRIES_LEAST  64u
#define ENTRIES_TO_KEY 4u
#define ENTRY6_WORDS   (sizeof(struct weir_address6) / 8)
#define RECORD_WORDS   (sizeof(struct weir_service) / 8)
#define SMALL	       64u /* keys; so few shall be found at the first place */
#define SEEDS	       64  /* tried before tables grow; of few keys */
#define SEEDS_OF_MANY  16
#define GROWTHS	       2 /* of tables of few keys */
#define GROWTHS_MOST   8
#define CLOSING_TICKS  30u

/* One of the three tables of the ABI. */
struct hash {
	__u64 *keys;
	__u32 count;
	__u32 mask;
	__u32 *free; /* by place: first free entry for a key that hashes there */
};

/* An address of the two address tables. */
struct place {
	struct address address;
	__u32 flags;
	__u32 vip; /* its number; 0: not a VIP */
};

struct compiler {
	const struct balance *balance;
	const struct nat_sources *sources;
	__u64 tick_ns;
	struct place *places; /* ordered, each address once */
	size_t count;
	struct hash addresses4, addresses6, ports;
	__u32 *place_of[2]; /* by key of addresses4 and addresses6 */
	__u32 vips;
	size_t nat_backends;
	struct weir_service_head head;
	__u64 *words;
	size_t used;
};

/* ---- addresses ---- */

static int compare_address(const struct address *a, const struct address *b)
{
	if (a->family != b->family)
		return a->family - b->family;
	return memcmp(a->byte, b->byte, a->family == 4 ? 4 : 16);
}

static int compare_place(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return compare_address(&x->address, &y->address);
}

static void add_place(struct compiler *c, const struct address *address, __u32 flags)
{
	c->places[c->count++] = (struct place){.address = *address, .flags = flags};
}

static int collect_places(struct compiler *c)
{
	const struct balance *b = c->balance;
	size_t named = c->sources ? c->sources->count : 0, kept = 0;

	c->places = calloc(b->service_count * 2 + named + 1, sizeof(*c->places));
	if (!c->places)
		return -ENOMEM;
	for (size_t i = 0; i < b->service_count; i++) {
		const struct service *s = &b->services[i];

		add_place(c, &s->address, WEIR_IS_VIP);
		if (s->mode == WEIR_NAT && s->source.family)
			add_place(c, &s->source, WEIR_IS_NAT_SOURCE);
	}
	for (size_t i = 0; i < named; i++)
		add_place(c, &c->sources->address[i], WEIR_IS_NAT_SOURCE);
	qsort(c->places, c->count, sizeof(*c->places), compare_place);
	for (size_t i = 0; i < c->count; i++) {
		if (kept && !compare_place(&c->places[kept - 1], &c->places[i]))
			c->places[kept - 1].flags |= c->places[i].flags;
		else
			c->places[kept++] = c->places[i];
	}
	c->count = kept;
	for (size_t i = 0; i < kept; i++)
		if (c->places[i].flags & WEIR_IS_VIP)
			c->places[i].vip = ++c->vips;
	return 0;
}

static __u32 vip_of(const struct compiler *c, const struct service *s)
{
	struct place key = {.address = s->address}, *p;

	p = bsearch(&key, c->places, c->count, sizeof(key), compare_place);
	return p->vip;
}

static __u64 word_of(const __u8 *bytes)
{
	__u32 half[2];

	memcpy(half, bytes, sizeof(half));
	return (__u64)ntohl(half[0]) << 32 | ntohl(half[1]);
}

static __u64 key_of(const struct address *a)
{
	__u64 high = word_of(a->byte);

	return a->family == 4 ? high >> 32 : WEIR_KEY6(high, word_of(a->byte + 8));
}

/* ---- hash tables ---- */

static __u64 port_key(const struct compiler *c, const struct service *s)
{
	return WEIR_PORT_KEY(vip_of(c, s), s->proto == IPPROTO_UDP, s->port);
}

static int make_hash(struct hash *h, size_t most)
{
	h->keys = calloc(most + 1, sizeof(*h->keys));
	return h->keys ? 0 : -ENOMEM;
}

static int collect_keys(struct compiler *c)
{
	struct hash *addresses[2] = {&c->addresses4, &c->addresses6};
	int err = make_hash(&c->ports, c->balance->service_count);

	for (int i = 0; i < 2 && !err; i++) {
		err = make_hash(addresses[i], c->count);
		c->place_of[i] = calloc(c->count + 1, sizeof(*c->place_of[i]));
		if (!c->place_of[i])
			err = -ENOMEM;
	}
	if (err)
		return err;
	for (size_t i = 0; i < c->count; i++) {
		int six = c->places[i].address.family == 6;
		struct hash *h = addresses[six];

		c->place_of[six][h->count] = i;
		h->keys[h->count++] = key_of(&c->places[i].address);
	}
	for (size_t i = 0; i < c->balance->service_count; i++)
		c->ports.keys[c->ports.count++] = port_key(c, &c->balance->services[i]);
	return 0;
}

static int size_hash(struct hash *h, unsigned int growths)
{
	size_t entries = ENTRIES_LEAST;

	while (entries < (size_t)h->count * ENTRIES_TO_KEY)
		entries *= 2;
	entries <<= h->count ? growths : 0;
	free(h->free);
	h->free = calloc(entries, sizeof(*h->free));
	h->mask = entries - 1;
	return h->free ? 0 : -ENOMEM;
}

/* Gives each place with keys its run of entries, as near as those before it leave room; no other
 * arrangement keeps the farthest key nearer. Returns the steps to that key. */
static __u32 arrange(struct hash *h, __u64 seed)
{
	__u32 next = 0, probes = 1;

	memset(h->free, 0, (h->mask + 1ul) * sizeof(*h->free));
	for (__u32 i = 0; i < h->count; i++)
		h->free[WEIR_PLACE(h->keys[i], seed, h->mask)]++;
	for (__u32 place = 0; place <= h->mask; place++) {
		__u32 keys = h->free[place], at = next > place ? next : place;

		if (!keys)
			continue;
		h->free[place] = at;
		next = at + keys;
		if (next - place > probes)
			probes = next - place;
	}
	return probes;
}

static __u32 arrange_all(struct compiler *c, __u64 seed)
{
	__u32 probes = arrange(&c->ports, seed), other = arrange(&c->addresses4, seed);

	if (other > probes)
		probes = other;
	other = arrange(&c->addresses6, seed);
	return other > probes ? other : probes;
}

static int size_all(struct compiler *c, unsigned int growths)
{
	int err = size_hash(&c->addresses4, growths);

	if (!err)
		err = size_hash(&c->addresses6, growths);
	return err ? err : size_hash(&c->ports, growths);
}

/* A fixed sequence of odd numbers, so that the same services give the same table. */
static __u64 seed_number(unsigned int n)
{
	__u64 h = (n + 1) * 0x9e3779b97f4a7c15ull;

	h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9ull;
	h = (h ^ h >> 27) * 0x94d049bb133111ebull;
	return (h ^ h >> 31) | 1;
}

/* The seed and size of tables that take the fewest steps; larger tables only where it is needed, or
 * small ones become better. */
static int choose_seed(struct compiler *c)
{
	bool small = c->ports.count + c->count <= SMALL;
	__u32 best = ~0u, best_growths = 0, wanted = small ? 1 : WEIR_PROBES;
	int err;

	for (unsigned int g = 0; g <= GROWTHS_MOST && best > wanted; g++) {
		if (g > GROWTHS && best <= WEIR_PROBES)
			break;
		err = size_all(c, g);
		if (err)
			return err;
		for (int n = 0; n < (small ? SEEDS : SEEDS_OF_MANY) && best > 1; n++) {
			__u32 probes = arrange_all(c, seed_number(n));

			if (probes >= best)
				continue;
			best = probes;
			best_growths = g;
			c->head.seed = seed_number(n);
		}
	}
	if (best > WEIR_PROBES)
		return -E2BIG;
	c->head.probes = best;
	err = size_all(c, best_growths);
	if (!err)
		arrange_all(c, c->head.seed);
	return err;
}

/* Entry number of a key that is put into the table now. */
static __u32 take_entry(const struct compiler *c, struct hash *h, __u32 key)
{
	return h->free[WEIR_PLACE(h->keys[key], c->head.seed, h->mask)]++;
}

/* ---- the table ---- */

static __u32 reserve(struct compiler *c, size_t words)
{
	size_t at = c->used;

	c->used += words;
	return at;
}

static size_t source_bytes(const struct compiler *c)
{
	return c->balance->service_count * sizeof(struct service) +
	       c->balance->backend_count * sizeof(struct backend);
}

static bool is_nat_over_tcp(const struct balance *balance, const struct backend *b)
{
	const struct service *s = balance_service(balance, b->service);

	return s->mode == WEIR_NAT && s->proto == IPPROTO_TCP;
}

/* Where everything lies; what every packet looks at comes first. */
static void lay_out(struct compiler *c)
{
	const struct balance *b = c->balance;
	__u32 records = 1;

	for (size_t i = 0; i < b->service_count; i++)
		if (b->services[i].index >= records)
			records = b->services[i].index + 1;
	for (size_t i = 0; i < b->backend_count; i++)
		c->nat_backends += is_nat_over_tcp(b, &b->backends[i]);
	reserve(c, sizeof(c->head) / 8);
	c->head.mask4 = c->addresses4.mask;
	c->head.addresses4 = reserve(c, c->head.mask4 + WEIR_PROBES);
	c->head.ports_mask = c->ports.mask;
	c->head.ports = reserve(c, c->head.ports_mask + WEIR_PROBES);
	c->head.mask6 = c->addresses6.mask;
	c->head.addresses6 = reserve(c, (c->head.mask6 + WEIR_PROBES) * ENTRY6_WORDS);
	c->head.vips = reserve(c, c->vips + 1);
	reserve(c, -c->used % RECORD_WORDS);
	c->head.records = reserve(c, records * RECORD_WORDS);
	c->head.records_end = c->used;
	c->head.nat_backend_count = c->nat_backends;
	c->head.nat_backends = reserve(c, c->nat_backends);
	c->head.source_bytes = source_bytes(c);
	c->head.source = reserve(c, (source_bytes(c) + 7) / 8);
}

static void put_addresses(struct compiler *c)
{
	for (__u32 i = 0; i < c->addresses4.count; i++) {
		const struct place *p = &c->places[c->place_of[0][i]];
		__u32 at = c->head.addresses4 + take_entry(c, &c->addresses4, i);

		c->words[at] = WEIR_ADDRESS4(c->addresses4.keys[i], p->vip, p->flags);
	}
	for (__u32 i = 0; i < c->addresses6.count; i++) {
		const struct place *p = &c->places[c->place_of[1][i]];
		struct weir_address6 entry = {
			.vip_flags = WEIR_ADDRESS4(0, p->vip, p->flags),
			.high = word_of(p->address.byte),
			.low = word_of(p->address.byte + 8),
		};
		__u32 at = take_entry(c, &c->addresses6, i);

		memcpy(c->words + c->head.addresses6 + at * ENTRY6_WORDS, &entry, sizeof(entry));
	}
}

static void note_only(__u32 *only, __u32 index)
{
	*only = *only ? WEIR_SEVERAL : index;
}

static void put_ports(struct compiler *c)
{
	struct weir_vip *vips = (void *)(c->words + c->head.vips);

	for (size_t i = 0; i < c->balance->service_count; i++) {
		const struct service *s = &c->balance->services[i];
		struct weir_vip *vip = &vips[vip_of(c, s)];
		__u32 at = c->head.ports + take_entry(c, &c->ports, i);

		c->words[at] = WEIR_PORT(c->ports.keys[i], s->index);
		note_only(s->proto == IPPROTO_UDP ? &vip->only_udp : &vip->only_tcp, s->index);
	}
}

struct idle_ticks service_idle_ticks(const struct service *service, __u64 tick_ns)
{
	__u64 ticks = (service->idle * 1000000000ull + tick_ns - 1) / tick_ns;
	__u32 idle = ticks ? ticks : 1;

	return (struct idle_ticks){idle, idle < CLOSING_TICKS ? idle : CLOSING_TICKS};
}

static struct weir_service record_of(const struct compiler *c, const struct service *s)
{
	struct idle_ticks ticks = service_idle_ticks(s, c->tick_ns);
	struct weir_service r = {
		.slots = s->first_slot,
		.slot_mask = s->slots ? s->slots - 1 : 0,
		.flows = s->first_bucket,
		.flow_mask = s->buckets ? s->buckets - 1 : 0,
		.mode = s->mode,
		.family = s->address.family,
		.proto = s->proto,
		.mss = s->mss,
		.port = htons(s->port),
		.idle = ticks.idle,
		.idle_closing = ticks.closing,
		.vip = vip_of(c, s),
	};

	r.flags = (s->by_source ? WEIR_S_BY_SOURCE : 0) | (s->free ? WEIR_S_FREE : 0);
	memcpy(r.address, s->address.byte, s->address.family == 4 ? 4 : 16);
	return r;
}

static void put_records(struct compiler *c)
{
	for (size_t i = 0; i < c->balance->service_count; i++) {
		const struct service *s = &c->balance->services[i];
		struct weir_service record = record_of(c, s);

		memcpy(c->words + c->head.records + s->index * RECORD_WORDS, &record,
		       sizeof(record));
		c->head.modes |= 1u << s->mode;
	}
}

static int compare_word(const void *a, const void *b)
{
	__u64 x = *(const __u64 *)a, y = *(const __u64 *)b;

	return x < y ? -1 : x > y;
}

static void put_nat_backends(struct compiler *c)
{
	__u64 *keys = c->words + c->head.nat_backends;
	size_t at = 0;

	for (size_t i = 0; i < c->balance->backend_count; i++) {
		const struct backend *b = &c->balance->backends[i];

		if (is_nat_over_tcp(c->balance, b))
			keys[at++] = nat_backend_key(
				word_of(b->address.byte),
				b->address.family == 6 ? word_of(b->address.byte + 8) : 0,
				b->address.family, b->port);
	}
	qsort(keys, at, sizeof(*keys), compare_word);
}

static void put_source(struct compiler *c)
{
	const struct balance *b = c->balance;
	size_t services = b->service_count * sizeof(struct service);
	char *to = (char *)(c->words + c->head.source);

	if (services)
		memcpy(to, b->services, services);
	if (b->backend_count)
		memcpy(to + services, b->backends, b->backend_count * sizeof(struct backend));
}

static int build(struct compiler *c, struct service_table *table)
{
	size_t size = TABLE_LEAST;

	lay_out(c);
	while (size < c->used * 8)
		size *= 2;
	c->words = calloc(1, size);
	if (!c->words)
		return -ENOMEM;
	put_addresses(c);
	put_ports(c);
	put_records(c);
	put_nat_backends(c);
	put_source(c);
	memcpy(c->words, &c->head, sizeof(c->head));
	table->bytes = c->words;
	table->size = size;
	return 0;
}

static void release(struct compiler *c)
{
	struct hash *hashes[] = {&c->addresses4, &c->addresses6, &c->ports};

	for (int i = 0; i < 3; i++) {
		free(hashes[i]->keys);
		free(hashes[i]->free);
	}
	free(c->place_of[0]);
	free(c->place_of[1]);
	free(c->places);
}

int service_table_compile(const struct balance *balance, const struct nat_sources *sources,
			  __u64 tick_ns, struct service_table *table)
{
	struct compiler c = {.balance = balance, .sources = sources, .tick_ns = tick_ns};
	int err;

	*table = (struct service_table){};
	c.head.schema = WEIR_BALANCE_SCHEMA;
	c.head.services = balance->service_count;
	err = collect_places(&c);
	if (!err)
		err = collect_keys(&c);
	if (!err)
		err = choose_seed(&c);
	if (!err)
		err = build(&c, table);
	release(&c);
	if (err == -E2BIG)
		return fail(err,
			    "the addresses of these services cannot be told apart in %u steps; "
			    "use other addresses",
			    WEIR_PROBES);
	return err ? fail(err, "out of memory for the table of services") : 0;
}

void service_table_seed(struct service_table *table, __u64 seed)
{
	struct weir_service_head *head = table->bytes;
	struct weir_service *s = (void *)((__u64 *)table->bytes + head->records);
	__u32 count = (head->records_end - head->records) / RECORD_WORDS;

	head->flow_seed = seed;
	for (__u32 i = 0; i < count; i++)
		s[i].flow_seed = seed | 1;
}

/* ---- reading back ---- */

static int damaged(struct balance *balance)
{
	balance_free(balance);
	return fail(-EPROTO,
		    "the table of services is damaged; 'weir detach --all' and set up anew");
}

static bool is_address(const struct address *a)
{
	return a->family == 4 || a->family == 6;
}

static bool is_sound_service(const struct service *s)
{
	return s->index && s->index < WEIR_MAX_SERVICES && s->mode < WEIR_MODES &&
	       (s->proto == IPPROTO_TCP || s->proto == IPPROTO_UDP) && is_address(&s->address);
}

static bool is_sound_backend(const struct backend *b)
{
	return b->index && b->index <= WEIR_MAX_INDEX && b->state < BACKEND_STATES && b->weight &&
	       b->weight <= WEIR_MAX_WEIGHT && is_address(&b->address);
}

/* In order of indexes; backends name a service that is there. */
static bool is_sound(const struct balance *b)
{
	size_t at = 0;

	for (size_t i = 0; i < b->service_count; i++)
		if (!is_sound_service(&b->services[i]) ||
		    (i && b->services[i].index <= b->services[i - 1].index))
			return false;
	for (size_t i = 0; i < b->backend_count; i++) {
		while (at < b->service_count && b->services[at].index < b->backends[i].service)
			at++;
		if (at == b->service_count || b->services[at].index != b->backends[i].service ||
		    !is_sound_backend(&b->backends[i]))
			return false;
	}
	return true;
}

static bool is_sound_head(const struct weir_service_head *head, size_t size)
{
	size_t services = head->services * sizeof(struct service);

	return head->services < WEIR_MAX_SERVICES && head->source_bytes >= services &&
	       (head->source_bytes - services) % sizeof(struct backend) == 0 &&
	       head->source * 8ull + head->source_bytes <= size;
}

int service_table_source(const void *bytes, size_t size, struct balance *balance)
{
	const struct weir_service_head *head = bytes;
	size_t services, backends;
	const char *source;

	*balance = (struct balance){};
	if (size < sizeof(*head))
		return damaged(balance);
	if (head->schema != WEIR_BALANCE_SCHEMA)
		return fail(-EPROTO,
			    "the table of services has schema %u, this weir (" WEIR_VERSION
			    ") speaks %u; 'weir detach --all' and set up anew",
			    head->schema, WEIR_BALANCE_SCHEMA);
	if (!is_sound_head(head, size))
		return damaged(balance);
	services = head->services * sizeof(struct service);
	backends = head->source_bytes - services;
	source = (const char *)bytes + head->source * 8ull;
	balance->service_count = head->services;
	balance->backend_count = backends / sizeof(struct backend);
	balance->services = malloc(services + 1);
	balance->backends = malloc(backends + 1);
	if (!balance->services || !balance->backends) {
		balance_free(balance);
		return fail(-ENOMEM, "out of memory for the services");
	}
	memcpy(balance->services, source, services);
	memcpy(balance->backends, source + services, backends);
	return is_sound(balance) ? 0 : damaged(balance);
}
