/* Calls its functions as often as it is told, in every way in which a function can be called. */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))
#define KEEP __asm__ volatile("" ::: "memory")

NOINLINE long leaf(long n) { KEEP; return n + 1; }
long leaf_alias(long) __attribute__((alias("leaf")));
NOINLINE long descend(long n) {
    long below = n ? descend(n - 1) : 0;
    KEEP;
    return below + 1;
}
NOINLINE long second(long n) { KEEP; return 2 * n; }
NOINLINE long first(long n) { KEEP; return second(n + 1); }
NOINLINE int negative(void) { KEEP; return -1; }
NOINLINE long eight(long a, long b, long c, long d, long e, long f, long g, long h) {
    KEEP;
    return a + b + c + d + e + f + 10 * g + 100 * h;
}
NOINLINE long text(const char *name) { KEEP; return strlen(name); }

/* An error that `finds` makes, `asks` returns, and `copes` handles. */
NOINLINE int finds(int n) { KEEP; return n % 2 ? -1 : 0; }
NOINLINE int asks(int n) { int found = finds(n); KEEP; return found; }
NOINLINE int copes(int n) { int found = asks(n); KEEP; return found < 0 ? 7 : 8; }

NOINLINE int opens(const char *path) {
    int file = open(path, O_RDONLY);
    KEEP;
    if (file >= 0) close(file);
    return file;
}

/* On a page of its own, which nothing else reads. */
__attribute__((aligned(4096))) const char untouched[4096] = "never read before";

static jmp_buf back;
NOINLINE void jumper(void) { KEEP; longjmp(back, 1); }

/* An instruction with a LOCK prefix, which no kernel can run elsewhere. */
__asm__(".globl prefixed\n.type prefixed, @function\nprefixed: lock orl $0, (%rsp)\n"
        "ret\n.size prefixed, . - prefixed\n");
void prefixed(void);

/* Keeps its result below the stack pointer; `red_zone` itself begins with the five-byte nop. */
__asm__(".globl keeper\n.type keeper, @function\nkeeper: movq $0x1234, -8(%rsp)\n.size keeper, . - keeper\n"
        ".globl red_zone\n.type red_zone, @function\nred_zone: .byte 0x0f, 0x1f, 0x44, 0, 0\n"
        "movq -8(%rsp), %rax\nret\n.size red_zone, . - red_zone\n");
long keeper(void);

static void *in_thread(void *n) {
    for (long i = 0; i < (long)n; i++) leaf(i);
    return NULL;
}

static long run(const char *mode, long n, const char *library) {
    pthread_t threads[4];
    volatile long i, wrong = 0;
    if (!strcmp(mode, "plain")) for (i = 0; i < n; i++) leaf(i);
    if (!strcmp(mode, "alias")) for (i = 0; i < n; i++) leaf_alias(i);
    if (!strcmp(mode, "recursion")) descend(n);
    if (!strcmp(mode, "tail")) for (i = 0; i < n; i++) first(i);
    if (!strcmp(mode, "prefixed")) for (i = 0; i < n; i++) prefixed();
    if (!strcmp(mode, "red_zone")) for (i = 0; i < n; i++) wrong += keeper() != 0x1234;
    if (!strcmp(mode, "longjmp")) for (i = 0; i < n; i++) if (!setjmp(back)) jumper();
    if (!strcmp(mode, "threads")) {
        for (i = 0; i < 4; i++) pthread_create(&threads[i], NULL, in_thread, (void *)n);
        for (i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    }
    if (!strcmp(mode, "forks")) {
        for (int child = 0; child < 3; child++) if (!fork()) { in_thread((void *)n); _exit(0); }
        while (wait(NULL) > 0);
        leaf(0);
    }
    if (!strcmp(mode, "opens")) for (i = 0; i < n; i++) opens("/proc/self/exe");
    if (!strcmp(mode, "fails")) for (i = 0; i < n; i++) opens("/proc/no such file");
    if (!strcmp(mode, "errors")) for (i = 0; i < n; i++) copes(i);
    if (!strcmp(mode, "untouched")) text(untouched);
    if (!strcmp(mode, "dlopen")) {
        void *handle = dlopen(library, RTLD_NOW);
        if (!handle) return 9;
        long (*called)(long) = (long (*)(long))dlsym(handle, "in_library");
        for (i = 0; i < n; i++) called(i);
    }
    if (!strcmp(mode, "values")) {
        char name[] = "written on the stack";
        leaf(41); negative(); eight(1, 2, 3, 4, 5, 6, 7, 8); text(name);
    }
    return wrong;
}

int main(int argc, char **argv) {
    char line[16];
    if (argc > 4 && !fgets(line, sizeof line, stdin)) return 9; /* begins when it is told */
    return run(argv[1], atol(argv[2]), argc > 3 ? argv[3] : "") != 0;
}
