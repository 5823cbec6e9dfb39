/* What people choose in an object: programs to leave out, variables to set. choices.ll is this file's IR, so that
 * no C compiler is needed: clang -target bpf -mcpu=v3 -O2 -g -S -emit-llvm -fdebug-prefix-map=$PWD=. choices.c
 */
#define SEC(name) __attribute__((section(name), used))

typedef unsigned int u32;
typedef unsigned long long u64;

static u64 (*const get_pid_tgid)(void) = (void *)14;
static u64 (*const no_such_helper)(void) = (void *)9999;

enum mode { OFF, ON = 7 };
struct pair {
	u32 one, two;
};

/* .rodata */
const volatile u32 only_tgid = 0;
const volatile int step = 3;
/* .data */
u32 limit = 1000;
int negative = -7;
enum mode mode = ON;
_Bool is_on = 1;
char label[8] = "label";
struct pair pair = { 1, 2 };
/* .bss */
u64 calls = 0;
u64 others = 0;
u64 last_length = 0;
void *pointer = 0;

static __attribute__((always_inline)) int count(void)
{
	if ((only_tgid && get_pid_tgid() >> 32 != only_tgid) || !is_on || mode != ON || negative != -7)
		return 0;
	if (calls < limit)
		__sync_fetch_and_add(&calls, step);
	if (label[0] != 'l' || pair.two != 2 || pointer)
		__sync_fetch_and_add(&others, 1);
	return 0;
}

SEC("kprobe/vfs_read")
int counted(void *ctx)
{
	return count();
}

SEC("?kprobe/vfs_write")
int optional(void *ctx)
{
	return count();
}

/* the verifier refuses it on every kernel */
SEC("kprobe/vfs_write")
int refused(void *ctx)
{
	return no_such_helper();
}

/* fits functions with three arguments or more */
SEC("fentry/vfs_read")
int third(u64 *ctx)
{
	last_length = ctx[2];
	return count();
}

SEC("fsession/vfs_read")
int both(u64 *ctx)
{
	return count();
}

SEC("fsession.multi/vfs_*")
int both_multi(u64 *ctx)
{
	return count();
}

char program_license[] SEC("license") = "Dual MIT/GPL";
