// Calls that don't end as others do, or that read their return address. Prints what came of them.
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static jmp_buf place;
static sigjmp_buf signal_place;
static ucontext_t first, second;
static char stack[1 << 16];
static volatile int turns, handled, jumps, contexts;

static void handler(int number) { handled += number == SIGUSR1; }
static void jumper(int number) { siglongjmp(signal_place, number); }
static void other(void) { turns++; swapcontext(&second, &first); turns++; }
static void *thread(void *argument) { return (char *)argument + 1; }

int main(int argc, char **argv) {
    if (setjmp(place) < 3) longjmp(place, ++jumps);
    getcontext(&first);
    if (contexts++ < 2) setcontext(&first);
    getcontext(&second);
    second.uc_stack.ss_sp = stack;
    second.uc_stack.ss_size = sizeof stack;
    second.uc_link = &first;
    makecontext(&second, other, 0);
    swapcontext(&first, &second);
    swapcontext(&first, &second);
    signal(SIGUSR1, handler);
    for (int n = 0; n < 3; n++) raise(SIGUSR1);
    signal(SIGUSR2, jumper);
    int jumped = sigsetjmp(signal_place, 1);
    if (!jumped) raise(SIGUSR2);
    pthread_t made;
    void *result = 0;
    pthread_create(&made, 0, thread, (void *)40);
    pthread_join(made, &result);
    pid_t child = vfork();
    if (!child) _exit(7);
    int status = 0;
    waitpid(child, &status, 0);
    printf("%d %s %d %d %d %d %d %d %d\n", argc, argv[1], jumps, contexts, turns, handled, jumped == SIGUSR2,
           (int)(long)result, WEXITSTATUS(status));
    fflush(stdout);
    return 0;
}
