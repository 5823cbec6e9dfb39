/* Threads that count as probes do: atomic adds to a row, which one or several of them use.
 *
 * cc -O2 -pthread contention.c -o contention; ./contention THREADS ROWS ROUNDS
 * Each thread stays on a CPU of its own. A hit adds to three counters and a histogram's bucket, and compares a maximum,
 * in the row `thread & (ROWS - 1)`. Prints the nanoseconds of a hit: the least of all rounds, in which all threads ran.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { HITS = 200000, BUCKETS = 66, COUNTERS = 6 };

struct row {
	_Alignas(64) _Atomic unsigned long counter[COUNTERS + BUCKETS];
};

static struct row *rows;
static int n_threads, n_rows, n_rounds;
static _Atomic int n_arrived;
static double *times;

static double now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1e9 + at.tv_nsec;
}

static void hit(struct row *row, unsigned long took)
{
	atomic_fetch_add_explicit(&row->counter[0], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&row->counter[1], took, memory_order_relaxed);
	if (atomic_load_explicit(&row->counter[2], memory_order_relaxed) < took)
		atomic_store_explicit(&row->counter[2], took, memory_order_relaxed);
	atomic_fetch_add_explicit(&row->counter[COUNTERS + 64 - __builtin_clzl(took | 1)], 1, memory_order_relaxed);
}

static void *run(void *number)
{
	long thread = (long)number;
	struct row *row = &rows[thread & (n_rows - 1)];
	unsigned long took = 88172645463325252UL + thread;

	for (int round = 0; round < n_rounds; round++) {
		/* By spinning, so that all begin at once. */
		n_arrived++;
		while (n_arrived < (round + 1) * n_threads)
			;
		double began = now();
		for (int n = 0; n < HITS; n++) {
			took ^= took << 13;
			took ^= took >> 7;
			took ^= took << 17;
			hit(row, took >> 50);
		}
		times[thread * n_rounds + round] = (now() - began) / HITS;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc != 4 || (n_threads = atoi(argv[1])) < 1 || (n_rows = atoi(argv[2])) < 1 || (n_rows & (n_rows - 1)) ||
	    (n_rounds = atoi(argv[3])) < 1) {
		fprintf(stderr, "usage: %s THREADS ROWS ROUNDS (ROWS: a power of two)\n", argv[0]);
		return 2;
	}
	rows = aligned_alloc(64, n_rows * sizeof(struct row));
	times = calloc((size_t)n_threads * n_rounds, sizeof(double));
	pthread_t *threads = calloc(n_threads, sizeof(pthread_t));
	if (!rows || !times || !threads)
		return 1;
	for (int n = 0; n < n_rows; n++)
		rows[n] = (struct row){0};
	for (long n = 0; n < n_threads; n++) {
		pthread_attr_t attributes;
		cpu_set_t cpus;

		CPU_ZERO(&cpus);
		CPU_SET(n, &cpus);
		pthread_attr_init(&attributes);
		pthread_attr_setaffinity_np(&attributes, sizeof(cpus), &cpus);
		if (pthread_create(&threads[n], &attributes, run, (void *)n)) {
			fprintf(stderr, "thread %ld can't run on CPU %ld\n", n, n);
			return 1;
		}
	}
	for (int n = 0; n < n_threads; n++)
		pthread_join(threads[n], NULL);
	double least = 1e18;
	for (int round = 0; round < n_rounds; round++) {
		double slowest = 0;
		for (int n = 0; n < n_threads; n++)
			if (times[n * n_rounds + round] > slowest)
				slowest = times[n * n_rounds + round];
		if (slowest < least)
			least = slowest;
	}
	printf("%.2f\n", least);
	return 0;
}
