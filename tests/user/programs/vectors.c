// Functions that begin with instructions of AVX, AVX-512, FMA and BMI. Calls the one that is asked for, or all of
// them, and prints what is in the registers then; "none" where the processor does not have the instruction.
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define EACH(X) \
    X(movups, "vmovups %xmm1, %xmm0") X(movups_store, "vmovups.s %xmm1, %xmm0") X(movss, "vmovss cell, %xmm0") \
    X(movlps, "vmovlps cell, %xmm1, %xmm0") X(unpcklps, "vunpcklps %xmm1, %xmm2, %xmm0") \
    X(movhps, "vmovhps cell, %xmm1, %xmm0") X(movaps, "vmovaps %xmm1, %xmm0") \
    X(movaps_store, "vmovaps.s %xmm1, %xmm0") X(cvtsi2sd, "vcvtsi2sd %edx, %xmm1, %xmm0") \
    X(cvttss2si, "vcvttss2si %xmm1, %eax") X(ucomiss, "vucomiss %xmm1, %xmm0") X(comiss, "vcomiss %xmm1, %xmm0") \
    X(movmskps, "vmovmskps %xmm3, %eax") X(sqrtps, "vsqrtps %xmm1, %xmm0") X(andps, "vandps %xmm1, %xmm2, %xmm0") \
    X(andnps, "vandnps %xmm1, %xmm2, %xmm0") X(orps, "vorps %xmm1, %xmm2, %xmm0") X(xorps, "vxorps %xmm1, %xmm0, %xmm0") \
    X(addps, "vaddps %xmm1, %xmm2, %xmm0") X(mulsd, "vmulsd %xmm1, %xmm2, %xmm0") X(cvtps2pd, "vcvtps2pd %xmm1, %xmm0") \
    X(cvtdq2ps, "vcvtdq2ps %xmm1, %xmm0") X(subps, "vsubps %xmm1, %xmm2, %xmm0") X(minps, "vminps %xmm1, %xmm2, %xmm0") \
    X(divps, "vdivps %xmm1, %xmm2, %xmm0") X(maxps, "vmaxps %xmm1, %xmm2, %xmm0") \
    X(punpcklbw, "vpunpcklbw %xmm1, %xmm2, %xmm0") X(packsswb, "vpacksswb %xmm1, %xmm2, %xmm0") \
    X(pcmpgtd, "vpcmpgtd %xmm1, %xmm2, %xmm0") X(packssdw, "vpackssdw %xmm1, %xmm2, %xmm0") \
    X(punpcklqdq, "vpunpcklqdq %xmm1, %xmm2, %xmm0") X(movd, "vmovd %edx, %xmm0") X(movdqa, "vmovdqa %xmm1, %xmm0") \
    X(pshufd, "vpshufd $0x1b, %xmm1, %xmm0") X(psrlw, "vpsrlw $3, %xmm1, %xmm0") X(pslld, "vpslld $3, %xmm1, %xmm0") \
    X(pslldq, "vpslldq $3, %xmm1, %xmm0") X(pcmpeqb, "vpcmpeqb %xmm1, %xmm2, %xmm0") \
    X(pcmpeqw, "vpcmpeqw %xmm1, %xmm1, %xmm0") X(pcmpeqd, "vpcmpeqd %xmm1, %xmm1, %xmm0") X(zeroupper, "vzeroupper") \
    X(haddpd, "vhaddpd %xmm1, %xmm2, %xmm0") X(hsubps, "vhsubps %xmm1, %xmm2, %xmm0") X(movd_out, "vmovd %xmm1, %eax") \
    X(movdqa_store, "vmovdqa.s %xmm1, %xmm0") X(cmpps, "vcmpleps %xmm1, %xmm2, %xmm0") \
    X(pinsrw, "vpinsrw $1, %edx, %xmm1, %xmm0") X(pextrw, "vpextrw $1, %xmm1, %eax") \
    X(shufps, "vshufps $0x1b, %xmm1, %xmm2, %xmm0") X(addsubpd, "vaddsubpd %xmm1, %xmm2, %xmm0") \
    X(psrlq, "vpsrlq %xmm3, %xmm1, %xmm0") X(paddq, "vpaddq %xmm1, %xmm2, %xmm0") X(pmullw, "vpmullw %xmm1, %xmm2, %xmm0") \
    X(pmovmskb, "vpmovmskb %xmm3, %eax") X(psubusb, "vpsubusb %xmm1, %xmm2, %xmm0") X(pminub, "vpminub %xmm1, %xmm2, %xmm0") \
    X(pand, "vpand %xmm1, %xmm2, %xmm0") X(pandn, "vpandn %xmm1, %xmm2, %xmm0") X(pavgb, "vpavgb %xmm1, %xmm2, %xmm0") \
    X(pmulhw, "vpmulhw %xmm1, %xmm2, %xmm0") X(cvttpd2dq, "vcvttpd2dq %xmm1, %xmm0") X(movntdq, "vmovntdq %xmm1, cell") \
    X(psubsb, "vpsubsb %xmm1, %xmm2, %xmm0") X(psubsw, "vpsubsw %xmm1, %xmm2, %xmm0") \
    X(pminsw, "vpminsw %xmm1, %xmm2, %xmm0") X(por, "vpor %xmm1, %xmm2, %xmm0") X(paddsb, "vpaddsb %xmm1, %xmm2, %xmm0") \
    X(paddsw, "vpaddsw %xmm1, %xmm2, %xmm0") X(pmaxsw, "vpmaxsw %xmm1, %xmm2, %xmm0") X(pxor, "vpxor %xmm1, %xmm2, %xmm0") \
    X(lddqu, "vlddqu cell, %xmm0") X(psllq, "vpsllq %xmm3, %xmm1, %xmm0") X(pmuludq, "vpmuludq %xmm1, %xmm2, %xmm0") \
    X(pmaddwd, "vpmaddwd %xmm1, %xmm2, %xmm0") X(psadbw, "vpsadbw %xmm1, %xmm2, %xmm0") X(psubb, "vpsubb %xmm1, %xmm2, %xmm0") \
    X(psubd, "vpsubd %xmm1, %xmm2, %xmm0") X(paddb, "vpaddb %xmm1, %xmm2, %xmm0") X(paddd, "vpaddd %xmm1, %xmm2, %xmm0") \
    X(pshufb, "vpshufb %xmm1, %xmm2, %xmm0") X(psignb, "vpsignb %xmm1, %xmm2, %xmm0") X(ptest, "vptest %xmm1, %xmm2") \
    X(broadcastss, "vbroadcastss cell, %xmm0") X(pabsb, "vpabsb %xmm1, %xmm0") X(pmovsxbw, "vpmovsxbw %xmm1, %xmm0") \
    X(pmuldq, "vpmuldq %xmm1, %xmm2, %xmm0") X(pmovzxbw, "vpmovzxbw %xmm1, %xmm0") X(pmulld, "vpmulld %xmm1, %xmm2, %xmm0") \
    X(psllvd, "vpsllvd %xmm3, %xmm1, %xmm0") X(pbroadcastd, "vpbroadcastd %xmm1, %xmm0") \
    X(pbroadcastb, "vpbroadcastb %xmm1, %xmm0") X(pbroadcastw, "vpbroadcastw %xmm1, %ymm0") \
    X(pmaskmovd, "vpmaskmovd cell, %xmm3, %xmm0") X(gather, "vpgatherdd %xmm3, (%rsi,%xmm4,1), %xmm0") \
    X(gatherq, "vpgatherqd %xmm3, (%rsi,%xmm4,1), %xmm0") X(fmadd132, "vfmadd132ps %xmm1, %xmm2, %xmm0") \
    X(fmsub132, "vfmsub132ps %xmm1, %xmm2, %xmm0") X(fnmadd132, "vfnmadd132ps %xmm1, %xmm2, %xmm0") \
    X(fnmadd132ss, "vfnmadd132ss %xmm1, %xmm2, %xmm0") X(fmadd231, "vfmadd231sd %xmm1, %xmm2, %xmm0") \
    X(aesenc, "vaesenc %xmm1, %xmm2, %xmm0") X(palignr, "vpalignr $3, %xmm1, %xmm2, %xmm0") X(pextrb, "vpextrb $3, %xmm1, %eax") \
    X(insertps, "vinsertps $0x10, %xmm1, %xmm2, %xmm0") X(dpps, "vdpps $0xff, %xmm1, %xmm2, %xmm0") \
    X(blendvps, "vblendvps %xmm3, %xmm1, %xmm2, %xmm0") X(pcmpistri, "vpcmpistri $0, %xmm1, %xmm2") \
    X(insertf128, "vinsertf128 $0, %xmm1, %ymm2, %ymm0") X(perm2f128, "vperm2f128 $1, %ymm1, %ymm2, %ymm0") \
    X(andn, "andn %edx, %ecx, %eax") X(blsr, "blsr %edx, %eax") X(bzhi, "bzhi %ecx, %edx, %eax") \
    X(pdep, "pdep %ecx, %edx, %eax") X(mulx, "mulx %ecx, %ebx, %eax") X(shlx, "shlx %ecx, %edx, %eax") \
    X(rorx, "rorx $5, %edx, %eax") \
    X(rip_2, "vaddps cell(%rip), %xmm1, %xmm0") X(rip_3, "{vex3} vaddps cell(%rip), %xmm1, %xmm0") \
    X(rip_b, ".byte 0xc4, 0xc1, 0x70, 0x58, 0x05; .long cell - . - 4") X(rip_ymm, "vmovups cell(%rip), %ymm0") \
    X(rip_imm, "vshufps $0x1b, cell(%rip), %xmm2, %xmm0") X(rip_andn, "andn cell(%rip), %ecx, %eax") \
    X(rip_si, "andn cell(%rip), %esi, %edi") X(rip_di, "andn cell(%rip), %edi, %esi") X(rip_mulx, "mulx cell(%rip), %ebx, %eax") \
    X(rip_store, "vmovups %xmm1, cell(%rip)") X(rip_jump, "vpor cell(%rip), %xmm1, %xmm0") \
    X(gs_other, "vmovups %gs:cell, %xmm0") X(gs_jump, "vpor %gs:cell, %xmm1, %xmm0") \
    X(short_other, "vmovups (%esi), %xmm0") X(short_jump, "vpor (%esi), %xmm1, %xmm0") \
    X(gs_short_jump, "vpor %gs:(%esi), %xmm1, %xmm0") X(ss_other, ".byte 0x3e; vmovups %xmm1, %xmm0") \
    X(kmov, "kmovw %k0, %k1; kmovw %k1, %eax") X(kmov_in, "kmovw %edx, %k1; kmovw %k1, %eax") \
    X(e_paddd, "vpaddd %zmm1, %zmm2, %zmm0") X(e_por, "vporq %zmm1, %zmm2, %zmm0") \
    X(e_psubsb, "vpsubsb %zmm1, %zmm2, %zmm0") X(e_ternlog, "vpternlogd $0x96, %zmm1, %zmm2, %zmm0") \
    X(e_broadcast, "vpbroadcastb %edx, %zmm0") X(e_broadcastd, "vpbroadcastd %edx, %zmm0") \
    X(e_permt2, "vpermt2d %zmm1, %zmm2, %zmm0") X(e_udq, "vcvttps2udq %zmm1, %zmm0") X(e_movdqu, "vmovdqu64 %zmm1, %zmm0") \
    X(e_movdqu_store, "vmovdqu64.s %zmm1, %zmm0") X(e_cmpps, "vcmpleps %zmm1, %zmm2, %k1; kmovw %k1, %eax") \
    X(e_fnmadd, "vfnmadd132ss {rn-sae}, %xmm1, %xmm2, %xmm0") X(e_fmadd, "vfmadd132ps %zmm1, %zmm2, %zmm0") \
    X(e_expand, "vpexpandq %zmm1, %zmm0") X(e_permw, "vpermw %zmm1, %zmm2, %zmm0") X(e_compress, "vpcompressd %zmm1, %zmm0") \
    X(e_rndscale, "vrndscaleps $0, %zmm1, %zmm0") X(e_pcmpeqb, "vpcmpeqb %zmm1, %zmm1, %k1; kmovw %k1, %eax") \
    X(e_pxor, "vpxorq %zmm1, %zmm2, %zmm0") X(e_movd, "vmovd %edx, %xmm16; vmovaps %zmm16, %zmm0") \
    X(e_rip, "vaddps cell(%rip), %zmm1, %zmm0") X(e_rip_imm, "vpternlogd $0x96, cell(%rip), %zmm2, %zmm0") \
    X(e_rip_high, "vaddps cell(%rip), %zmm1, %zmm16; vmovaps %zmm16, %zmm0") X(e_rip_jump, "vporq cell(%rip), %zmm1, %zmm0") \
    X(e_half, "vaddph %zmm1, %zmm2, %zmm0")

