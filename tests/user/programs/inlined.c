/* Functions that are inlined into one another, above one that is called: the stack to `leaf` has them all. */
__attribute__((noipa)) void leaf(int n) { (void)n; }

__attribute__((noipa)) int through(int n)
{
    leaf(n);
    return n + 1;
}

static inline __attribute__((always_inline)) int inner(int n)
{
    return through(n) * 2;
}

static inline __attribute__((always_inline)) int middle(int n)
{
    int sum = 0;
    for (int i = 0; i < n; i++)
        sum += inner(i);
    return sum;
}

static inline __attribute__((always_inline)) int outer(int n)
{
    return middle(n) +
        middle(n + 1);
}

__attribute__((noipa)) int top(int n) { return outer(n) + through(3); }

int main(int argc, char **argv)
{
    (void)argv;
    return top(argc + 3) == 0;
}
