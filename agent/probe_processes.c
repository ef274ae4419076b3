/* Processes that multiply, hide, refuse to die, or attack others. */
#include "probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <pthread.h>
#include <unistd.h>

/* Bombs --------------------------------------------------------------------------------------- */

static void *idle_thread(void *unused) {
    (void)unused;
    sleep_for_ever();
}

static void *forking_thread(void *unused) {
    (void)unused;
    for (;;) fork();
    return NULL;
}

static void start_thread(void *(*function)(void *), void *argument) {
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 16384);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attributes, function, argument) != 0) nap(0.0001);
}

static _Noreturn void bomb_forks(void) {
    for (;;) fork();
}

static _Noreturn void bomb_threads(void) {
    for (;;) {
        start_thread(idle_thread, NULL);
        start_thread(forking_thread, NULL);
    }
}

static _Noreturn void bomb_vforks(void) {
    for (;;) {
        pid_t child = vfork();
        if (child == 0) {
            /* the parent waits in the kernel: go on in the child, on the same stack */
            for (;;)
                if (syscall(SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0) == 0) fork();
        }
    }
}

static _Noreturn void bomb_clones(void) {
    static const unsigned long flags[] = {0,           CLONE_PARENT, CLONE_UNTRACED,
                                          CLONE_FILES, CLONE_FS,     CLONE_IO,
                                          CLONE_PARENT | CLONE_FILES, CLONE_SYSVSEM};
    for (unsigned i = (unsigned)getpid();; i++) {
        unsigned long chosen = flags[i % (sizeof flags / sizeof *flags)];
        struct clone_args wanted = {.flags = chosen, .exit_signal = i % 3 ? SIGCHLD : 0};
        if (chosen & CLONE_PARENT) wanted.exit_signal = 0;
        if (syscall(SYS_clone3, &wanted, sizeof wanted) < 0)
            syscall(SYS_clone, chosen | (i % 3 ? SIGCHLD : 0), 0, 0, 0, 0);
    }
}

static _Noreturn void bomb_orphans(void) {
    for (;;) {
        pid_t child = fork();
        if (child > 0) {
            fork();
            _exit(0);
        }
    }
}

static _Noreturn void bomb_execs(char **argv) {
    char *const again[] = {"probe", "bomb", "exec", NULL};
    (void)argv;
    for (;;)
        if (fork() == 0) execv("/proc/self/exe", again);
}

static int bomb(int argc, char **argv) {
    if (argc > 2) {
        if (fork() != 0) {
            nap(0.2);
            return 0;
        }
    }
    ignore_signals();
    signal(SIGCHLD, strcmp(argv[1], "fork") == 0 ? SIG_DFL : SIG_IGN);
    if (strcmp(argv[1], "fork") == 0) bomb_forks();
    if (strcmp(argv[1], "thread") == 0) bomb_threads();
    if (strcmp(argv[1], "vfork") == 0) bomb_vforks();
    if (strcmp(argv[1], "clone") == 0) bomb_clones();
    if (strcmp(argv[1], "orphan") == 0) bomb_orphans();
    if (strcmp(argv[1], "exec") == 0) bomb_execs(argv);
    return 64;
}

static _Noreturn void hop_on(void) {
    for (;;) {
        pid_t child = fork();
        if (child > 0) _exit(0);
        if (child < 0) nap(0.0005);
    }
}

static int hop(int argc, char **argv) {
    (void)argc;
    signal(SIGCHLD, SIG_IGN);
    for (int i = atoi(argv[1]); i > 0; i--)
        if (fork() == 0) {
            ignore_signals();
            setsid();
            hop_on();
        }
    nap(0.1);
    say("hopping\n");
    return 0;
}

/* Descendants that are hard to find or to kill ------------------------------------------------- */

static void *beat_in_thread(void *file) {
    heartbeat(file);
}

static _Noreturn void beat_with_dead_leader(char *file) {
    start_thread(beat_in_thread, file);
    syscall(SYS_exit, 0); /* this thread only */
    _exit(1);
}

static _Noreturn void beat_stopped(const char *file) {
    int fd = open(file, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd >= 0 && write(fd, "x", 1) == 1) close(fd);
    kill(getpid(), SIGSTOP);
    heartbeat(file);
}

static _Noreturn void beat_beneath_stopped(const char *file) {
    if (fork() == 0) heartbeat(file);
    kill(getpid(), SIGSTOP);
    sleep_for_ever();
}

static _Noreturn void beat_deep(const char *file) {
    for (int depth = 0; depth < 30; depth++) {
        pid_t child = fork();
        if (child < 0) break;
        if (child > 0) sleep_for_ever();
    }
    heartbeat(file);
}

/* Two processes: whenever one finds the other gone, it starts it again. */
static _Noreturn void beat_and_respawn(const char *file) {
    pid_t partner = getpid();
    if (fork() == 0) {
        for (;;) {
            if (kill(partner, 0) < 0) {
                pid_t old = getpid();
                if (fork() > 0) heartbeat(file);
                partner = old;
            }
            nap(0.0002);
        }
    }
    heartbeat(file);
}