// 16 bytes are between the instruction and what follows: so many the kernel copies.
#define DEFINE(name, code) \
    __asm__(".globl v_" #name "\n.type v_" #name ", @function\nv_" #name ": " code "\n.fill 16, 1, 0x90\nret\n" \
            ".size v_" #name ", . - v_" #name "\n"); void v_##name(void);
EACH(DEFINE)

static const struct { const char *name; void (*call)(void); } functions[] = {
#define ENTRY(name, code) {"v_" #name, v_##name},
    EACH(ENTRY)
};

__attribute__((aligned(64))) unsigned in[64], out[64], cell[16];
int has_avx;

// Gives all registers values that are always the same, calls, and stores them.
__asm__(
    "call_it: push %rbx\npush %rbp\nmov %rdi, %rax\n"
    "movups in, %xmm0\nmovups in+32, %xmm1\nmovups in+64, %xmm2\nmovups in+96, %xmm3\nxorps %xmm4, %xmm4\n"
    "cmpl $0, has_avx\nje 1f\nvmovups in, %ymm0\nvmovups in+32, %ymm1\nvmovups in+64, %ymm2\n1:\n"
    "mov $5, %ecx\nmov $0x12345678, %edx\nmov $0x0f0f0f0f, %ebx\nmov $cell, %esi\nmov $cell+4, %edi\ncmp %eax, %eax\n"
    "call *%rax\n"
    "pushf\npop %rbp\nand $0xd5, %ebp\nmov %ebp, out+64\n"
    "mov %eax, out+68\nmov %ecx, out+72\nmov %edx, out+76\nmov %ebx, out+80\nmov %esi, out+84\nmov %edi, out+88\n"
    "movups %xmm0, out\nmovups %xmm1, out+16\nmovups %xmm2, out+32\nmovups %xmm3, out+48\n"
    "cmpl $0, has_avx\nje 2f\nvmovups %ymm0, out+96\nvzeroupper\n2:\n"
    "pop %rbp\npop %rbx\nret\n");
void call_it(void (*call)(void));

static sigjmp_buf back;
static void ill(int number) { siglongjmp(back, number); }

int main(int argc, char **argv) {
    has_avx = __builtin_cpu_supports("avx");
    signal(SIGILL, ill);
    for (unsigned n = 0; n < sizeof functions / sizeof *functions; n++) {
        if (argc > 1 && strcmp(argv[1], functions[n].name)) continue;
        for (unsigned i = 0; i < 64; i++) in[i] = 0x3f800000 + 0x01020408 * (i % 29) + i;
        for (unsigned i = 24; i < 28; i++) in[i] = 0x80000000u + (i & 3);
        for (unsigned i = 0; i < 16; i++) cell[i] = 0x40000000 + 0x00130a05 * i;
        memset(out, 0, sizeof out);
        printf("%s", functions[n].name);
        if (sigsetjmp(back, 1)) {
            printf(" none\n");
            continue;
        }
        call_it(functions[n].call);
        for (unsigned i = 0; i < 32; i++) printf(" %x", out[i]);
        for (unsigned i = 0; i < 4; i++) printf(" %x", cell[i]);
        printf("\n");
    }
    return 0;
}
