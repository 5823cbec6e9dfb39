/* Attaches the only program of an object file (argv[1]) to the addresses in a file (argv[2]), and detaches it; prints the
 * seconds of both: with loading, and without opening. What `multiprobe bench attach` compares with. */
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	LIBBPF_OPTS(bpf_kprobe_multi_opts, options);
	struct bpf_object *object;
	struct bpf_link *link;
	unsigned long *addresses;
	struct stat status;
	double began, attached;
	FILE *file;

	if (argc != 3 || stat(argv[2], &status) || !(file = fopen(argv[2], "rb")))
		return 1;
	addresses = malloc(status.st_size);
	options.cnt = fread(addresses, sizeof(*addresses), status.st_size / sizeof(*addresses), file);
	options.addrs = addresses;
	object = bpf_object__open_file(argv[1], NULL);
	if (!object)
		return 1;
	began = now();
	if (bpf_object__load(object))
		return 1;
	link = bpf_program__attach_kprobe_multi_opts(bpf_object__next_program(object, NULL), NULL, &options);
	if (!link)
		return 1;
	attached = now();
	bpf_link__destroy(link);
	bpf_object__close(object);
	printf("%.9f %.9f\n", attached - began, now() - attached);
	return 0;
}
