/* Calls functions that compute, one that waits, and one that fails: ROUNDS times (0: without end). */
#include <stdlib.h>
#include <unistd.h>

static volatile long sink;

int compute(int n) { for (int i = 0; i < n; i++) sink += i; return n; }
int compute_more(int n) { for (int i = 0; i < 4 * n; i++) sink += i; return n; }
int answer(int microseconds) { if (microseconds) usleep(microseconds); return 0; }
long try_it(int fails) { return fails ? -18 : 0; }
int never(void) { return 1; }

int main(int argc, char **argv)
{
	long rounds = atol(argv[1]);
	int microseconds = atoi(argv[2]), fails = atoi(argv[3]);
	for (long n = 0; n < rounds || !rounds; n++) {
		compute(100);
		compute_more(100);
		answer(microseconds);
		sink += try_it(fails);
	}
	return argc > 4 ? never() : 0;
}
