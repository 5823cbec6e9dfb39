/* A histogram of the third argument, by powers of two. */
#include "common.h"

#define N_BUCKETS 66

struct {
	__uint(type, PERCPU_ARRAY);
	__uint(max_entries, N_BUCKETS);
	__type(key, u32);
	__type(value, u64);
} sizes SEC(".maps");

/* How many bits a number takes, as the kernel's own examples calculate log2. */
static __always_inline u32 bit_length(u64 v)
{
	u32 shift, r, high = v >> 32, w = high ? high : v, base = high ? 33 : 1;

	if (!v)
		return 0;
	r = (w > 0xFFFF) << 4; w >>= r;
	shift = (w > 0xFF) << 3; w >>= shift; r |= shift;
	shift = (w > 0xF) << 2; w >>= shift; r |= shift;
	shift = (w > 0x3) << 1; w >>= shift; r |= shift;
	r |= (w >> 1);
	return r + base;
}

SEC("kprobe.multi")
int measure(struct pt_regs *ctx)
{
	u32 bucket;
	u64 *n;

	RUN_IF_ACTIVE;
	bucket = bit_length(ARG3(ctx)) + 1;
	n = bpf_map_lookup_elem(&sizes, &bucket);
	if (n)
		(*n)++;
	else
		COUNT_LOST(outside);
	return 0;
}
