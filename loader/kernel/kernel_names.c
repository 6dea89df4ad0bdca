// SPDX-License-Identifier: GPL-2.0
#include "kernel_names.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>

/* No function is longer: what lies farther behind a symbol belongs to none. */
#define FUNCTION_MAX (1u << 20)

const struct btf *kernel_types(void)
{
	static struct btf *btf;

	if (!btf)
		btf = btf__load_vmlinux_btf();
	return btf;
}

/* ---- enumerations ---- */

/* Finding a type takes a look at all of them. */
static struct {
	const char *name;
	const struct btf_type *type; /* NULL: the kernel has none */
} enumerations[16];

static const struct btf_type *look_up(const char *name)
{
	static const __u32 kinds[] = {BTF_KIND_ENUM, BTF_KIND_ENUM64};
	const struct btf *btf = kernel_types();
	int id = -ENOENT;

	for (int i = 0; btf && id < 0 && i < 2; i++)
		id = btf__find_by_name_kind(btf, name, kinds[i]);
	return id < 0 ? NULL : btf__type_by_id(btf, id);
}

static const struct btf_type *enumeration_of(const char *name)
{
	size_t count = sizeof(enumerations) / sizeof(enumerations[0]), i;
	const struct btf_type *type;

	for (i = 0; i < count && enumerations[i].name; i++)
		if (!strcmp(enumerations[i].name, name))
			return enumerations[i].type;
	type = look_up(name);
	if (i < count) {
		enumerations[i].name = strdup(name);
		enumerations[i].type = type;
	}
	return type;
}

struct enumerator {
	const char *name;
	__s64 value;
};

static struct enumerator enumerator_at(const struct btf_type *type, int i)
{
	const struct btf *btf = kernel_types();

	if (btf_is_enum64(type)) {
		const struct btf_enum64 *e = btf_enum64(type) + i;

		return (struct enumerator){btf__name_by_offset(btf, e->name_off),
					   btf_enum64_value(e)};
	}
	return (struct enumerator){btf__name_by_offset(btf, btf_enum(type)[i].name_off),
				   btf_kflag(type) ? (__s64)btf_enum(type)[i].val
						   : (__s64)(__u32)btf_enum(type)[i].val};
}

const char *kernel_enum_name(const char *enumeration, const char *prefix, __s64 value)
{
	const struct btf_type *type = enumeration_of(enumeration);
	size_t length = strlen(prefix);

	for (int i = 0; type && i < btf_vlen(type); i++) {
		struct enumerator e = enumerator_at(type, i);

		if (e.value == value)
			return strncmp(e.name, prefix, length) ? e.name : e.name + length;
	}
	return NULL;
}

int kernel_enum_value(const char *enumerator, __s64 *value)
{
	const struct btf *btf = kernel_types();
	__u32 types = btf ? btf__type_cnt(btf) : 0;

	for (__u32 id = 1; id < types; id++) {
		const struct btf_type *type = btf__type_by_id(btf, id);

		if (!btf_is_any_enum(type))
			continue;
		for (int i = 0; i < btf_vlen(type); i++) {
			struct enumerator e = enumerator_at(type, i);

			if (strcmp(e.name, enumerator))
				continue;
			*value = e.value;
			return 0;
		}
	}
	return -ENOENT;
}

/* ---- functions ---- */

struct symbol {
	__u64 address;
	size_t name; /* offset in `names` */
	bool global;
};

static struct {
	struct symbol *item;
	size_t count, room;
	char *names;
	size_t used, size;
	bool read; /* or tried to */
} symbols;

static int keep(__u64 address, char kind, const char *name)
{
	size_t length = strlen(name) + 1;

	if (symbols.count == symbols.room) {
		size_t room = symbols.room ? 2 * symbols.room : 1 << 16;
		struct symbol *grown = reallocarray(symbols.item, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		symbols.item = grown;
		symbols.room = room;
	}
	if (!symbols.names || symbols.used + length > symbols.size) {
		size_t size = symbols.size ? 2 * symbols.size : 1 << 20;
		char *grown = realloc(symbols.names, size);

		if (!grown)
			return -ENOMEM;
		symbols.names = grown;
		symbols.size = size;
	}
	memcpy(symbols.names + symbols.used, name, length);
	symbols.item[symbols.count++] = (struct symbol){address, symbols.used, isupper(kind)};
	symbols.used += length;
	return 0;
}

/* Of several names of one place a global one comes last, where it is found. */
static int by_address(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	return x->address < y->address	 ? -1
	       : x->address > y->address ? 1
	       : x->global != y->global	 ? x->global - y->global
	       : x->name < y->name	 ? 1
					 : -1;
}

/* "ffffffffc003a000 t function	[module]": the tab becomes a space. */
static int take_line(char *line)
{
	char *kind, *name, *tab;
	__u64 address = strtoull(line, &kind, 16);

	if (!address || kind[0] != ' ' || !strchr("tTwW", kind[1]) || kind[2] != ' ')
		return 0;
	name = kind + 3;
	name[strcspn(name, "\n")] = '\0';
	tab = strchr(name, '\t');
	if (tab)
		*tab = ' ';
	return keep(address, kind[1], name);
}

int kernel_symbols_read(FILE *kallsyms)
{
	size_t room = 0;
	char *line = NULL;
	int err = 0;

	kernel_symbols_forget();
	while (!err && getline(&line, &room, kallsyms) > 0)
		err = take_line(line);
	free(line);
	if (symbols.count)
		qsort(symbols.item, symbols.count, sizeof(*symbols.item), by_address);
	symbols.read = true;
	return err;
}

static void read_once(void)
{
	FILE *kallsyms = symbols.read ? NULL : fopen("/proc/kallsyms", "re");

	symbols.read = true;
	if (!kallsyms)
		return;
	kernel_symbols_read(kallsyms);
	fclose(kallsyms);
}

/* The last that begins at or before the address. */
static const struct symbol *find_symbol(__u64 address)
{
	size_t low = 0, high = symbols.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (symbols.item[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low && address - symbols.item[low - 1].address < FUNCTION_MAX
		       ? &symbols.item[low - 1]
		       : NULL;
}

const char *kernel_symbol(__u64 address, char text[KERNEL_SYMBOL_TEXT])
{
	const struct symbol *s;
	const char *name, *module;

	read_once();
	s = find_symbol(address);
	if (!s) {
		snprintf(text, KERNEL_SYMBOL_TEXT, "0x%llx", address);
		return text;
	}
	name = symbols.names + s->name;
	module = name + strcspn(name, " ");
	snprintf(text, KERNEL_SYMBOL_TEXT, "%.*s+0x%llx%s", (int)(module - name), name,
		 address - s->address, module);
	return text;
}

void kernel_symbols_forget(void)
{
	free(symbols.item);
	free(symbols.names);
	memset(&symbols, 0, sizeof(symbols));
}
