// SPDX-License-Identifier: GPL-2.0
#include "mib.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "loader/base/error.h"

static void take(const char *name, const char *value, const char *const *names, size_t count,
		 __u64 *values)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(names[i], name))
			values[i] = strtoull(value, NULL, 10);
}

/* A line of names, then one of values; both begin with the group. */
int mib_parse(FILE *file, const char *group, const char *const *names, size_t count, __u64 *values)
{
	char *titles = NULL, *numbers = NULL, *title_at, *number_at;
	size_t title_size = 0, number_size = 0, length = strlen(group);
	int err = -EIO;

	while (getline(&titles, &title_size, file) > 0 &&
	       getline(&numbers, &number_size, file) > 0) {
		const char *title = strtok_r(titles, " \n", &title_at);
		const char *number = strtok_r(numbers, " \n", &number_at);

		if (!title || strncmp(title, group, length) || strcmp(title + length, ":"))
			continue;
		while (title && number) {
			take(title, number, names, count, values);
			title = strtok_r(NULL, " \n", &title_at);
			number = strtok_r(NULL, " \n", &number_at);
		}
		err = 0;
	}
	free(titles);
	free(numbers);
	return err;
}

/* /proc/net would be that of the process's first thread. */
static int read_file(const char *path, const char *group, const char *const *names, size_t count,
		     __u64 *values)
{
	FILE *file = fopen(path, "re");
	int err;

	if (!file)
		return fail(-errno, "cannot read the kernel's counters: %s: %m", path);
	err = mib_parse(file, group, names, count, values);
	fclose(file);
	return err ? fail(err, "cannot read the kernel's counters: %s has no line '%s'", path,
			  group)
		   : 0;
}

int mib_read(const char *const *names, size_t count, __u64 *values)
{
	int err;

	memset(values, 0, count * sizeof(*values));
	err = read_file("/proc/thread-self/net/snmp", "Tcp", names, count, values);
	return err ? err
		   : read_file("/proc/thread-self/net/netstat", "TcpExt", names, count, values);
}
