/* floor REPEATS PROGRAM [ARGUMENT…]: starts the program and waits for it, again and again, and
 * prints what each round took in nanoseconds, one a line. Nothing that runs programs for others
 * can be faster than this on the same machine. With "-" for REPEATS it does a round for every
 * byte that it reads, so that somebody else's rounds can come in between.
 *
 * floor --namespaces REPEATS ROOT SOURCE TARGET PROGRAM: the same in new namespaces of every kind,
 * each time: with ROOT as its root, SOURCE shown at its TARGET, /proc and /tmp. Nothing that
 * isolates programs so can be faster.
 *
 * floor --hello: says hello, as the shortest program in C.
 *
 * floor --work AMOUNT: computes, and prints the nanoseconds that it took by the clock and of the
 * processor's time. It does the same inside of a sandbox as outside. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static long long now(clockid_t clock)
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

/* ---- in namespaces ---- */

static int require(int status, const char *what)
{
    if (status < 0)
        perror(what);
    return status;
}

static void map_ids(pid_t pid, const char *kind)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, kind);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (write(fd, "0 0 1\n", 6) != 6)
        perror(path);
    close(fd);
}

static _Noreturn void become(const char *root, const char *source, const char *target,
                             const char *program, int ready)
{
    char byte, *const command[] = {(char *)program, NULL};
    int bad = read(ready, &byte, 1) != 1 ||
              mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
              mount(root, root, NULL, MS_BIND, NULL) < 0 || chdir(root) < 0 ||
              mount(source, target, NULL, MS_BIND, NULL) < 0 ||
              mount("proc", "proc", "proc", 0, NULL) < 0 ||
              mount("tmp", "tmp", "tmpfs", 0, NULL) < 0 ||
              syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0;
    if (bad)
        perror("floor");
    else
        execv(program, command);
    _exit(1);
}

static int round_in_namespaces(char **values)
{
    int ready[2], status = -1;
    struct clone_args how = {
        .flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS |
                 CLONE_NEWNET | CLONE_NEWCGROUP,
        .exit_signal = SIGCHLD};
    if (require(pipe2(ready, O_CLOEXEC), "pipe") < 0)
        return 1;
    long long before = now(CLOCK_MONOTONIC);
    pid_t pid = (pid_t)syscall(SYS_clone3, &how, sizeof how);
    if (pid == 0)
        become(values[0], values[1], values[2], values[3], ready[0]);
    if (require(pid, "clone") < 0)
        return 1;
    map_ids(pid, "uid_map");
    map_ids(pid, "gid_map");
    if (write(ready[1], "", 1) != 1 || waitpid(pid, &status, 0) < 0 || status)
        fprintf(stderr, "floor: %s failed\n", values[3]);
    else
        printf("%lld\n", now(CLOCK_MONOTONIC) - before);
    close(ready[0]);
    close(ready[1]);
    return status != 0;
}

static int namespaces(const char *repeats, char **values)
{
    int failed = 0;
    for (int i = atoi(repeats); !failed && i > 0; i--)
        failed = round_in_namespaces(values);
    return failed;
}

/* ---- computing ---- */

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
    if (count == 3 && !strcmp(values[1], "--work"))
        return work(values[2]);
    if (count == 7 && !strcmp(values[1], "--namespaces"))
        return namespaces(values[2], values + 3);
    if (count > 2 && (!strcmp(values[1], "-") || atoi(values[1]) > 0))
        return spawn(values[1], values + 2);
    fputs("usage: floor REPEATS|- PROGRAM [ARGUMENT…]\n"
          "       floor --namespaces REPEATS ROOT SOURCE TARGET PROGRAM\n"
          "       floor --work AMOUNT\n       floor --hello\n", stderr);
    return 2;
}
