/* Calls overloads and instances of a template: argv[1] times each, or twice as often. */
#include <cstdlib>

namespace geometry {
__attribute__((noinline)) int area(int side) { asm volatile("" ::: "memory"); return side * side; }
__attribute__((noinline)) double area(double side) { asm volatile("" ::: "memory"); return side * side; }
template <class T> __attribute__((noinline)) T twice(T value) { asm volatile("" ::: "memory"); return value + value; }
}  // namespace geometry

int main(int, char **argv) {
    int n = atoi(argv[1]);
    double total = 0;
    for (int i = 0; i < n; i++) {
        total += geometry::area(i) + geometry::area(0.5) + geometry::area(1.5) + geometry::twice(i);
    }
    return total < 0;
}
