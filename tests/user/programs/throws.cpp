/* Throws exceptions through `passes`. */
#include <stdexcept>

__attribute__((noinline)) int raises(int n) {
    if (n % 2) throw std::runtime_error("odd");
    return n;
}
__attribute__((noinline)) int passes(int n) {
    int found = raises(n);
    __asm__ volatile("" ::: "memory");
    return found + 1;
}
int main() {
    int caught = 0;
    for (int n = 0; n < 10; n++) {
        try { passes(n); } catch (const std::exception &) { caught++; }
    }
    return caught;
}
