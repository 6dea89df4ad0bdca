// SPDX-License-Identifier: GPL-2.0
#include "endpoint.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <time.h>

static const char *format_address(const __be32 address[4], __u8 family, char *text)
{
	return inet_ntop(family == 4 ? AF_INET : AF_INET6, family == 4 ? &address[3] : address,
			 text, INET6_ADDRSTRLEN);
}

json_t *out_end(const __be32 address[4], __u16 port, __u8 family)
{
	char text[INET6_ADDRSTRLEN], all[INET6_ADDRSTRLEN + 10];

	snprintf(all, sizeof(all), family == 4 ? "%s:%u" : "[%s]:%u",
		 format_address(address, family, text), port);
	return json_string(all);
}

json_t *out_address(const __be32 address[4], __u8 family)
{
	char text[INET6_ADDRSTRLEN];

	return json_string(format_address(address, family, text));
}

json_t *out_time(__u64 monotonic_ns)
{
	struct timespec wall, monotonic;
	struct tm utc;
	char day[32], text[48];
	__s64 ns;

	clock_gettime(CLOCK_REALTIME, &wall);
	clock_gettime(CLOCK_MONOTONIC, &monotonic);
	ns = (wall.tv_sec - monotonic.tv_sec) * 1000000000ll + wall.tv_nsec - monotonic.tv_nsec +
	     monotonic_ns;
	wall.tv_sec = ns / 1000000000;
	gmtime_r(&wall.tv_sec, &utc);
	strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(text, sizeof(text), "%s.%06lldZ", day, (long long)(ns % 1000000000 / 1000));
	return json_string(text);
}
