// SPDX-License-Identifier: GPL-2.0
/* Who is promoted to the short cut: every reason against it, and the traffic for which it pays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "loader/tend/lives.h"
#include "loader/tend/policy.h"

struct ends {
	struct weir_sock_record end[WEIR_ENDS];
};

/* Twenty requests and answers, all bytes accounted for, by sockets that do not block. */
static struct ends fit(void)
{
	struct ends e = {};

	for (int i = 0; i < WEIR_ENDS; i++) {
		struct weir_sock_record *r = &e.end[i];

		r->flags = WEIR_SOCK_NONBLOCK;
		r->sock.end = i;
		r->sock.port = 8080;
		r->sock.state = WEIR_SOCK_OBSERVED;
		r->sock.evidence = (struct weir_evidence){
			.received = 2000,
			.sent = 2000,
			.recvs = 20,
			.sends = 20,
			.empty = 20,
			.turns = 20,
			.copied = 0xffffff00,
		};
		r->copied_seq = 0xffffff00 + 2000;
	}
	return e;
}

static struct sock_judgement judge(const struct ends *e)
{
	const struct weir_sock_record *const ends[WEIR_ENDS] = {&e->end[0], &e->end[1]};

	return sock_judge(ends);
}

static void assert_refused(const struct ends *e, enum weir_refusal reason)
{
	struct sock_judgement j = judge(e);

	assert_int_equal(j.verdict, SOCK_REFUSE);
	assert_int_equal(j.reason, reason);
}

static void test_requests_and_answers(void **state)
{
	struct ends e = fit();

	(void)state;
	assert_int_equal(judge(&e).verdict, SOCK_PROMOTE);
	e.end[0].sock.evidence.turns = 2;
	assert_int_equal(judge(&e).verdict, SOCK_WAIT);
}

