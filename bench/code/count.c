/* Calls of each function, which the link's cookie tells. */
#include "common.h"

struct {
	__uint(type, PERCPU_ARRAY);
	__uint(max_entries, 1000);
	__type(key, u32);
	__type(value, u64);
} calls SEC(".maps");

SEC("fentry.multi")
int count(void *ctx)
{
	u32 function;
	u64 *n;

	RUN_IF_ACTIVE;
	function = bpf_get_attach_cookie(ctx);
	n = bpf_map_lookup_elem(&calls, &function);
	if (n)
		(*n)++;
	else
		COUNT_LOST(outside);
	return 0;
}
