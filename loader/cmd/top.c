// SPDX-License-Identifier: GPL-2.0
/* weir top: the rates of all devices and, of the one selected, what they are made of; services and
 * rules. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "loader/service/service_view.h"
#include "loader/base/error.h"
#include "loader/base/options.h"
#include "loader/rules/rule_rates.h"
#include "loader/watch/tracker.h"
#include "loader/top/top_screen.h"
#include "loader/top/top_view.h"

#define FIRST_SECONDS 0.5 /* to the first rates */

static const double intervals[] = {0.2, 0.5, 1, 2, 5, 10, 30, 60};

#define INTERVALS (sizeof(intervals) / sizeof(intervals[0]))

struct top {
	struct tracker tracker;
	struct rule_rates rules;
	struct service_view services;
	struct history *history;
	size_t histories;
	struct timespec next; /* reading, CLOCK_MONOTONIC */
	size_t pace;	      /* index into intervals */
	size_t selected;
	bool paused;
	char selected_name[IFNAMSIZ];
};

static void schedule(struct top *t, double seconds)
{
	clock_gettime(CLOCK_MONOTONIC, &t->next);
	t->next.tv_sec += (time_t)seconds;
	t->next.tv_nsec += (long)((seconds - (time_t)seconds) * 1e9);
	if (t->next.tv_nsec >= 1000000000) {
		t->next.tv_nsec -= 1000000000;
		t->next.tv_sec++;
	}
}

static struct history *history_of(struct top *t, const char *name)
{
	struct history *grown;

	for (size_t i = 0; i < t->histories; i++)
		if (!strcmp(t->history[i].name, name))
			return &t->history[i];
	grown = reallocarray(t->history, t->histories + 1, sizeof(*grown));
	if (!grown)
		return NULL;
	t->history = grown;
	grown += t->histories++;
	memset(grown, 0, sizeof(*grown));
	strcpy(grown->name, name);
	return grown;
}

static void remember(struct history *history, double rate)
{
	memmove(history->rate, history->rate + 1, sizeof(history->rate) - sizeof(history->rate[0]));
	history->rate[HISTORY - 1] = rate;
}

/* The selection stays with its device when others come and go. */
static void keep_selection(struct top *t)
{
	size_t at = 0;

	for (size_t i = 0; i < t->tracker.count; i++) {
		const struct tracked *item = &t->tracker.items[i];

		if (item->gone)
			continue;
		if (!strcmp(item->name, t->selected_name)) {
			t->selected = at;
			return;
		}
		at++;
	}
	t->selected = at && t->selected >= at ? at - 1 : t->selected;
	t->selected_name[0] = '\0';
}

static int read_again(struct top *t)
{
	int err = tracker_read(&t->tracker);

	for (size_t i = 0; i < t->tracker.count && !err; i++) {
		const struct tracked *item = &t->tracker.items[i];
		struct history *history;

		if (!item->rated || item->delta.seconds <= 0)
			continue;
		history = history_of(t, item->name);
		if (history)
			remember(history,
				 counters_of_all(&item->delta.total).packets / item->delta.seconds);
	}
	keep_selection(t);
	if (!err)
		err = rule_rates_read(&t->rules);
	return err ? err : service_view_read(&t->services);
}

static void move_selection(struct top *t, size_t step)
{
	size_t at = 0;

	if (!t->tracker.alive)
		return;
	t->selected = (t->selected + step) % t->tracker.alive;
	for (size_t i = 0; i < t->tracker.count; i++)
		if (!t->tracker.items[i].gone && at++ == t->selected)
			strcpy(t->selected_name, t->tracker.items[i].name);
}

static void obey(struct top *t, enum press press)
{
	switch (press) {
	case PRESS_PAUSE: t->paused = !t->paused; break;
	case PRESS_FASTER: t->pace -= t->pace > 0; break;
	case PRESS_SLOWER: t->pace += t->pace < INTERVALS - 1; break;
	case PRESS_NEXT: move_selection(t, 1); break;
	case PRESS_PREVIOUS: move_selection(t, t->tracker.alive - 1); break;
	default: break;
	}
	if (press == PRESS_FASTER || press == PRESS_SLOWER)
		schedule(t, intervals[t->pace]);
}

static int run(struct top *t)
{
	int err = read_again(t);

	schedule(t, FIRST_SECONDS);
	while (!err) {
		enum press press;

		top_draw(&t->tracker, t->history, t->histories,
			 (struct top_rows){t->rules.rows, t->services.services}, t->selected,
			 intervals[t->pace], t->paused);
		press = screen_key(&t->next);
		if (press == PRESS_QUIT)
			return 0;
		obey(t, press);
		if (press != PRESS_NONE)
			continue;
		schedule(t, intervals[t->pace]);
		if (!t->paused)
			err = read_again(t);
	}
	return err;
}

/* The pace nearest to what the user asked for. */
static size_t pace_of(double seconds)
{
	size_t i = 0;

	while (i < INTERVALS - 1 && intervals[i] < seconds)
		i++;
	return i;
}

static int parse(struct args *args, double *seconds, const char **device)
{
	while (args->count) {
		if (accept_word(args, "-i")) {
			const char *text = value_of(args, "-i");

			if (!text || parse_seconds("interval", text, seconds))
				return -EINVAL;
		} else if (!*device && args->word[0][0] != '-') {
			*device = next_word(args);
		} else {
			return no_more_words(args);
		}
	}
	return 0;
}

int cmd_top(struct args *args)
{
	struct top top = {0};
	double seconds = 1;
	int err = parse(args, &seconds, &top.tracker.only);

	if (err)
		return err;
	if (options.json)
		return misuse("top is for people; 'weir -j stats -i 1' gives the same as JSON");
	if (!isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO))
		return misuse("top needs a terminal; 'weir stats -i 1' writes lines");
	top.pace = pace_of(seconds);
	err = screen_open();
	if (err)
		return err;
	err = run(&top);
	screen_close();
	tracker_free(&top.tracker);
	rule_rates_free(&top.rules);
	service_view_free(&top.services);
	free(top.history);
	return err;
}
