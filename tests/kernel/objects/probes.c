/* Programs of others, as people write them for libbpf: what test_objects.py loads. probes.ll is this file's IR, so that
 * no C compiler is needed: clang -target bpf -mcpu=v3 -O2 -g -S -emit-llvm -fdebug-prefix-map=$PWD=. probes.c
 */
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, number) int (*name)[number]
#define __type(name, type) typeof(type) *name
#define __ksym __attribute__((section(".ksyms")))

typedef unsigned int u32;
typedef unsigned long long u64;

enum { ARRAY = 2, HASH = 1 };

static void *(*const lookup)(void *map, const void *key) = (void *)1;
static long (*const update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u64 (*const get_pid_tgid)(void) = (void *)14;
static u64 (*const get_attach_cookie)(void *ctx) = (void *)174;
static u64 (*const get_func_ip)(void *ctx) = (void *)173;
static long (*const get_func_arg)(void *ctx, u32 n, u64 *value) = (void *)183;

extern _Bool bpf_session_is_return(void *ctx) __ksym __attribute__((weak));

struct pt_regs;

/* the part of the kernel's type that is asked for; its place comes from the running kernel (CO-RE) */
struct task_struct {
	int tgid;
} __attribute__((preserve_access_index));

static u64 (*const get_current_task)(void) = (void *)35;
static long (*const probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;

struct {
	__uint(type, HASH);
	__uint(max_entries, 1024);
	__type(key, u64);
	__type(value, u64);
} hits SEC(".maps");

struct {
	__uint(type, ARRAY);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, u64);
} tgids SEC(".maps");

u32 only_tgid = 0;
u64 total = 0;

static __attribute__((noinline)) int is_meant(void)
{
	return !only_tgid || get_pid_tgid() >> 32 == only_tgid;
}

static __attribute__((always_inline)) int count(u64 key)
{
	u64 one = 1, *found;

	if (!is_meant())
		return 0;
	__sync_fetch_and_add(&total, 1);
	found = lookup(&hits, &key);
	if (found)
		__sync_fetch_and_add(found, 1);
	else
		update(&hits, &key, &one, 0);
	return 0;
}

SEC("kprobe.multi/vfs_*")
int multi(struct pt_regs *ctx)
{
	return count(get_attach_cookie(ctx));
}

SEC("kretprobe.multi")
int multi_return(struct pt_regs *ctx)
{
	return count(get_attach_cookie(ctx));
}

SEC("kprobe/vfs_read")
int single(struct pt_regs *ctx)
{
	struct task_struct *task = (void *)get_current_task();
	u32 tgid = 0, place = 0;
	u64 wide;

	probe_read_kernel(&tgid, sizeof(tgid), &task->tgid);
	wide = tgid;
	if (is_meant())
		update(&tgids, &place, &wide, 0);
	return count(get_attach_cookie(ctx));
}

SEC("kprobe.session")
int session(struct pt_regs *ctx)
{
	return count(get_attach_cookie(ctx) + (bpf_session_is_return(ctx) ? 1000 : 0));
}

SEC("fentry/vfs_read")
int entry(u64 *ctx)
{
	return count(get_attach_cookie(ctx));
}

SEC("fentry.multi/vfs_*")
int entry_multi(u64 *ctx)
{
	return count(get_attach_cookie(ctx));
}

SEC("xdp")
int packet(void *ctx)
{
	return 2;
}

char program_license[] SEC("license") = "Dual MIT/GPL";
