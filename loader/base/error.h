/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How a subject reports failure without printing: it returns a negative errno and leaves one line
 * (what, why, what to do) that main() prints behind "weir: ". Later lines do not replace the first:
 * the deepest function knows best.
 */
#ifndef WEIR_ERROR_H
#define WEIR_ERROR_H

#include <stdbool.h>
#include <stddef.h>

/* Refused by kernel or state: exit status 2. Returns err, which must be negative. */
int fail(int err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The command line or a file's text is wrong: exit status 1. Returns -EINVAL. */
int misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Puts "FILE line N: " before the line that a misuse() has just left. Returns -EINVAL. */
int at_line(const char *file, size_t number);

/* Something the user should know although the command succeeds; printed to stderr at once. */
void notice(const char *format, ...) __attribute__((format(printf, 1, 2)));

const char *failure(void); /* the line left by fail() or misuse(), or NULL */
int failure_status(void);  /* 1 or 2 */
void forget_failure(void); /* the caller handled it */

extern int verbosity; /* -v: 1 says what is done, 2 adds libbpf's own output */

#endif
