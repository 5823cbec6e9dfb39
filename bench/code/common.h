/* What all of these probes share: the little of libbpf's headers that they need, so that nothing must be installed but
 * clang. Compiled twice: as our programs are (a switch that keeps them idle until everything is attached, failed reads
 * and full maps counted), and with -DPLAIN as most people would write them, without either. */
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, number) int (*name)[number]
#define __type(name, type) typeof(type) *name
#define __ksym __attribute__((section(".ksyms")))
#define __always_inline inline __attribute__((always_inline))
#define CORE __attribute__((preserve_access_index))

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;

enum { HASH = 1, PERCPU_ARRAY = 6, RINGBUF = 27 };
enum { ANY = 0, NOEXIST = 1 };
enum { AVAIL_DATA = 0, NO_WAKEUP = 1, FORCE_WAKEUP = 2 };

static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u64 (*const bpf_ktime_get_ns)(void) = (void *)5;
static u32 (*const bpf_get_smp_processor_id)(void) = (void *)8;
static u64 (*const bpf_get_current_pid_tgid)(void) = (void *)14;
static long (*const bpf_get_current_comm)(void *to, u32 size) = (void *)16;
static u64 (*const bpf_get_current_task)(void) = (void *)35;
static long (*const bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static long (*const bpf_probe_read_user_str)(void *to, u32 size, const void *from) = (void *)114;
static void *(*const bpf_ringbuf_reserve)(void *ring, u64 size, u64 flags) = (void *)131;
static void (*const bpf_ringbuf_submit)(void *data, u64 flags) = (void *)132;
static u64 (*const bpf_ringbuf_query)(void *ring, u64 flags) = (void *)134;
static u64 (*const bpf_get_attach_cookie)(void *ctx) = (void *)174;

extern _Bool bpf_session_is_return(void *ctx) __ksym;
extern u64 *bpf_session_cookie(void *ctx) __ksym;

/* x86-64's registers as programs see them (struct pt_regs), and where arguments and the return value are */
struct pt_regs {
	u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};
#define ARG1(ctx) ((ctx)->di)
#define ARG2(ctx) ((ctx)->si)
#define ARG3(ctx) ((ctx)->dx)
#define RETURNED(ctx) ((ctx)->ax)

#ifdef PLAIN
#define RUN_IF_ACTIVE
#define COUNT_LOST(counter)
#else
u64 active = 0, failed_reads = 0, full_maps = 0, dropped = 0, outside = 0;
#define RUN_IF_ACTIVE if (!active) return 0
#define COUNT_LOST(counter) __sync_fetch_and_add(&counter, 1)
#endif

#define READ(to, from) \
	({ if (bpf_probe_read_kernel(to, sizeof(*(to)), from)) COUNT_LOST(failed_reads); })

/* a member behind a pointer, as BPF_CORE_READ does */
#define MEMBER(pointer, member) \
	({ typeof((pointer)->member) value; READ(&value, &(pointer)->member); value; })

char _license[] SEC("license") = "Dual MIT/GPL";
