/* Sites of USDT probes: a nop, and a note that says where it is and where its arguments are. */
#define MARK ".ifndef _.stapsdt.base\n" \
    ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n" \
    ".weak _.stapsdt.base\n.hidden _.stapsdt.base\n" \
    "_.stapsdt.base: .space 1\n.size _.stapsdt.base,1\n.popsection\n.endif\n"

#define SITE(nop, name, semaphore, arguments) \
    "990: " nop "\n" \
    ".pushsection .note.stapsdt,\"?\",\"note\"\n.balign 4\n" \
    ".4byte 992f-991f,994f-993f,3\n991: .asciz \"stapsdt\"\n992: .balign 4\n" \
    "993: .8byte 990b,_.stapsdt.base," semaphore "\n" \
    ".asciz \"shop\"\n.asciz \"" name "\"\n.asciz \"" arguments "\"\n994: .balign 4\n.popsection\n" MARK

#define PROBE(name, arguments, ...) __asm__ volatile(SITE("nop", name, "0", arguments) :: __VA_ARGS__)
#define GUARDED(name, semaphore, arguments, ...) \
    __asm__ volatile(SITE("nop", name, #semaphore, arguments) :: __VA_ARGS__)
#define NOP5 ".byte 0x0f,0x1f,0x44,0,0"
