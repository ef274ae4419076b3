/* Attacks on process 1, and attempts to gain rights. */
#include "probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static long signal_init(const void *number) { return kill(1, *(const int *)number); }
static long renice_init(const void *unused) { (void)unused; return setpriority(PRIO_PROCESS, 1, 19); }

static long bind_init(const void *unused) {
    (void)unused;
    unsigned long mask = 1;
    return syscall(SYS_sched_setaffinity, 1, sizeof mask, &mask);
}

static long limit_init(const void *unused) {
    (void)unused;
    struct rlimit low = {3, 3};
    return (long)syscall(SYS_prlimit64, 1, RLIMIT_NOFILE, &low, NULL);
}

static long open_init(const void *path) { return open(path, O_RDWR | O_CLOEXEC); }

static int kill_all(int argc, char **argv) {
    (void)argc, (void)argv;
    static const int refusals[] = {EPERM, EACCES, ENOSYS, ENOENT, ESRCH, 0};
    char name[32];
    for (int number = 1; number < 65; number++) {
        if (number == 32 || number == 33) continue; /* musl's own */
        snprintf(name, sizeof name, "signal-%d-to-init", number);
        attempt(name, signal_init, &number);
    }
    attempt("renice-init", renice_init, NULL);
    attempt("affinity-of-init", bind_init, NULL);
    attempt("limits-of-init", limit_init, NULL);
    attempt_for("oom-score-of-init", open_init, "/proc/1/oom_score_adj", refusals);
    end_of_attempts();
    say("killing\n");
    kill(-1, SIGKILL);
    say("killed\n");
    return 0;
}

static int kill_loop(int argc, char **argv) {
    (void)argc;
    int number = atoi(argv[1]);
    say("killing\n");
    for (;;) kill(-1, number);
    return 0;
}

/* A set-user-id copy of this program that would run as `context`'s owner: does it? */
static long run_set_user_id(const void *context) {
    const char *copy = "set-user-id-copy";
    char buffer[65536];
    int from = open("/proc/self/exe", O_RDONLY), to = open(copy, O_WRONLY | O_CREAT | O_TRUNC, 0755);
    (void)context;
    if (from < 0 || to < 0) return -1;
    for (ssize_t got; (got = read(from, buffer, sizeof buffer)) > 0;)
        write_all(to, buffer, (size_t)got);
    close(to);
    if (chown(copy, 0, 0) < 0) {
        int refused = errno;
        unlink(copy);
        errno = refused;
        return -1;
    }
    return chmod(copy, 06755);
}

static long no_new_privileges(const void *unused) {
    (void)unused;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) return 1;
    errno = EPERM;
    return -1;
}

static long set_uid(const void *context) {
    uid_t id = *(const uid_t *)context;
    return setresuid(id, id, id);
}

static long set_gid(const void *context) {
    gid_t id = *(const gid_t *)context;
    return setresgid(id, id, id);
}


static long set_groups(const void *unused) {
    gid_t root = 0;
    (void)unused;
    return setgroups(1, &root);
}

static long set_fsuid(const void *unused) {
    (void)unused;
    syscall(SYS_setfsuid, 0);
    if (syscall(SYS_setfsuid, 0) == 0) return 0;
    errno = EPERM;
    return -1;
}

/* Any capability at all in any set of ours? */
static long have_capabilities(const void *unused) {
    (void)unused;
    char line[256];
    FILE *status = fopen("/proc/self/status", "re");
    if (!status) return 0;
    int found = 0;
    while (fgets(line, sizeof line, status)) {
        if (strncmp(line, "CapInh:", 7) && strncmp(line, "CapPrm:", 7) &&
            strncmp(line, "CapEff:", 7) && strncmp(line, "CapAmb:", 7) && strncmp(line, "CapBnd:", 7))
            continue;
        found |= strtoull(line + 7, NULL, 16) != 0 && strncmp(line, "CapBnd:", 7) != 0;
    }
    fclose(status);
    if (found) return 1;
    errno = EPERM;
    return -1;
}

static long gain_capabilities(const void *unused) {
    (void)unused;
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{~0u, ~0u, ~0u}, {0x1ff, 0x1ff, 0x1ff}};
    return (long)syscall(SYS_capset, &header, data);
}

