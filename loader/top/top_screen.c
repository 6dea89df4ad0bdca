// SPDX-License-Identifier: GPL-2.0
#include "top_screen.h"

#include <curses.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loader/base/error.h"

#define ESCAPE_WAIT_MS 25 /* for the rest of an arrow key's sequence */

static SCREEN *screen;
static sigset_t open_signals; /* while waiting for a key */
static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	(void)number;
	interrupted = 1;
}

/* They arrive only while we wait for a key: a picture is always drawn to its end, and none is
 * missed between a look at the flag and the wait. */
static void catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal};
	sigset_t held;

	sigemptyset(&held);
	sigaddset(&held, SIGINT);
	sigaddset(&held, SIGTERM);
	sigaddset(&held, SIGHUP);
	sigprocmask(SIG_BLOCK, &held, &open_signals);
	sigdelset(&open_signals, SIGINT);
	sigdelset(&open_signals, SIGTERM);
	sigdelset(&open_signals, SIGHUP);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

int screen_open(void)
{
	const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");

	unit_utf8(); /* sets the locale that ncurses goes by */
	setenv("ESCDELAY", "25", 0);
	screen = newterm(NULL, stdout, stdin);
	if (!screen)
		return fail(
			-ENOTTY,
			"top: the terminal '%s' is not known here; set TERM, to xterm for example",
			term ? term : "");
	catch_signals();
	cbreak();
	noecho();
	nonl();
	intrflush(stdscr, FALSE);
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	curs_set(0);
	if (has_colors() && !(no_colour && *no_colour)) {
		start_color();
		use_default_colors();
		for (short c = COLOR_RED; c <= COLOR_YELLOW; c++)
			init_pair(c, c, -1);
	}
	return 0;
}

void screen_close(void)
{
	if (!screen)
		return;
	endwin();
	delscreen(screen);
	screen = NULL;
}

static enum press translate(int key)
{
	switch (key) {
	case 'q':
	case 'Q': return PRESS_QUIT;
	case 'p':
	case ' ': return PRESS_PAUSE;
	case '+':
	case '=': return PRESS_SLOWER;
	case '-': return PRESS_FASTER;
	case '\t':
	case 'j':
	case KEY_DOWN: return PRESS_NEXT;
	case 'k':
	case KEY_BTAB:
	case KEY_UP: return PRESS_PREVIOUS;
	case KEY_RESIZE: return PRESS_REDRAW;
	default: return PRESS_NONE;
	}
}

static bool time_left(const struct timespec *until, struct timespec *left)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	left->tv_sec = until->tv_sec - now.tv_sec;
	left->tv_nsec = until->tv_nsec - now.tv_nsec;
	if (left->tv_nsec < 0) {
		left->tv_nsec += 1000000000;
		left->tv_sec--;
	}
	return left->tv_sec >= 0;
}

enum press screen_key(const struct timespec *until)
{
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
	struct timespec left;

	while (time_left(until, &left)) {
		int ready = ppoll(&in, 1, &left, &open_signals);
		enum press press;
		int key;

		if (interrupted || in.revents & (POLLHUP | POLLERR | POLLNVAL))
			return PRESS_QUIT;
		key = getch();
		if (ready > 0 && key == ERR)
			return PRESS_QUIT; /* readable and nothing there: the end of the input */
		press = key == ERR ? PRESS_NONE : translate(key);
		if (press != PRESS_NONE)
			return press;
	}
	return PRESS_NONE;
}

int screen_width(void)
{
	return getmaxx(stdscr);
}

int screen_height(void)
{
	return getmaxy(stdscr);
}

void screen_begin(void)
{
	erase();
}

void screen_end(void)
{
	refresh();
}

/* Follows the few sequences that table.c writes; returns the text behind one. */
static const char *set_attributes(const char *text)
{
	int code = atoi(text + 2);

	if (code == 1)
		attron(A_BOLD);
	else if (code == 2)
		attron(A_DIM);
	else if (code >= 31 && code <= 33)
		attron(COLOR_PAIR(code - 30));
	else
		attrset(A_NORMAL);
	return strchr(text, 'm') + 1;
}

/* `text` is not wider than the screen. */
static void draw(int y, int x, char *text, bool reverse)
{
	const char *at = text;

	if (y < 0 || y >= LINES || x >= COLS)
		return;
	move(y, x);
	attrset(reverse ? A_REVERSE : A_NORMAL);
	while (*at) {
		size_t plain = strcspn(at, "\033");

		addnstr(at, plain);
		at += plain;
		if (!*at)
			break;
		at = reverse ? strchr(at, 'm') + 1 : set_attributes(at);
	}
	attrset(A_NORMAL);
}

void screen_text(int y, int x, const char *text, bool reverse)
{
	static const struct column column = COLUMN("text", "", UNIT_TEXT);
	struct table table = {.columns = &column, .count = 1};
	json_t *document = json_pack("[{s:o}]", "text", json_string(text));
	struct style style = {.width = COLS - x};
	char *line = NULL;
	size_t size = 0;
	FILE *f = x < COLS ? open_memstream(&line, &size) : NULL;

	if (f) {
		table_print(f, &table, document, style, NULL, false);
		fclose(f);
		line[strcspn(line, "\n")] = '\0';
		draw(y, x, line, reverse);
	}
	free(line);
	json_decref(document);
}

int screen_table(int y, int x, int width, int room, const struct table *table,
		 const json_t *document, int selected)
{
	int lines = 0, first_row = 1 + (table->heading != NULL);
	struct style style = {.width = width, .colour = has_colors()};
	char *text = NULL, *rest, *line;
	size_t size = 0;
	FILE *f;

	if (width <= 0 || room <= 0)
		return 0;
	f = open_memstream(&text, &size);
	if (!f)
		return 0;
	table_print(f, table, document, style, NULL, true);
	fclose(f);
	rest = text;
	while (lines < room && (line = strsep(&rest, "\n")) && rest) {
		draw(y + lines, x, line, selected >= 0 && lines == first_row + selected);
		lines++;
	}
	free(text);
	return lines;
}

json_t *screen_bars(const double *values, int count)
{
	static const char *const blocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	static const char *const ascii[] = {" ", ".", ".", ":", "-", "=", "+", "*", "#"};
	const char *const *bars = unit_utf8() ? blocks : ascii;
	char text[512] = "";
	double most = 0;
	size_t used = 0;

	for (int i = 0; i < count; i++)
		if (values[i] > most)
			most = values[i];
	for (int i = 0; i < count && used + 4 < sizeof(text); i++) {
		int height = most > 0 ? (int)(values[i] / most * 8 + 0.5) : 0;

		if (!height && values[i] > 0)
			height = 1;
		used += snprintf(text + used, sizeof(text) - used, "%s", bars[height]);
	}
	return json_string(text);
}
