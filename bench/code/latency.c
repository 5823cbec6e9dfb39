/* Nanoseconds of all calls of each function, from entry to return: the session keeps the time between them. */
#include "common.h"

struct {
	__uint(type, PERCPU_ARRAY);
	__uint(max_entries, 1000);
	__type(key, u32);
	__type(value, u64);
} total SEC(".maps");

SEC("fsession.multi")
int latency(void *ctx)
{
	u64 *began, *sum, now;
	u32 function;

	RUN_IF_ACTIVE;
	began = bpf_session_cookie(ctx);
	if (!bpf_session_is_return(ctx)) {
		*began = bpf_ktime_get_ns();
		return 0;
	}
	if (!*began)
		return 0;
	now = bpf_ktime_get_ns();
	function = bpf_get_attach_cookie(ctx);
	sum = bpf_map_lookup_elem(&total, &function);
	if (sum)
		*sum += now - *began;
	else
		COUNT_LOST(outside);
	return 0;
}