static long schedule_real_time(const void *policy) {
    struct sched_param parameter = {.sched_priority = *(const int *)policy == 0 ? 0 : 1};
    return (long)syscall(SYS_sched_setscheduler, 0, *(const int *)policy, &parameter);
}

struct deadline { /* struct sched_attr, which libraries may know or not */
    unsigned size, policy;
    unsigned long long flags;
    int nice;
    unsigned priority;
    unsigned long long runtime, deadline, period;
};

static long schedule_deadline(const void *unused) {
    struct deadline wanted = {.size = sizeof wanted, .policy = 6, .runtime = 5000000,
                              .deadline = 10000000, .period = 10000000};
    (void)unused;
    return (long)syscall(SYS_sched_setattr, 0, &wanted, 0);
}

static long be_less_nice(const void *unused) { (void)unused; return setpriority(PRIO_PROCESS, 0, -20); }

static long raise_limit(const void *resource) {
    struct rlimit limit;
    getrlimit(*(const int *)resource, &limit);
    if (limit.rlim_max == RLIM_INFINITY) {
        errno = EPERM;
        return -1;
    }
    limit.rlim_cur = limit.rlim_max = limit.rlim_max + 1;
    return setrlimit(*(const int *)resource, &limit);
}

static long lower_oom_score(const void *unused) {
    (void)unused;
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -1 : (long)write(fd, "-1000", 5);
}

static long set_io_priority(const void *unused) {
    (void)unused;
    return (long)syscall(SYS_ioprio_set, 1, 0, 1 << 13 | 0); /* the real-time class */
}

static int privileges(int argc, char **argv) {
    static const uid_t root = 0, other = 10002, nobody = 65534;
    static const int fifo = SCHED_FIFO, round_robin = SCHED_RR, files = RLIMIT_NOFILE,
                     core = RLIMIT_CORE, locked = RLIMIT_MEMLOCK, pending = RLIMIT_SIGPENDING;
    (void)argc, (void)argv;
    attempt("set-user-id-root", run_set_user_id, NULL);
    attempt("no-new-privileges-off", no_new_privileges, NULL);
    attempt("setuid-root", set_uid, &root);
    attempt("setuid-other", set_uid, &other);
    attempt("setuid-nobody", set_uid, &nobody);
    attempt("setgid-root", set_gid, &root);
    attempt("setgid-other", set_gid, &other);
    attempt("setgroups", set_groups, NULL);
    attempt("setfsuid", set_fsuid, NULL);
    attempt("capabilities-held", have_capabilities, NULL);
    attempt("capset", gain_capabilities, NULL);
    attempt("sched-fifo", schedule_real_time, &fifo);
    attempt("sched-rr", schedule_real_time, &round_robin);
    attempt("sched-deadline", schedule_deadline, NULL);
    attempt("nice", be_less_nice, NULL);
    attempt("io-priority", set_io_priority, NULL);
    attempt("raise-open-files", raise_limit, &files);
    attempt("raise-core", raise_limit, &core);
    attempt("raise-locked", raise_limit, &locked);
    attempt("raise-pending", raise_limit, &pending);
    attempt("oom-score", lower_oom_score, NULL);
    return end_of_attempts();
}

static int processes(int argc, char **argv) {
    (void)argc, (void)argv;
    DIR *all = opendir("/proc");
    if (!all) fail("/proc");
    for (struct dirent *entry; (entry = readdir(all));) {
        char path[64], line[256], name[64] = "?";
        unsigned uid = 0;
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9') continue;
        snprintf(path, sizeof path, "/proc/%.20s/status", entry->d_name);
        FILE *status = fopen(path, "re");
        if (!status) continue;
        while (fgets(line, sizeof line, status)) {
            sscanf(line, "Name: %63[^\n]", name);
            sscanf(line, "Uid: %u", &uid);
        }
        fclose(status);
        say("pid=%.20s uid=%u name=%s\n", entry->d_name, uid, name);
    }
    closedir(all);
    return 0;
}

const struct verb rights_verbs[] = {
    {"kill-all", 0, kill_all},
    {"kill-loop", 1, kill_loop},
    {"privileges", 0, privileges},
    {"processes", 0, processes},
    {NULL, 0, NULL},
};
