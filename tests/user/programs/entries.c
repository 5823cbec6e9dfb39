// Functions that begin with instructions that jump, call, return, push, repeat or do nothing. Calls the one that is
// asked for, or all of them, and prints what is in the registers then.
#include <stdio.h>
#include <string.h>

#define EACH(X) \
    X(jmp8, "jmp 1f\nmov $1, %eax\n1: ret") X(jmp32, "jmp target") X(jmp32_back, "jmp before") \
    X(je8, "je 1f\nmov $1, %eax\n1: ret") X(jne8, "jne 1f\nmov $1, %eax\n1: ret") X(je32, "je target\nret") \
    X(jrcxz, "jrcxz 1f\nmov $1, %eax\n1: ret") X(loop, "loop 1f\nret\n1: mov $1, %eax\nret") \
    X(call32, "call target\nadd $1, %eax\nret") X(call_next, "call 1f\n1: pop %rax\nsub $1b, %eax\nret") \
    X(jmp_memory, "jmp *pointer(%rip)") X(call_memory, "call *pointer(%rip)\nadd $1, %eax\nret") \
    X(jmp_register, "jmp *%rbx") X(call_register, "call *%rbx\nadd $1, %eax\nret") X(bnd_jmp, "bnd jmp target") \
    X(bnd_call, "bnd call target\nadd $1, %eax\nret") X(notrack, "notrack jmp *%rbx") \
    X(endbr, "endbr64\nmov $1, %eax\nret") X(endbr_jmp8, "endbr64\njmp 1f\nmov $1, %eax\n1: ret") \
    X(endbr_jmp32, "endbr64\njmp target") X(endbr_call32, "endbr64\ncall target\nadd $1, %eax\nret") \
    X(endbr_memory, "endbr64\njmp *pointer(%rip)") X(ret, "ret") X(rep_ret, "rep ret") X(bnd_ret, "bnd ret") \
    X(push, "push %rbx\nmov $1, %ebx\npop %rbx\nret") X(push_12, "push %r12\nmov $1, %r12d\npop %r12\nret") \
    X(push_sp, "push %rsp\npop %rax\nsub %rsp, %rax\nret") X(push_number, "push $77\npop %rax\nret") \
    X(push_memory, "push cell\npop %rax\nret") X(push_rip, "push cell(%rip)\npop %rax\nret") X(push_16, "push %bx\npop %ax\nret") \
    X(pushf, "pushf\npop %rax\nand $0xfd5, %eax\nret") X(enter, "enter $16, $0\nmov $1, %eax\nleave\nret") \
    X(sub_sp, "sub $24, %rsp\nmov $1, %eax\nadd $24, %rsp\ncmp %eax, %eax\nret") X(lea_sp, "lea -8(%rsp), %rsp\nadd $8, %rsp\ncmp %eax, %eax\nret") \
    X(nop1, "nop\nret") X(nop2, "xchg %ax, %ax\nret") X(nop3, "nopl (%rax)\nret") X(nop4, "nopl 8(%rax)\nret") \
    X(nop6, "nopw 8(%rax, %rax)\nret") X(nop7, "nopl 0x100(%rax)\nret") X(pause, "pause\nret") \
    X(xchg_8, "xchg %r8, %rax\nret") X(xchg_8d, "xchg %r8d, %eax\nret") X(xchg_b, "xchg %rbx, %rax\nret") \
    X(rip_load, "mov cell(%rip), %eax\nret") X(rip_store, "mov %ebx, cell(%rip)\nret") X(rip_lea, "lea cell(%rip), %eax\nret") \
    X(rip_compare, "cmpl $0x77, cell(%rip)\nsete %al\nret") X(rip_si, "mov %esi, cell(%rip)\nret") \
    X(rip_swap, "xchg %edi, cell(%rip)\nret") X(rip_multiply, "imul $3, cell(%rip), %eax\nret") \
    X(rip_divide, "divl cell(%rip)\nret") X(rip_compare_swap, "cmpxchg %ebx, cell(%rip)\nret") \
    X(movs, "movsb\nret") X(rep_movs, "rep movsb\nret") X(rep_stos, "rep stosb\nret") X(repe_cmps, "repe cmpsb\nret") \
    X(cpuid, "cpuid\nxor %eax, %eax\nxor %ebx, %ebx\nxor %ecx, %ecx\nxor %edx, %edx\nret") X(rdtsc, "rdtsc\nxor %eax, %eax\nxor %edx, %edx\nret") \
    X(fs, "mov %fs:0, %rax\nsub %fs:0, %rax\nret") X(gs, "mov %gs:cell, %eax\nret") X(cmov, "cmove %ebx, %eax\nret") \
    X(setcc, "sete %al\nret") X(sse, "addps %xmm1, %xmm0\nret") X(x87, "fld1\nfstp %st\nret") X(lock, "lock incl cell\nret") \
    X(cs, ".byte 0x2e\nmov %ebx, %eax\nret") X(short_address, "mov (%esi), %eax\nret") X(syscall, "syscall\nret") \
    X(sahf, "sahf\nret") X(cld, "cld\nret") X(bsf, "bsf %ebx, %eax\nret") X(bswap, "bswap %eax\nret")

