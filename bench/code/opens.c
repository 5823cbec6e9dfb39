/* Files opened relative to the working directory by main threads: an event with the process, its name and the path. */
#include "common.h"

struct event {
	u64 time;
	u32 pid;
	s32 flags;
	char comm[16];
	char name[64];
};

struct {
	__uint(type, RINGBUF);
	__uint(max_entries, 1 << 22);
} opens SEC(".maps");

SEC("kprobe.multi")
int report(struct pt_regs *ctx)
{
	struct event *event;
	u32 pid, tid;
	u64 both;

	RUN_IF_ACTIVE;
	both = bpf_get_current_pid_tgid();
	pid = both >> 32;
	tid = both;
	if (pid != tid || (s32)ARG1(ctx) >= 0)
		return 0;
	event = bpf_ringbuf_reserve(&opens, sizeof(*event), 0);
	if (!event) {
		COUNT_LOST(dropped);
		return 0;
	}
	event->time = bpf_ktime_get_ns();
	event->pid = pid;
	event->flags = ARG3(ctx);
	__builtin_memset(event->comm, 0, sizeof(event->comm) + sizeof(event->name));
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	if (bpf_probe_read_user_str(event->name, sizeof(event->name), (void *)ARG2(ctx)) < 0)
		COUNT_LOST(failed_reads);
	bpf_ringbuf_submit(event, bpf_ringbuf_query(&opens, AVAIL_DATA) >= 1 << 20 ? FORCE_WAKEUP : NO_WAKEUP);
	return 0;
}
