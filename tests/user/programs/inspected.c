/* Calls its functions once for each byte that it reads, and answers with a line. */
#include <stdio.h>
#include <unistd.h>

#if defined(__x86_64__)
/* Nops under a uprobe: kernels from 6.18 on make a call of the first one, from 7.2 on of the second one. */
#define BEGINS_WITH(name, bytes) \
    __attribute__((noinline, naked)) int name(void) { __asm__(".byte " bytes "\n\tmov $7, %eax\n\tret"); }
BEGINS_WITH(nop5, "0x0f, 0x1f, 0x44, 0, 0")
BEGINS_WITH(nop10, "0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0")
#else
__attribute__((noipa)) int nop5(void) { return 7; }
__attribute__((noipa)) int nop10(void) { return 7; }
#endif

__attribute__((noipa)) int plain(int n) { return n * 3 + 1; }

int main(void)
{
    char byte;
    setbuf(stdout, NULL);
    while (read(0, &byte, 1) == 1)
        printf("%d\n", nop5() + nop10() + plain(2));
    return 0;
}
