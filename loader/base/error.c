// SPDX-License-Identifier: GPL-2.0
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int verbosity;

static char line[1024];
static int status;

static void leave(int code, const char *format, va_list args)
{
	int saved = errno;

	if (status)
		return;
	status = code;
	vsnprintf(line, sizeof(line), format, args);
	errno = saved;
}

void leave_failure(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	leave(2, format, args);
	va_end(args);
}

void leave_misuse(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	leave(1, format, args);
	va_end(args);
}

int at_line(const char *file, size_t number)
{
	char cause[sizeof(line)];

	snprintf(cause, sizeof(cause), "%s", line);
	snprintf(line, sizeof(line), "%s line %zu: %.900s", file, number, cause);
	return -EINVAL;
}

void notice(const char *format, ...)
{
	va_list args;

	fputs("weir: note: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

const char *failure(void)
{
	return status ? line : NULL;
}

int failure_status(void)
{
	return status;
}

void forget_failure(void)
{
	status = 0;
}

void tell_failure(void)
{
	fprintf(stderr, "weir: %s\n", line);
	forget_failure();
}
