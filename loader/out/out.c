// SPDX-License-Identifier: GPL-2.0
#include "out.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "loader/base/error.h"
#include "loader/base/options.h"

/* Enough for any rate or ratio, and 0.1 stays "0.1". */
#define DIGITS JSON_REAL_PRECISION(12)

static struct style terminal_style(int *height)
{
	const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
	struct winsize size = {0};
	struct style style = {0};

	*height = 0;
	if (!isatty(STDOUT_FILENO))
		return style;
	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size)) {
		style.width = size.ws_col;
		style.fold = size.ws_col;
		*height = size.ws_row;
	}
	style.colour = !(no_colour && *no_colour) && term && strcmp(term, "dumb");
	return style;
}

/* Returns 0 or the negative errno. With SIGPIPE a reader that leaves would kill us unheard. */
static int write_out(const char *text, size_t size)
{
	signal(SIGPIPE, SIG_IGN);
	errno = 0;
	if (fwrite(text, 1, size, stdout) == size && !fflush(stdout))
		return 0;
	return errno ? -errno : -EIO;
}

static int report(int err)
{
	return err ? fail(err, "standard output: %s; the output is incomplete", strerror(-err)) : 0;
}

static int out_of_memory(void)
{
	return fail(-ENOMEM, "out of memory");
}

static int write_json(const json_t *document, size_t flags)
{
	char *text = json_dumps(document, flags | DIGITS);
	size_t size;
	int err;

	if (!text)
		return -ENOMEM;
	size = strlen(text);
	text[size++] = '\n'; /* in place of the terminating 0, which fwrite does not need */
	err = write_out(text, size);
	free(text);
	return err;
}

int out_show(json_t *document, const struct table *tables, int count)
{
	struct style style;
	char *text = NULL;
	size_t size = 0;
	int err, height;
	FILE *f;

	if (!document)
		return out_of_memory();
	if (options.json) {
		err = write_json(document, options.pretty ? JSON_INDENT(2) : JSON_COMPACT);
		json_decref(document);
		return report(err);
	}
	f = open_memstream(&text, &size);
	if (!f) {
		json_decref(document);
		return out_of_memory();
	}
	style = terminal_style(&height);
	for (int i = 0, shown = 0; i < count; i++) {
		if (!table_shows(&tables[i], document))
			continue;
		if (shown++)
			fputc('\n', f);
		table_print(f, &tables[i], document, style, NULL, true);
	}
	json_decref(document);
	err = fclose(f) ? -ENOMEM : write_out(text, size);
	free(text);
	return report(err);
}

/* NULL: only the titles. */
static int write_row(struct out_stream *stream, const json_t *row)
{
	json_t *rows = row ? json_pack("[O]", row) : json_array();
	struct table table = *stream->table;
	struct style style;
	char *text = NULL;
	size_t size = 0;
	int err, height;
	FILE *f;

	f = rows ? open_memstream(&text, &size) : NULL;
	if (!f) {
		json_decref(rows);
		return -ENOMEM;
	}
	style = terminal_style(&height);
	if (height > 2 && stream->lines >= height - 1)
		stream->lines = 0;
	table.rows = NULL;
	if (row)
		table_print(f, &table, rows, style, stream->widths, !stream->lines);
	else
		table_titles(f, &table, style, stream->widths);
	json_decref(rows);
	err = fclose(f) ? -ENOMEM : write_out(text, size);
	for (size_t i = 0; i < size; i++)
		stream->lines += text[i] == '\n';
	free(text);
	return err;
}

int out_row(struct out_stream *stream, json_t *row)
{
	int err;

	if (!row)
		return out_of_memory();
	err = options.json ? write_json(row, JSON_COMPACT) : write_row(stream, row);
	json_decref(row);
	return err == -EPIPE ? OUT_CLOSED : report(err);
}

int out_titles(struct out_stream *stream)
{
	return options.json || !isatty(STDOUT_FILENO) ? 0 : report(write_row(stream, NULL));
}

int out_text(const char *format, ...)
{
	va_list args;
	char *text;
	int size, err;

	va_start(args, format);
	size = vasprintf(&text, format, args);
	va_end(args);
	if (size < 0)
		return out_of_memory();
	text[size] = '\n';
	err = write_out(text, size + 1);
	free(text);
	return report(err);
}

json_t *out_string(const char *text)
{
	json_t *string = json_string(text);
	char *copy;

	if (string)
		return string;
	copy = strdup(text);
	if (!copy)
		return NULL;
	for (char *at = copy; *at; at++)
		if (*at & 0x80)
			*at = '?';
	string = json_string(copy);
	free(copy);
	return string;
}

json_t *out_real(double value)
{
	return isnan(value) ? json_null() : json_real(value);
}
