// SPDX-License-Identifier: GPL-2.0
/* The set of services and backends; service_text.c has their text. */
#include "service.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "loader/base/error.h"

static const char *const mode_names[WEIR_MODES] = {
	[WEIR_NAT] = "nat",
	[WEIR_DSR_L2] = "dsr-l2",
	[WEIR_DSR_IPIP] = "dsr-ipip",
};

static const char *const state_names[BACKEND_STATES] = {
	[BACKEND_UP] = "up",
	[BACKEND_DRAIN] = "drain",
	[BACKEND_DEAD] = "dead",
	[BACKEND_LEAVING] = "leaving",
};

const char *mode_name(enum weir_mode mode)
{
	return mode_names[mode];
}

const char *backend_state_name(enum backend_state state)
{
	return state_names[state];
}

static int compare_addresses(const struct address *a, const struct address *b)
{
	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	return memcmp(a->byte, b->byte, sizeof(a->byte));
}

static int compare_numbers(__u32 a, __u32 b)
{
	return a == b ? 0 : a < b ? -1 : 1;
}

static int compare_backends(const struct backend *a, const struct backend *b)
{
	int order = compare_numbers(a->service, b->service);

	if (!order)
		order = compare_addresses(&a->address, &b->address);
	return order ? order : compare_numbers(a->port, b->port);
}

/* Index of the first service whose index is not below this one. */
static size_t service_place(const struct balance *b, __u32 index)
{
	size_t low = 0, high = b->service_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (b->services[middle].index < index)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Index of the first backend that does not stand before this one. */
static size_t backend_place(const struct balance *b, const struct backend *name)
{
	size_t low = 0, high = b->backend_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare_backends(&b->backends[middle], name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct service *balance_find(const struct balance *b, const struct service *name)
{
	for (size_t i = 0; i < b->service_count; i++) {
		struct service *s = &b->services[i];

		if (s->proto == name->proto && s->port == name->port &&
		    !compare_addresses(&s->address, &name->address))
			return s;
	}
	return NULL;
}

struct service *balance_service(const struct balance *b, __u32 index)
{
	size_t at = service_place(b, index);

	return at < b->service_count && b->services[at].index == index ? &b->services[at] : NULL;
}

struct backend *balance_find_backend(const struct balance *b, __u32 service,
				     const struct backend *name)
{
	struct backend wanted = {.service = service, .address = name->address, .port = name->port};
	size_t at = backend_place(b, &wanted);

	if (at == b->backend_count || compare_backends(&b->backends[at], &wanted))
		return NULL;
	return &b->backends[at];
}

size_t balance_backends(const struct balance *b, __u32 service, struct backend **first)
{
	/* No address is of family 0, so this stands before every backend of the service. */
	size_t at = backend_place(b, &(struct backend){.service = service});
	size_t end = backend_place(b, &(struct backend){.service = service + 1});

	*first = b->backends + at;
	return end - at;
}

/* The array with an unset element at `at`; NULL with a fail() line. */
static void *make_place(void *array, size_t count, size_t size, size_t at)
{
	char *more = realloc(array, (count + 1) * size);

	if (!more) {
		(void)fail(-ENOMEM, "out of memory");
		return NULL;
	}
	memmove(more + (at + 1) * size, more + at * size, (count - at) * size);
	return more;
}

int balance_insert_service(struct balance *b, const struct service *service)
{
	size_t at = service_place(b, service->index);
	struct service *more;
	char name[SERVICE_NAME];

	if (balance_find(b, service)) {
		service_format_name(service, name);
		return fail(-EEXIST, "%s is a service already; 'weir service set' changes it",
			    name);
	}
	more = make_place(b->services, b->service_count, sizeof(*more), at);
	if (!more)
		return -ENOMEM;
	more[at] = *service;
	b->services = more;
	b->service_count++;
	return 0;
}

int balance_insert_backend(struct balance *b, const struct backend *backend)
{
	const struct service *service = balance_service(b, backend->service);
	size_t at = backend_place(b, backend);
	char name[BACKEND_NAME], of[SERVICE_NAME] = "this service";
	struct backend *more;

	if (at < b->backend_count && !compare_backends(&b->backends[at], backend)) {
		backend_format_name(backend, name);
		if (service)
			service_format_name(service, of);
		return fail(-EEXIST, "%s is a backend of %s already; 'weir backend set' changes it",
			    name, of);
	}
	more = make_place(b->backends, b->backend_count, sizeof(*more), at);
	if (!more)
		return -ENOMEM;
	more[at] = *backend;
	b->backends = more;
	b->backend_count++;
	return 0;
}

static void remove_backends(struct balance *b, size_t at, size_t count)
{
	struct backend *first = b->backends + at;

	b->backend_count -= count;
	memmove(first, first + count, (b->backend_count - at) * sizeof(*first));
}

void balance_remove_service(struct balance *b, __u32 index)
{
	struct service *service = balance_service(b, index);
	struct backend *first;
	size_t count;

	if (!service)
		return;
	count = balance_backends(b, index, &first);
	if (count)
		remove_backends(b, first - b->backends, count);
	b->service_count--;
	memmove(service, service + 1,
		(b->service_count - (service - b->services)) * sizeof(*service));
}

void balance_remove_backend(struct balance *b, __u32 index)
{
	for (size_t i = 0; i < b->backend_count; i++) {
		if (b->backends[i].index == index) {
			remove_backends(b, i, 1);
			return;
		}
	}
}

void balance_free(struct balance *b)
{
	free(b->services);
	free(b->backends);
	*b = (struct balance){};
}

int no_such_service(const struct service *name)
{
	char text[SERVICE_NAME];

	service_format_name(name, text);
	return fail(-ENOENT, "there is no service %s; 'weir service list' shows what there is",
		    text);
}

int no_such_backend(const struct service *service, const struct backend *name)
{
	char text[SERVICE_NAME], backend[BACKEND_NAME];

	service_format_name(service, text);
	backend_format_name(name, backend);
	return fail(-ENOENT,
		    "service %s has no backend %s; 'weir backend list %s' shows what it has", text,
		    backend, text);
}
