// SPDX-License-Identifier: GPL-2.0
/* The words of a command line behind object and command; see cmd/command.h. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "error.h"

#define LEAST_SECONDS 0.01
#define MOST_SECONDS  86400

char *next_word(struct args *args)
{
	if (!args->count)
		return NULL;
	args->count--;
	return *args->word++;
}

bool accept_word(struct args *args, const char *word)
{
	if (!args->count || strcmp(args->word[0], word))
		return false;
	next_word(args);
	return true;
}

char *value_of(struct args *args, const char *word)
{
	char *value = next_word(args);

	if (!value)
		misuse("'%s' needs a value behind it", word);
	return value;
}

int no_more_words(struct args *args)
{
	return args->count
		       ? misuse("'%s' is not expected here; -h behind the command shows what is",
				args->word[0])
		       : 0;
}

int parse_number(const char *what, const char *text, long least, long most, long *number)
{
	const char *digits = text + (*text == '-');
	char *end;
	long value;

	/* strtol would also take blanks and '+' in front. */
	if (!isdigit((unsigned char)*digits))
		return misuse("%s '%s' is not a number", what, text);
	errno = 0;
	value = strtol(text, &end, 10);
	if (*end)
		return misuse("%s '%s' is not a number", what, text);
	if (errno || value < least || value > most)
		return misuse("%s %s is not between %ld and %ld", what, text, least, most);
	*number = value;
	return 0;
}

int parse_seconds(const char *what, const char *text, double *seconds)
{
	char *end;
	double value;

	/* strtod would also take hexadecimal, "inf" and "nan". */
	if (!*text || text[strspn(text, "0123456789.")])
		return misuse("%s '%s' is not a number of seconds", what, text);
	value = strtod(text, &end);
	if (end == text || *end)
		return misuse("%s '%s' is not a number of seconds", what, text);
	if (value < LEAST_SECONDS || value > MOST_SECONDS)
		return misuse("%s %s is not between %g and %d seconds", what, text, LEAST_SECONDS,
			      MOST_SECONDS);
	*seconds = value;
	return 0;
}
