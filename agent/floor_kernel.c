/* The part of `floor` that is about namespaces, mounts and groups. */
#define _GNU_SOURCE
#include "floor.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

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
              mount(source, target, NULL, MS_BIND | MS_REC, NULL) < 0 ||
              mount("proc", "proc", "proc", 0, NULL) < 0 ||
              mount("tmp", "tmp", "tmpfs", 0, NULL) < 0 ||
              syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0;
    if (bad)
        perror("floor");
    else
        execv(program, command);
    _exit(1);
}

enum { WITHOUT_NETWORK = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS |
                         CLONE_NEWCGROUP,
       OF_EVERY_KIND = WITHOUT_NETWORK | CLONE_NEWNET };

/* Nanoseconds, or -1. */
static long long round_in_namespaces(unsigned kinds, char **values)
{
    int ready[2], status = -1;
    struct clone_args how = {.flags = kinds, .exit_signal = SIGCHLD};
    if (require(pipe2(ready, O_CLOEXEC), "pipe") < 0)
        return -1;
    long long before = now(CLOCK_MONOTONIC);
    pid_t pid = (pid_t)syscall(SYS_clone3, &how, sizeof how);
    if (pid == 0)
        become(values[0], values[1], values[2], values[3], ready[0]);
    if (require(pid, "clone") < 0)
        return -1;
    map_ids(pid, "uid_map");
    map_ids(pid, "gid_map");
    if (write(ready[1], "", 1) != 1 || waitpid(pid, &status, 0) < 0 || status)
        fprintf(stderr, "floor: %s failed\n", values[3]);
    close(ready[0]);
    close(ready[1]);
    return status ? -1 : now(CLOCK_MONOTONIC) - before;
}

int namespaces(int repeats, char **values)
{
    for (long long took; repeats-- > 0; printf("%lld\n", took))
        if ((took = round_in_namespaces(OF_EVERY_KIND, values)) < 0)
            return 1;
    return 0;
}

/* ---- ideas ---- */

static int time_mount(const char *name, const char *source, const char *kind, unsigned long flags,
                      const char *options, const char *target)
{
    long long before = now(CLOCK_MONOTONIC);
    if (mount(source, target, kind, flags, options) < 0) {
        perror(name);
        return 1;
    }
    printf("%s %lld\n", name, now(CLOCK_MONOTONIC) - before);
    return umount2(target, MNT_DETACH) < 0;
}

static int time_groups(const char *parent)
{
    char group[256], other[256];
    snprintf(group, sizeof group, "%s/floor-%d", parent, getpid());
    snprintf(other, sizeof other, "%s/other-%d", parent, getpid());
    long long began = now(CLOCK_MONOTONIC);
    if (require(mkdir(group, 0755), group) < 0)
        return 1;
    long long made = now(CLOCK_MONOTONIC);
    int renamed = rename(group, other); /* which those of version 2 can't be */
    long long named = now(CLOCK_MONOTONIC);
    if (require(rmdir(renamed < 0 ? group : other), group) < 0)
        return 1;
    printf("group-made-and-removed %lld\n", made - began + now(CLOCK_MONOTONIC) - named);
    if (renamed == 0)
        printf("group-named %lld\n", named - made);
    return 0;
}

static int time_namespaces(const char *name, unsigned kinds, char **values)
{
    long long took = round_in_namespaces(kinds, values);
    if (took >= 0)
        printf("%s %lld\n", name, took);
    return took < 0;
}

int ideas(int repeats, char **values)
{
    char layers[512], target[256];
    int failed = unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0;
    if (failed)
        perror("floor");
    snprintf(layers, sizeof layers, "lowerdir=%s:%s", values[1], values[0]);
    snprintf(target, sizeof target, "%s/%s", values[0], values[2]);
    while (!failed && repeats-- > 0)
        failed = time_namespaces("namespaces", OF_EVERY_KIND, values) ||
                 time_namespaces("namespaces-without-network", WITHOUT_NETWORK, values) ||
                 time_mount("overlay", "floor", "overlay", MS_RDONLY, layers, target) ||
                 time_mount("bind", values[1], NULL, MS_BIND, NULL, target) ||
                 (values[4] && time_groups(values[4]));
    return failed;
}
