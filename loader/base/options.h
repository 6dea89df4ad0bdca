/* SPDX-License-Identifier: GPL-2.0 */
/* The options in front of the object, as main() read them: the same for every command. */
#ifndef WEIR_OPTIONS_H
#define WEIR_OPTIONS_H

#include <stdbool.h>

struct options {
	bool json;
	bool pretty;
	const char *netns;    /* name or path; NULL: the namespace we run in */
	const char *instance; /* directory below the bpffs root; "host" or the namespace's name */
};

extern struct options options;

#endif