__asm__(".globl before\n.type before, @function\nbefore: mov $6, %eax\nret\n.size before, . - before\n");
#define DEFINE(name, code) \
    __asm__(".globl e_" #name "\n.type e_" #name ", @function\ne_" #name ": " code "\n.size e_" #name ", . - e_" #name "\n" \
            ".fill 16, 1, 0x90\n"); void e_##name(void);
EACH(DEFINE)
__asm__(".globl target\n.type target, @function\ntarget: mov $7, %eax\nret\n.size target, . - target\n");

static const struct { const char *name; void (*call)(void); } functions[] = {
#define ENTRY(name, code) {"e_" #name, e_##name},
    EACH(ENTRY)
};

void target(void);
unsigned in[16], out[16];
unsigned long cell[4];
void (*pointer)(void) = target;

// Gives all registers values that are always the same, calls, and stores them.
__asm__(
    "call_it: push %rbx\npush %rbp\npush %r12\nmov %rdi, %rax\nmovups in, %xmm0\nmovups in+16, %xmm1\n"
    "mov $5, %ecx\nmov $0, %edx\nmov $target, %ebx\nmov $cell, %esi\nmov $cell+16, %edi\nmov $88, %r8d\nmov %rsp, %rbp\n"
    "mov %rax, %r9\nmov $39, %eax\ncmp %eax, %eax\n"
    "call *%r9\n"
    "pushf\npop %r9\nand $0xcd5, %r9d\nmov %r9d, out\nsub %rsp, %rbp\nmov %ebp, out+4\n"
    "mov %eax, out+8\nmov %ecx, out+12\nmov %edx, out+16\nmov %ebx, out+20\nmov %esi, out+24\nmov %edi, out+28\n"
    "mov %r8d, out+32\nmovups %xmm0, out+48\n"
    "cld\npop %r12\npop %rbp\npop %rbx\nret\n");
void call_it(void (*call)(void));

int main(int argc, char **argv) {
    for (unsigned n = 0; n < sizeof functions / sizeof *functions; n++) {
        if (argc > 1 && strcmp(argv[1], functions[n].name)) continue;
        for (unsigned i = 0; i < 16; i++) in[i] = 0x3f800000 + 0x01020408 * i;
        memcpy(cell, (unsigned long[]){0x77, 0x1234, 0x9977, 0x4321}, sizeof cell);
        memset(out, 0, sizeof out);
        call_it(functions[n].call);
        printf("%s", functions[n].name);
        if (!strcmp(functions[n].name, "e_syscall")) out[2] = out[3] = 0;  // the process's own number, and an address
        for (unsigned i = 0; i < 16; i++) printf(" %x", out[i]);
        for (unsigned i = 0; i < 4; i++) printf(" %lx", cell[i]);
        printf("\n");
    }
    return 0;
}