static _Noreturn void beat_beneath_subreaper(const char *file) {
    setsid();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (fork() == 0) {
        if (fork() > 0) _exit(0);
        prctl(PR_SET_PDEATHSIG, SIGURG);
        heartbeat(file);
    }
    for (;;)
        if (waitpid(-1, NULL, 0) < 0) nap(0.01);
}

/* Out of the execution's control groups, into the one that is above all executions'. */
static _Noreturn void beat_elsewhere(const char *file) {
    char path[512];
    DIR *groups = opendir("/.assay/cgroup");
    for (struct dirent *entry; groups && (entry = readdir(groups));) {
        snprintf(path, sizeof path, "/.assay/cgroup/%.200s/cgroup.procs", entry->d_name);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0) continue;
        if (write(fd, "0", 1) < 0) { /* one of the others may work */ }
        close(fd);
    }
    heartbeat(file);
}

static _Noreturn void beat_in_vfork(const char *file) {
    if (vfork() == 0) heartbeat(file);
    _exit(0);
}

static _Noreturn void be_ghost(const char *kind, char *file) {
    ignore_signals();
    if (strcmp(kind, "subreaper") == 0) beat_beneath_subreaper(file);
    if (strcmp(kind, "leader-dead") == 0) beat_with_dead_leader(file);
    if (strcmp(kind, "named") == 0) prctl(PR_SET_NAME, ") Z 0 0 0 (");
    if (strcmp(kind, "undumpable") == 0) prctl(PR_SET_DUMPABLE, 0);
    if (strcmp(kind, "vfork") == 0) beat_in_vfork(file);
    if (strcmp(kind, "moved") == 0) beat_elsewhere(file);
    if (strcmp(kind, "deep") == 0) beat_deep(file);
    if (strcmp(kind, "respawn") == 0) beat_and_respawn(file);
    if (strcmp(kind, "stopped") == 0) beat_stopped(file);
    if (strcmp(kind, "stopped-deep") == 0) beat_beneath_stopped(file);
    if (strcmp(kind, "thread") == 0) {
        start_thread(beat_in_thread, file);
        sleep_for_ever();
    }
    heartbeat(file);
}

static int ghost(int argc, char **argv) {
    (void)argc;
    int parent = strcmp(argv[1], "clone-parent") == 0;
    /* With CLONE_PARENT the new process is the agent's child, as if the agent had started it. */
    long child = parent ? syscall(SYS_clone, CLONE_PARENT, 0, 0, 0, 0) : fork();
    if (child < 0) fail("fork");
    if (child == 0) be_ghost(argv[1], argv[2]);
    await_heartbeat(argv[2]);
    say("left\n");
    return 0;
}

static int zombies(int argc, char **argv) {
    (void)argc;
    int made = 0;
    for (int i = atoi(argv[1]); i > 0; i--) {
        pid_t child = fork();
        if (child == 0) _exit(0);
        made += child > 0;
    }
    say("zombies=%d\n", made);
    return 0;
}

static int orphans(int argc, char **argv) {
    (void)argc;
    int count = atoi(argv[1]);
    for (int i = 0; i < count; i++) {
        pid_t child = fork();
        for (int tries = 0; child < 0 && tries < 200; tries++) {
            nap(0.01); /* process 1 may need a moment */
            child = fork();
        }
        if (child < 0) fail("fork");
        if (child == 0) {
            fork();
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
    say("orphans=%d\n", count);
    return 0;
}

static int stop(int argc, char **argv) {
    (void)argc, (void)argv;
    for (;;) kill(getpid(), SIGSTOP);
    return 0;
}

static int leader_dead(int argc, char **argv) {
    (void)argc, (void)argv;
    start_thread(idle_thread, NULL);
    syscall(SYS_exit, 0);
    return 1;
}

/* CPU time that is meant to be missed ---------------------------------------------------------- */

static int fork_spin(int argc, char **argv) {
    (void)argc;
    for (int i = atoi(argv[1]); i > 0; i--)
        if (fork() == 0) burn(-1);
    sleep_for_ever();
}

static int orphan_spin(int argc, char **argv) {
    (void)argc, (void)argv;
    if (fork() == 0) {
        setsid();
        if (fork() > 0) _exit(0);
        burn(-1);
    }
    sleep_for_ever();
}

static int short_children(int argc, char **argv) {
    (void)argc, (void)argv;
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        if (fork() == 0) {
            burn(0.005);
            _exit(0);
        }
        nap(0.005);
    }
}

static void *burning_thread(void *unused) {
    (void)unused;
    burn(-1);
    return NULL;
}

static int threads_spin(int argc, char **argv) {
    (void)argc;
    for (int i = atoi(argv[1]); i > 0; i--) start_thread(burning_thread, NULL);
    sleep_for_ever();
}

const struct verb process_verbs[] = {
    {"bomb", 1, bomb},
    {"hop", 1, hop},
    {"ghost", 2, ghost},
    {"zombies", 1, zombies},
    {"orphans", 1, orphans},
    {"stop", 0, stop},
    {"leader-dead", 0, leader_dead},
    {"fork-spin", 1, fork_spin},
    {"orphan-spin", 0, orphan_spin},
    {"short-children", 0, short_children},
    {"threads-spin", 1, threads_spin},
    {NULL, 0, NULL},
};
