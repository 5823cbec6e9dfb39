/* Opened by calls.c. */
__attribute__((noinline)) long in_library(long n) { return n + 1; }
