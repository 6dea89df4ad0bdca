// SPDX-License-Identifier: GPL-2.0
/* Quantiles from histograms against the samples themselves, and the words about an endpoint. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "loader/watch/handshakes.h"

#define SAMPLES 5000

/* The bucket as its definition in tc/abi.h reads. */
static int bucket_of(unsigned int us)
{
	int log = 31 - __builtin_clz(us | 1), bucket;

	if (us < 4)
		return us;
	bucket = (log - 1) * 4 + (us >> (log - 2) & 3);
	return bucket < WEIR_LATENCY_BUCKETS ? bucket : WEIR_LATENCY_BUCKETS - 1;
}

static int by_value(const void *a, const void *b)
{
	unsigned int x = *(const unsigned int *)a, y = *(const unsigned int *)b;

	return x < y ? -1 : x > y;
}

/* A bucket is a quarter of an octave wide: at most a quarter of its floor. */
static void assert_near(double found, double wanted)
{
	assert_true(found >= wanted * 0.8 - 1 && found <= wanted * 1.25 + 1);
}

static void test_quantiles(void **state)
{
	static unsigned int samples[SAMPLES];
	struct handshake_latency latency;
	struct weir_latency histogram = {};

	(void)state;
	srand(7);
	for (int i = 0; i < SAMPLES; i++) {
		samples[i] = (unsigned int)rand() >> (8 + rand() % 22);
		histogram.bucket[bucket_of(samples[i])]++;
		histogram.us_sum += samples[i];
		if (samples[i] > histogram.us_max)
			histogram.us_max = samples[i];
	}
	qsort(samples, SAMPLES, sizeof(samples[0]), by_value);
	handshake_latency_of(&histogram, &latency);
	assert_int_equal(latency.samples, SAMPLES);
	assert_int_equal(latency.max_us, samples[SAMPLES - 1]);
	assert_near(latency.p50_us, samples[SAMPLES / 2 - 1]);
	assert_near(latency.p90_us, samples[SAMPLES * 9 / 10 - 1]);
	assert_near(latency.p99_us, samples[SAMPLES * 99 / 100 - 1]);
	assert_true(latency.p50_us <= latency.p90_us && latency.p90_us <= latency.p99_us &&
		    latency.p99_us <= latency.max_us);
}

static void test_few_samples(void **state)
{
	struct handshake_latency latency;
	struct weir_latency histogram = {};

	(void)state;
	handshake_latency_of(&histogram, &latency);
	assert_int_equal(latency.samples, 0);
	histogram.bucket[bucket_of(22)] = 1;
	histogram.us_sum = histogram.us_max = 22;
	handshake_latency_of(&histogram, &latency);
	assert_true(latency.p99_us <= 22 && latency.p50_us >= 20 && latency.mean_us == 22);
}

/* Longer than any bucket tells: the maximum still does. */
static void test_beyond_the_last_bucket(void **state)
{
	struct handshake_latency latency;
	struct weir_latency histogram = {};

	(void)state;
	histogram.bucket[bucket_of(3000000000u)] = 1;
	histogram.us_sum = histogram.us_max = 3000000000u;
	handshake_latency_of(&histogram, &latency);
	assert_int_equal(latency.max_us, 3000000000u);
	assert_true(latency.p99_us > 29000000);
}

static void test_advice(void **state)
{
	struct handshake_endpoint e = {.port = 80, .verdict = HANDSHAKE_OK};
	char text[400];

	(void)state;
	handshake_advice(&e, text, sizeof(text));
	assert_string_equal(text, "");
	e.verdict = HANDSHAKE_ACCEPT_QUEUE_FULL;
	e.stats.accept_queue_full = 1;
	e.queues.accept_queue_peak = 129;
	e.queues.queue_max = 128;
	handshake_advice(&e, text, sizeof(text));
	assert_string_equal(text, "port 80: 1 SYN met a full accept queue (129/128): the "
				  "application accepts too slowly, or its listen() backlog or "
				  "net.core.somaxconn is too small");
	e.role = WEIR_CLIENT;
	e.verdict = HANDSHAKE_REFUSED;
	e.stats.syn = 3;
	e.stats.refused = 2;
	handshake_advice(&e, text, sizeof(text));
	assert_string_equal(text, "to port 80: 2 of 3 SYNs refused: nothing listens there");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_quantiles),
		cmocka_unit_test(test_few_samples),
		cmocka_unit_test(test_beyond_the_last_bucket),
		cmocka_unit_test(test_advice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
