// SPDX-License-Identifier: GPL-2.0
#include "findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loader/out/out.h"

static json_t *text(const char *format, va_list args)
{
	char *line;
	json_t *json;

	if (vasprintf(&line, format, args) < 0)
		return json_null();
	json = out_string(line);
	free(line);
	return json;
}

void report(struct doctor *d, const char *check, enum level level, const char *format, ...)
{
	static const char *const names[] = {"ok", "warn", "fail"};
	va_list args;

	d->last = NULL;
	if (level == OK && d->problems_only)
		return;
	d->failed += level == FAIL;
	d->warned += level == WARN;
	va_start(args, format);
	d->last = json_pack("{s:s,s:o,s:s,s:o,s:n}", "level", names[level], "subject",
			    out_string(d->subject), "check", check, "found", text(format, args),
			    "remedy");
	va_end(args);
	json_array_append_new(d->findings, d->last);
}

void advise(struct doctor *d, const char *format, ...)
{
	va_list args;

	if (!d->last)
		return;
	va_start(args, format);
	json_object_set_new(d->last, "remedy", text(format, args));
	va_end(args);
}

const char *inside(const struct doctor *d)
{
	static char prefix[128];

	if (!d->netns)
		return "";
	if (strchr(d->netns, '/'))
		snprintf(prefix, sizeof(prefix), "nsenter --net=%s ", d->netns);
	else
		snprintf(prefix, sizeof(prefix), "ip netns exec %s ", d->netns);
	return prefix;
}

const char *weir(const struct doctor *d)
{
	static char command[128];

	if (!d->netns)
		return "weir";
	snprintf(command, sizeof(command), "weir -n %s", d->netns);
	return command;
}

int read_sysctl(const char *format, const char *name)
{
	char path[128];
	int value = -1;
	FILE *f;

	snprintf(path, sizeof(path), format, name);
	f = fopen(path, "re");
	if (!f)
		return -1;
	if (fscanf(f, "%d", &value) != 1)
		value = -1;
	fclose(f);
	return value;
}
