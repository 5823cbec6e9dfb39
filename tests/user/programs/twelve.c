/* Twelve functions, each of which a turn of `run` calls once. */
#define FUNCTION(n) __attribute__((noinline, noipa)) int part##n(int x) { return x * 31 + n; }
FUNCTION(0) FUNCTION(1) FUNCTION(2) FUNCTION(3) FUNCTION(4) FUNCTION(5)
FUNCTION(6) FUNCTION(7) FUNCTION(8) FUNCTION(9) FUNCTION(10) FUNCTION(11)

int run(int turns) {
    int x = 0;
    while (turns-- > 0)
        x = part0(part1(part2(part3(part4(part5(part6(part7(part8(part9(part10(part11(x))))))))))));
    return x;
}
