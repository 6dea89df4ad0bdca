/* SPDX-License-Identifier: GPL-2.0 */
/* A namespace for the far end of a veth, and commands that build what a test needs. */
#ifndef WEIR_TESTS_FAR_NAMESPACE_H
#define WEIR_TESTS_FAR_NAMESPACE_H

#include <sys/types.h>

/* Ends the process with a line on stderr if the shell command fails. */
void run(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A process that waits in a network namespace of its own, to be ended; -1 where there can be
 * none. */
pid_t start_far_end(void);
/* Nothing for -1. */
void end_far_end(pid_t pid);

#endif
