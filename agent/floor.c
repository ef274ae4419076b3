/* floor REPEATS PROGRAM [ARGUMENT…]: starts the program and waits for it, again and again, and
 * prints what each round took in nanoseconds, one a line. Nothing that runs programs for others
 * can be faster than this on the same machine. With "-" for REPEATS it does a round for every
 * byte that it reads, so that somebody else's rounds can come in between.
 *
 * floor --namespaces REPEATS ROOT SOURCE TARGET PROGRAM: the same in new namespaces of every kind,
 * each time: with ROOT as its root, SOURCE shown at its TARGET, /proc and /tmp. Nothing that
 * isolates programs so can be faster.
 *
 * floor --ideas REPEATS ROOT SOURCE TARGET PROGRAM [GROUP]: what the kernel takes for what a sandbox may
 * be made of, or be spared: its namespaces with and without a network; SOURCE shown by an overlay and by
 * a bind; a group of processes below GROUP that is made and removed, or given another name.
 *
 * floor --crowd COUNT PROGRAM [ARGUMENT…]: starts the program so many times at once, with its number
 * for each "%" in an argument, and prints the nanoseconds until all have said something or ended well;
 * kills those that run when its input ends, and prints the nanoseconds until all are gone.
 *
 * floor --idle: says something, and waits to be killed, as the least that can be idle.
 *
 * floor --hello: says hello, as the shortest program in C.
 *
 * floor --work AMOUNT: computes, and prints the nanoseconds that it took by the clock and of the
 * processor's time. It does the same inside of a sandbox as outside. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "floor.h"

extern char **environ;

long long now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * 1000000000ll + time.tv_nsec;
}

/* Pipes for standard input and output, as in a sandbox. Never /dev/null: crun makes its standard
 * streams the sandbox's own, and it would be the host's /dev/null that changes hands. */
static int round_of(char **program)
{
    posix_spawn_file_actions_t actions;
    int input[2], output[2], status;
    pid_t pid;
    if (pipe2(input, O_CLOEXEC) || pipe2(output, O_CLOEXEC)) {
        perror("pipe");
        return 1;
    }
    close(input[1]);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input[0], 0);
    posix_spawn_file_actions_adddup2(&actions, output[1], 1);
    long long before = now(CLOCK_MONOTONIC);
    if (posix_spawn(&pid, program[0], &actions, NULL, program, environ) ||
        waitpid(pid, &status, 0) < 0) {
        perror(program[0]);
        return 1;
    }
    long long took = now(CLOCK_MONOTONIC) - before;
    posix_spawn_file_actions_destroy(&actions);
    close(input[0]);
    close(output[0]);
    close(output[1]);
    if (status) {
        fprintf(stderr, "floor: %s failed\n", program[0]); /* the time of a failure means nothing */
        return 1;
    }
    printf("%lld\n", took);
    fflush(stdout);
    return 0;
}

static int spawn(const char *repeats, char **program)
{
    setvbuf(stdin, NULL, _IONBF, 0);
    int failed = 0, asked = !strcmp(repeats, "-");
    for (int i = atoi(repeats); !failed && (asked ? getchar() != EOF : i > 0); i--)
        failed = round_of(program);
    return failed;
}

/* A table that fits the processor's nearest cache, walked in an order that nobody can foresee. */
static uint64_t compute(long long amount)
{
    static uint64_t table[2048];
    uint64_t state = 88172645463325252ull;
    while (amount-- > 0) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        table[state % 2048] += state;
        state += table[(state >> 20) % 2048] & 1;
    }
    return state;
}

static int work(const char *amount)
{
    long long clock = now(CLOCK_MONOTONIC), processor = now(CLOCK_PROCESS_CPUTIME_ID);
    volatile uint64_t result = compute(atoll(amount));
    (void)result;
    clock = now(CLOCK_MONOTONIC) - clock;
    printf("%lld %lld\n", clock, now(CLOCK_PROCESS_CPUTIME_ID) - processor);
    return 0;
}

int main(int count, char **values)
{
    if (count == 2 && !strcmp(values[1], "--hello"))
        return puts("Hello, world!") == EOF;
    if (count >= 2 && !strcmp(values[1], "--idle"))
        return idle(); /* what follows is a name to be found by */
    if (count > 3 && !strcmp(values[1], "--crowd"))
        return crowd(atoi(values[2]), count - 3, values + 3);
    if (count == 3 && !strcmp(values[1], "--work"))
        return work(values[2]);
    if (count == 7 && !strcmp(values[1], "--namespaces"))
        return namespaces(atoi(values[2]), values + 3);
    if ((count == 7 || count == 8) && !strcmp(values[1], "--ideas"))
        return ideas(atoi(values[2]), values + 3);
    if (count > 2 && (!strcmp(values[1], "-") || atoi(values[1]) > 0))
        return spawn(values[1], values + 2);
    fputs("usage: floor REPEATS|- PROGRAM [ARGUMENT…]\n"
          "       floor --namespaces REPEATS ROOT SOURCE TARGET PROGRAM\n"
          "       floor --ideas REPEATS ROOT SOURCE TARGET PROGRAM [GROUP]\n"
          "       floor --crowd COUNT PROGRAM [ARGUMENT…]\n"
          "       floor --work AMOUNT\n       floor --idle\n       floor --hello\n", stderr);
    return 2;
}
