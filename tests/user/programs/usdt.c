/* Comes to the sites of USDT probes as often as it is told, with arguments in every place that x86-64 and aarch64 have. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "stapsdt.h"

#define NOINLINE __attribute__((noinline, noclone))

__attribute__((section(".probes"))) unsigned short shop_guarded_semaphore;
static const char *const goods[] = {"apple", "pear", "plum"};

NOINLINE void plain(long n) { PROBE("plain", "", "r"(n)); }

/* The compiler chooses the places: registers, memory, constants. */
NOINLINE void chosen(long a, int b, unsigned char c) {
    long kept = a * 3;
    PROBE("chosen", "8@%0 -4@%1 1@%2 -4@%3 8@%4", "nor"(a), "nor"(b), "nor"(c), "nor"(-5), "m"(kept));
}

/* One probe, two sites, other places. */
NOINLINE void both(long n) {
    if (n % 2) PROBE("both", "8@%0 4@%1", "r"(n), "r"(7));
    else PROBE("both", "8@%0 4@%1", "m"(n), "n"(8));
}

/* Variables, which have no register. */
static volatile int stock = -1;
static volatile long prices[4];
NOINLINE void global(long n) {
    stock = -n;
    prices[2] = 10 * n;
    PROBE("global", "-4@%0 8@%1", "m"(stock), "m"(prices[2]));
}

NOINLINE void text(const char *name) { PROBE("text", "8@%0", "r"(name)); }

NOINLINE void many(long n) {
    PROBE("many", "8@%0 8@%1 8@%2 8@%3 8@%4 8@%5 8@%6 8@%7", "r"(n), "n"(1), "n"(2), "n"(3), "n"(4), "n"(5), "n"(6),
          "n"(70));
}

NOINLINE void guarded(long n) {
    if (__builtin_expect(shop_guarded_semaphore, 0)) GUARDED("guarded", shop_guarded_semaphore, "8@%0", "r"(n));
}

#ifdef __x86_64__
/* Places that compilers rarely choose. */
NOINLINE void forms(long *table, long n) {
    register long i __asm__("rcx") = n;
    register long *base __asm__("rbx") = table;
    register long parts __asm__("rax") = 0x1234567890abcdef;
    __asm__ volatile(SITE("nop", "forms", "0",
        "8@(%%rbx,%%rcx,8) 8@8(%%rbx,%%rcx,8) -1@%%al 1@%%ah 2@%%ax -4@%%eax 4@$-2 -2@$0xfffe 8@(,%%rcx,1) "
        "4@(%%rbx) -8@-8(%%rbx)") :: "r"(i), "r"(base), "r"(parts), "m"(*(long(*)[8])(table - 1)));
}
/* A site of five bytes, and one of two nops, as newer headers make them. A leaf function with its variables below the
   stack pointer, which some kernels' probes change. */
NOINLINE void five(void) { __asm__ volatile(SITE(NOP5, "five", "0", "")); }
NOINLINE void two(void) { __asm__ volatile(SITE("nop", "two", "0", "") NOP5 "\n"); }
NOINLINE void mixed(long n) {
    if (n % 2) __asm__ volatile(SITE(NOP5, "mixed", "0", ""));
    else __asm__ volatile(SITE("nop", "mixed", "0", ""));
}
#else
NOINLINE void forms(long *table, long n) { (void)table, (void)n; }
NOINLINE void five(void) {}
NOINLINE void two(void) {}
NOINLINE void mixed(long n) { (void)n; }
#endif

int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "all";
    long times = count > 2 ? atol(words[2]) : 1, memory[9] = {-100, 11, 22, 33, 44, 55, 66, 77, 88};
    for (long n = 0; n < times; n++) {
        int all = !strcmp(what, "all");
        if (all || !strcmp(what, "plain")) plain(n);
        if (all || !strcmp(what, "chosen")) chosen(n, -(int)n, 200);
        if (all || !strcmp(what, "both")) both(n);
        if (all || !strcmp(what, "global")) global(n);
        if (all || !strcmp(what, "text")) text(goods[n % 3]);
        if (all || !strcmp(what, "many")) many(n);
        if (all || !strcmp(what, "guarded")) guarded(n);
        if (all || !strcmp(what, "forms")) forms(memory + 1, 3);
        if (all || !strcmp(what, "five")) five();
        if (all || !strcmp(what, "two")) two();
        if (all || !strcmp(what, "mixed")) mixed(n);
    }
    return 0;
}