/* Whichever end it is that does what a short cut cannot. */
static void test_each_refusal(void **state)
{
	static const struct {
		__u32 saw, flags;
		enum weir_refusal reason;
	} cases[] = {
		{WEIR_SAW_BLOCKING, 0, WEIR_R_BLOCKING},
		{WEIR_SAW_WAITALL, 0, WEIR_R_CALLS},
		{WEIR_SAW_OOB, 0, WEIR_R_CALLS},
		{WEIR_SAW_TRUNC, 0, WEIR_R_CALLS},
		{WEIR_SAW_ZEROCOPY, 0, WEIR_R_ZEROCOPY},
		{0, WEIR_SOCK_ZEROCOPY, WEIR_R_ZEROCOPY},
		{0, WEIR_SOCK_ULP, WEIR_R_ULP},
		{0, WEIR_SOCK_LOWAT, WEIR_R_LOWAT},
		{0, WEIR_SOCK_BUSY, WEIR_R_BUSY_POLL},
		{0, WEIR_SOCK_OPTIONS, WEIR_R_OPTIONS},
		{0, WEIR_SOCK_URGENT, WEIR_R_URGENT_PORT},
		{0, WEIR_SOCK_TWICE, WEIR_R_TWICE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (int end = 0; end < WEIR_ENDS; end++) {
			struct ends e = fit();

			e.end[end].sock.evidence.saw = cases[i].saw;
			e.end[end].flags |= cases[i].flags;
			assert_refused(&e, cases[i].reason);
			assert_int_equal(judge(&e).end, end);
		}
}

static void test_blocking_socket(void **state)
{
	struct ends e = fit();

	(void)state;
	e.end[1].flags = 0;
	assert_refused(&e, WEIR_R_BLOCKING);
}

static void test_urgent_ports(void **state)
{
	static const __u16 ports[] = {21, 23, 513, 514};

	(void)state;
	for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
		struct ends e = fit();

		e.end[1].sock.port = ports[i];
		assert_refused(&e, WEIR_R_URGENT_PORT);
	}
}

static void test_other_reads(void **state)
{
	struct ends e = fit();

	(void)state;
	e.end[0].sock.evidence.odd = 1;
	assert_refused(&e, WEIR_R_OTHER_READS);

	/* All of it by splice(): no call was seen at all. */
	e = fit();
	e.end[0].sock.evidence = (struct weir_evidence){.copied = 5};
	e.end[0].copied_seq = 5 + (1 << 20);
	assert_refused(&e, WEIR_R_OTHER_READS);

	/* A call may be under way: not now. */
	e = fit();
	e.end[0].copied_seq += 100;
	assert_int_equal(judge(&e).verdict, SOCK_WAIT);
}

static void test_spinning_reader(void **state)
{
	struct ends e = fit();

	(void)state;
	e.end[1].sock.evidence.empty = 5000;
	assert_refused(&e, WEIR_R_SPINNING);
}

static struct ends stream(__u32 sends, __u32 size)
{
	struct ends e = fit();

	e.end[0].sock.evidence.sends = sends;
	e.end[0].sock.evidence.sent = (__u64)sends * size;
	e.end[0].sock.evidence.turns = 1;
	e.end[1].sock.evidence.turns = 1;
	e.end[1].sock.evidence.sends = 1;
	return e;
}

static void test_streams(void **state)
{
	struct ends e = stream(300, 1024);

	(void)state;
	assert_refused(&e, WEIR_R_ONE_WAY);
	e = stream(300, 65536);
	assert_int_equal(judge(&e).verdict, SOCK_PROMOTE);
	e = stream(20, 1024);
	assert_int_equal(judge(&e).verdict, SOCK_WAIT);

	/* How the sender reads what comes back was not seen. */
	e = stream(300, 65536);
	e.end[0].sock.evidence.recvs = 0;
	e.end[0].sock.evidence.received = 0;
	e.end[0].copied_seq = e.end[0].sock.evidence.copied;
	assert_int_not_equal(judge(&e).verdict, SOCK_PROMOTE);

	/* Nor how the reader does. */
	e = stream(300, 65536);
	e.end[1].sock.evidence.recvs = 0;
	e.end[1].sock.evidence.received = 0;
	e.end[1].copied_seq = e.end[1].sock.evidence.copied;
	assert_int_not_equal(judge(&e).verdict, SOCK_PROMOTE);
}

static void test_again(void **state)
{
	(void)state;
	assert_true(sock_judge_again(WEIR_R_CALLS, 0) == WEIR_NEVER);
	assert_true(sock_judge_again(WEIR_R_SETTINGS, 0) == WEIR_NEVER);
	assert_true(sock_judge_again(WEIR_R_ONE_WAY, 0) < sock_judge_again(WEIR_R_ONE_WAY, 3));
	assert_true(sock_judge_again(WEIR_R_ONE_WAY, 255) <= 64000000000ull);
}

/* ---- ports of short connections ---- */

static struct weir_lives lives[WEIR_LIVES];
static struct lives_note notes[WEIR_LIVES];
static struct sock_maps maps = {.lives = lives};

static int begin(void **state)
{
	(void)state;
	memset(lives, 0, sizeof(lives));
	memset(notes, 0, sizeof(notes));
	return 0;
}

/* As the program at their birth has it. */
static bool is_passed_over(unsigned int port)
{
	return (__s32)(lives[port].born - lives[port].good) >= WEIR_BURST;
}

static void test_short_lives(void **state)
{
	(void)state;
	lives[80].born = 100;
	lives_look(&maps, notes);
	assert_false(is_passed_over(80)); /* they have had no time to last */
	lives_look(&maps, notes);
	assert_true(is_passed_over(80));
	assert_false(is_passed_over(81));
}

static void test_a_burst_that_lasts(void **state)
{
	(void)state;
	lives[80].born = 100;
	lives_look(&maps, notes);
	lives[80].lasted = 100;
	lives_look(&maps, notes);
	assert_false(is_passed_over(80));
}

/* More at once than are remembered without a look: they are judged when they had time to last. */
static void test_a_large_burst_that_lasts(void **state)
{
	(void)state;
	lives[80].born = WEIR_BURST;
	assert_true(is_passed_over(80));
	lives_look(&maps, notes);
	assert_true(is_passed_over(80));
	lives[80].lasted = WEIR_BURST;
	lives_look(&maps, notes);
	assert_false(is_passed_over(80));
	lives[80].born += WEIR_BURST - 1;
	assert_false(is_passed_over(80));
}

static void test_lives_that_grow_longer(void **state)
{
	(void)state;
	test_short_lives(state);
	lives[80].born += 20;
	lives[80].lasted += 10;
	lives_look(&maps, notes);
	assert_false(is_passed_over(80));

	/* And where nothing is left to tell from, the next ones get their chance. */
	begin(state);
	test_short_lives(state);
	for (int i = 0; i < 50; i++)
		lives_look(&maps, notes);
	assert_false(is_passed_over(80));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests_and_answers),
		cmocka_unit_test(test_each_refusal),
		cmocka_unit_test(test_blocking_socket),
		cmocka_unit_test(test_urgent_ports),
		cmocka_unit_test(test_other_reads),
		cmocka_unit_test(test_spinning_reader),
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_again),
		cmocka_unit_test_setup(test_short_lives, begin),
		cmocka_unit_test_setup(test_a_burst_that_lasts, begin),
		cmocka_unit_test_setup(test_a_large_burst_that_lasts, begin),
		cmocka_unit_test_setup(test_lives_that_grow_longer, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
