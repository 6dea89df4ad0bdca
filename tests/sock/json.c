// SPDX-License-Identifier: GPL-2.0
#include "sock.h"

#include <stdio.h>

static bool follows;

static void name_next(const char *name)
{
	printf("%s\"%s\":", follows ? "," : "", name);
	follows = true;
}

void json_begin(void)
{
	printf("{");
	follows = false;
}

void json_end(void)
{
	printf("}\n");
	fflush(stdout);
}

void json_open(const char *name)
{
	name_next(name);
	printf("{");
	follows = false;
}

void json_close(void)
{
	printf("}");
	follows = true;
}

void json_whole(const char *name, long long value)
{
	name_next(name);
	printf("%lld", value);
}

void json_real(const char *name, double value)
{
	name_next(name);
	printf("%.6g", value);
}

void json_truth(const char *name, bool value)
{
	name_next(name);
	printf("%s", value ? "true" : "false");
}

void json_text(const char *name, const char *value)
{
	name_next(name);
	putchar('"');
	for (const unsigned char *c = (const unsigned char *)value; *c; c++)
		if (*c == '"' || *c == '\\')
			printf("\\%c", *c);
		else if (*c < ' ' || *c > '~')
			printf("\\u%04x", *c);
		else
			putchar(*c);
	putchar('"');
}
