// SPDX-License-Identifier: GPL-2.0
#include "table.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CELL	    512
#define GAP	    "  "
#define NOTE_INDENT 6
#define FOLD_INDENT 4

#define BOLD   "\033[1m"
#define FAINT  "\033[2m"
#define RED    "\033[31m"
#define GREEN  "\033[32m"
#define YELLOW "\033[33m"
#define PLAIN  "\033[0m"

json_t *table_lookup(const json_t *object, const char *path)
{
	char key[64];

	while (object && *path) {
		size_t len = strcspn(path, ".");

		if (len >= sizeof(key))
			return NULL;
		memcpy(key, path, len);
		key[len] = '\0';
		object = json_object_get(object, key);
		path += len + (path[len] == '.');
	}
	return (json_t *)object;
}

/* Columns of the terminal that UTF-8 text takes; all that weir prints is one column wide. */
static int text_width(const char *text)
{
	int width = 0;

	for (; *text; text++)
		width += (*text & 0xc0) != 0x80;
	return width;
}

/* Names come from outside and could carry terminal control sequences. */
static void disarm(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

static void join(char out[CELL], const json_t *array)
{
	const json_t *item;
	size_t i, used = 0;

	out[0] = '\0';
	json_array_foreach (array, i, item) {
		const char *text = json_string_value(item);

		if (!text || used >= CELL)
			continue;
		used += snprintf(out + used, CELL - used, "%s%s", used ? "," : "", text);
	}
	if (!used)
		strcpy(out, "-");
}

static void format_clock(char out[CELL], const char *utc)
{
	struct tm tm = {0}, local;
	const char *fraction = strptime(utc, "%Y-%m-%dT%H:%M:%S", &tm);
	time_t then;

	if (!fraction) {
		snprintf(out, CELL, "%s", utc);
		return;
	}
	then = timegm(&tm);
	strftime(out, CELL, "%H:%M:%S", localtime_r(&then, &local));
	strncat(out, fraction, strcspn(fraction, "Z"));
}

static void format_cell(char out[CELL], const struct column *column, const json_t *value)
{
	if (json_is_string(value) && column->unit == UNIT_CLOCK)
		format_clock(out, json_string_value(value));
	else if (json_is_string(value) && *json_string_value(value))
		snprintf(out, CELL, "%s", json_string_value(value));
	else if (json_is_boolean(value))
		strcpy(out, json_is_true(value) ? "yes" : "no");
	else if (json_is_number(value))
		unit_format(out, column->unit, json_number_value(value));
	else if (json_is_array(value))
		join(out, value);
	else
		strcpy(out, "-");
	disarm(out);
}

static const char *colour_of(const struct column *column, const json_t *value, const char *text)
{
	switch (column->mark) {
	case MARK_NONE: return NULL;
	case MARK_FAINT: return FAINT;
	case MARK_ALARM: return json_number_value(value) > 0 ? RED : NULL;
	case MARK_LEVEL:
		return !strcmp(text, "ok")     ? GREEN
		       : !strcmp(text, "warn") ? YELLOW
		       : !strcmp(text, "fail") ? RED
					       : NULL;
	}
	return NULL;
}

static bool right_aligned(const struct column *column)
{
	return column->align == ALIGN_RIGHT ||
	       (column->align == ALIGN_AUTO && column->unit != UNIT_TEXT &&
		column->unit != UNIT_CLOCK);
}

/* The part of path behind "group.", or NULL when it does not lead into the group. */
static const char *in_group(const struct table *table, const char *path)
{
	size_t len = table->group ? strlen(table->group) : 0;

	return len && !strncmp(path, table->group, len) && path[len] == '.' ? path + len + 1 : NULL;
}

struct line {
	const json_t *row;
	const json_t *sub; /* element of the group, or NULL */
	bool first;	   /* of its row */
};

/* Returns NULL for a cell that stays blank. */
static const json_t *cell_value(const struct table *table, const struct column *column,
				const struct line *line, bool *blank)
{
	const char *inner = in_group(table, column->path);

	*blank = inner ? !line->sub : !line->first;
	if (*blank)
		return NULL;
	return inner ? table_lookup(line->sub, inner) : table_lookup(line->row, column->path);
}

static void cell_text(char out[CELL], const struct table *table, int c, const struct line *line)
{
	bool blank;
	const json_t *value = cell_value(table, &table->columns[c], line, &blank);

	if (blank)
		out[0] = '\0';
	else
		format_cell(out, &table->columns[c], value);
}

/* Cuts text, in place, to `room` columns; what is cut is said by the last one. */
static void cut(char *text, int room)
{
	const char *sign = unit_utf8() ? "…" : ">";
	int width = 0;
	char *at;

	if (text_width(text) <= room)
		return;
	for (at = text; *at; at++) {
		if ((*at & 0xc0) == 0x80)
			continue;
		if (width++ == room - 1)
			break;
	}
	if (room > 0)
		memcpy(at, sign, strlen(sign) + 1);
	else
		text[0] = '\0';
}

struct cursor {
	FILE *f;
	struct style style;
	int at;	     /* column */
	int pending; /* blanks that nothing has followed yet: a line never ends in one */
};

static void put(struct cursor *c, const char *text, const char *colour)
{
	char cell[CELL + 4];

	if (!*text)
		return;
	snprintf(cell, CELL, "%s", text);
	if (c->style.width)
		cut(cell, c->style.width - c->at - c->pending);
	if (!*cell)
		return;
	fprintf(c->f, "%*s", c->pending, "");
	c->at += c->pending + text_width(cell);
	c->pending = 0;
	if (colour && c->style.colour)
		fprintf(c->f, "%s%s" PLAIN, colour, cell);
	else
		fputs(cell, c->f);
}

static void put_aligned(struct cursor *c, const char *text, const char *colour, bool right,
			int width)
{
	int blanks = width - text_width(text);

	if (right)
		c->pending += blanks;
	put(c, text, colour);
	if (!right)
		c->pending += blanks;
	c->pending += strlen(GAP);
}

static void end_line(struct cursor *c)
{
	fputc('\n', c->f);
	c->at = c->pending = 0;
}

/* The column behind those on the line that begins with column `from`: there is one at least. */
static int line_end(const struct cursor *c, const struct table *table, const int *widths, int from)
{
	int at = from ? FOLD_INDENT : 0, i = from;

	if (!c->style.fold)
		return table->count;
	for (; i < table->count; i++) {
		at += widths[i];
		if (i > from && at > c->style.width)
			break;
		at += strlen(GAP);
	}
	return i;
}

static void print_titles(struct cursor *c, const struct table *table, const int *widths)
{
	for (int i = 0, end; i < table->count;) {
		end = line_end(c, table, widths, i);
		c->pending = i ? FOLD_INDENT : 0;
		for (; i < end; i++)
			put_aligned(c, table->columns[i].title, BOLD,
				    right_aligned(&table->columns[i]), widths[i]);
		end_line(c);
	}
}

static bool says_nothing(const struct table *table, int from, int to, const struct line *line)
{
	char text[CELL];

	for (int i = from; i < to; i++) {
		cell_text(text, table, i, line);
		if (*text && strcmp(text, "-"))
			return false;
	}
	return true;
}

static void print_cells(struct cursor *c, const struct table *table, const int *widths,
			const struct line *line, int from, int to)
{
	char text[CELL];

	for (int i = from; i < to; i++) {
		const struct column *column = &table->columns[i];
		bool blank;
		const json_t *value = cell_value(table, column, line, &blank);

		cell_text(text, table, i, line);
		put_aligned(c, text, colour_of(column, value, text), right_aligned(column),
			    widths[i]);
	}
	end_line(c);
}

static void print_line(struct cursor *c, const struct table *table, const int *widths,
		       const struct line *line)
{
	for (int from = 0, to; from < table->count; from = to) {
		to = line_end(c, table, widths, from);
		if (from && says_nothing(table, from, to, line))
			continue;
		c->pending = from ? FOLD_INDENT : 0;
		print_cells(c, table, widths, line, from, to);
	}
}

/* Text below a row is for copying, commands for example: it is better wrapped than cut. */
static void print_below(struct cursor *c, const char *sign, const char *below)
{
	struct style style = c->style;
	char text[CELL];

	snprintf(text, sizeof(text), "%s%s", sign, below);
	disarm(text);
	c->style.width = 0;
	c->pending = NOTE_INDENT;
	put(c, text, FAINT);
	end_line(c);
	c->style = style;
}

static void print_note(struct cursor *c, const struct table *table, const json_t *row)
{
	const char *note = table->note ? json_string_value(table_lookup(row, table->note)) : NULL;

	if (note)
		print_below(c, unit_utf8() ? "→ " : "-> ", note);
}

static void print_list(struct cursor *c, const struct table *table, const json_t *row)
{
	const json_t *list = table->list ? table_lookup(row, table->list) : NULL, *item;
	size_t i;

	json_array_foreach (list, i, item)
		if (json_is_string(item))
			print_below(c, "", json_string_value(item));
}

static void print_texts(struct cursor *c, const struct table *table, const json_t *row)
{
	print_list(c, table, row);
	print_note(c, table, row);
}

static void widen(const struct table *table, int *widths, const struct line *line)
{
	char text[CELL];

	for (int i = 0; i < table->count; i++) {
		cell_text(text, table, i, line);
		if (text_width(text) > widths[i])
			widths[i] = text_width(text);
	}
}

/* Rows that are shown. */
static size_t count_rows(const struct table *table, const json_t *rows)
{
	size_t count = json_array_size(rows);

	return table->most && count > (size_t)table->most ? (size_t)table->most : count;
}

static size_t count_lines(const struct table *table, const json_t *rows)
{
	size_t count = count_rows(table, rows), lines = 0;

	for (size_t i = 0; i < count; i++) {
		const json_t *row = json_array_get(rows, i);
		size_t subs =
			table->group ? json_array_size(json_object_get(row, table->group)) : 0;

		lines += subs ? subs : 1;
	}
	return lines;
}

static void spread(const struct table *table, const json_t *rows, struct line *line)
{
	size_t count = count_rows(table, rows);

	for (size_t i = 0; i < count; i++) {
		const json_t *row = json_array_get(rows, i);
		const json_t *group = table->group ? json_object_get(row, table->group) : NULL;
		size_t subs = json_array_size(group);

		*line++ = (struct line){row, json_array_get(group, 0), true};
		for (size_t s = 1; s < subs; s++)
			*line++ = (struct line){row, json_array_get(group, s), false};
	}
}

static const json_t *rows_of(const struct table *table, const json_t *document)
{
	return table->rows ? table_lookup(document, table->rows) : document;
}

bool table_shows(const struct table *table, const json_t *document)
{
	return table->empty || json_array_size(rows_of(table, document));
}

static void set_least_widths(const struct table *table, int *widths)
{
	for (int i = 0; i < table->count; i++) {
		const struct column *column = &table->columns[i];
		int least = text_width(column->title);

		if (least < column->width)
			least = column->width;
		if (widths[i] < least)
			widths[i] = least;
	}
}

static void print_lines(struct cursor *c, const struct table *table, const struct line *lines,
			size_t count, int *widths, bool titles)
{
	set_least_widths(table, widths);
	for (size_t i = 0; i < count; i++)
		widen(table, widths, &lines[i]);
	if (titles)
		print_titles(c, table, widths);
	for (size_t i = 0; i < count; i++) {
		print_line(c, table, widths, &lines[i]);
		if (i + 1 == count || lines[i + 1].first)
			print_texts(c, table, lines[i].row);
	}
}

void table_titles(FILE *f, const struct table *table, struct style style, int *widths)
{
	struct cursor c = {.f = f, .style = style};

	print_lines(&c, table, NULL, 0, widths, true);
}

static void print_rest(struct cursor *c, const struct table *table, const json_t *rows)
{
	size_t left = json_array_size(rows) - count_rows(table, rows);
	char text[80];

	if (!left)
		return;
	snprintf(text, sizeof(text), "and %zu more: -j has them all", left);
	put(c, text, FAINT);
	end_line(c);
}

void table_print(FILE *f, const struct table *table, const json_t *document, struct style style,
		 int *widths, bool titles)
{
	const json_t *rows = rows_of(table, document);
	size_t count = count_lines(table, rows);
	struct cursor c = {.f = f, .style = style};
	int fresh[TABLE_COLUMNS] = {0};
	struct line *lines;

	if (!table_shows(table, document))
		return;
	if (!count) {
		put(&c, table->empty, NULL);
		end_line(&c);
		return;
	}
	if (table->heading) {
		put(&c, table->heading, BOLD);
		end_line(&c);
	}
	lines = calloc(count, sizeof(*lines));
	if (!lines)
		return;
	spread(table, rows, lines);
	print_lines(&c, table, lines, count, widths ? widths : fresh, titles);
	free(lines);
	print_rest(&c, table, rows);
}
