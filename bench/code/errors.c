/* Failed calls by process and error. */
#include "common.h"

struct key { u32 pid; s32 error; };

struct {
	__uint(type, HASH);
	__uint(max_entries, 10240);
	__type(key, struct key);
	__type(value, u64);
} failures SEC(".maps");

SEC("kretprobe.multi")
int fail(struct pt_regs *ctx)
{
	s32 error = RETURNED(ctx);
	u64 one = 1, *n;
	struct key key;

	RUN_IF_ACTIVE;
	if (error >= 0 || error < -4095)
		return 0;
	key.pid = bpf_get_current_pid_tgid() >> 32;
	key.error = error;
	n = bpf_map_lookup_elem(&failures, &key);
	if (n) {
		__sync_fetch_and_add(n, 1);
		return 0;
	}
	if (bpf_map_update_elem(&failures, &key, &one, NOEXIST)) {
		n = bpf_map_lookup_elem(&failures, &key);
		if (n)
			__sync_fetch_and_add(n, 1);
		else
			COUNT_LOST(full_maps);
	}
	return 0;
}
