/* Programs that take all there is: memory, kernel objects, files. */
#include "probe.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MEBIBYTE = 1 << 20, PAGE = 4096 };

/* Memory --------------------------------------------------------------------------------------- */

static void *map(size_t size, int flags) {
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

static _Noreturn void eat_for_ever(void) {
    for (;;) {
        char *piece = map(MEBIBYTE, 0);
        if (piece == MAP_FAILED) nap(0.001);
        else memset(piece, 1, MEBIBYTE);
    }
}

static int eat(int argc, char **argv) {
    (void)argc;
    long most = atol(argv[1]), eaten = 0;
    while (most == 0 || eaten < most) {
        char *piece = map(MEBIBYTE, 0);
        if (piece == MAP_FAILED) fail("mmap");
        memset(piece, 1, MEBIBYTE);
        eaten++;
        if (most == 0 && eaten % 16 == 0) say("eaten %ld\n", eaten);
    }
    say("eaten %ld\n", eaten);
    return 0;
}

static int eat_child(int argc, char **argv) {
    (void)argc;
    int status = 0;
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) eat_for_ever();
    waitpid(child, &status, 0);
    say("child %s %d\n", WIFSIGNALED(status) ? "signal" : "exit",
        WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return atoi(argv[1]);
}

static int eat_many(int argc, char **argv) {
    (void)argc, (void)argv;
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        pid_t child = fork();
        if (child == 0) eat_for_ever();
        nap(0.01);
    }
}

static int reserve(int argc, char **argv) {
    (void)argc;
    for (long i = atol(argv[1]); i > 0; i--)
        if (map((size_t)1 << 30, MAP_NORESERVE) == MAP_FAILED) fail("mmap");
    say("reserved\n");
    return 0;
}

static int deeper(volatile int *above) {
    volatile int frame[256];
    frame[0] = *above + 1;
    if (frame[0] < 0) return 0; /* never: the stack ends long before */
    return deeper(frame) + frame[255 & frame[0]];
}

static int recurse(int argc, char **argv) {
    volatile int start = argc;
    (void)argv;
    return deeper(&start);
}

/* Kernel objects: each function takes one, and answers below zero when it gets none -------------- */

static long take_file(long number) { (void)number; return open("/dev/null", O_RDONLY); }
static long take_epoll(long number) {
    struct epoll_event event = {.events = EPOLLIN};
    static int watched = -1;
    if (watched < 0) watched = eventfd(0, 0);
    (void)number;
    int fd = epoll_create1(0);
    return fd < 0 ? fd : epoll_ctl(fd, EPOLL_CTL_ADD, watched, &event);
}
static long take_timer(long number) { (void)number; return timerfd_create(CLOCK_MONOTONIC, 0); }
static long take_inotify(long number) {
    int fd = inotify_init1(0);
    (void)number;
    return fd < 0 ? fd : inotify_add_watch(fd, ".", IN_ACCESS);
}
static long take_pty(long number) { (void)number; return open("/dev/ptmx", O_RDWR | O_NOCTTY); }

static long take_pipe(long number) {
    static char full[MEBIBYTE];
    int ends[2];
    (void)number;
    if (pipe2(ends, O_NONBLOCK) < 0) return -1;
    fcntl(ends[1], F_SETPIPE_SZ, MEBIBYTE);
    while (write(ends[1], full, sizeof full) > 0) continue;
    return 0;
}

static long take_socket(long number) {
    static char full[65536];
    int ends[2], size = 64 * MEBIBYTE;
    (void)number;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) < 0) return -1;
    for (int i = 0; i < 2; i++) {
        setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        while (write(ends[i], full, sizeof full) > 0) continue;
    }
    return 0;
}

static const struct sockaddr_in any_port = {.sin_family = AF_INET,
                                            .sin_addr.s_addr = 0x0100007f /* 127.0.0.1, swapped */};

static int bound_socket(int kind, struct sockaddr_in *address) {
    int fd = socket(AF_INET, kind | SOCK_NONBLOCK, 0), size = 64 * MEBIBYTE;
    socklen_t length = sizeof *address;
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (bind(fd, (const struct sockaddr *)&any_port, sizeof any_port) < 0) return -1;
    return getsockname(fd, (struct sockaddr *)address, &length) < 0 ? -1 : fd;
}

/* Below zero unless at least something was taken. */
static long fill_socket(int fd) {
    static char full[32768];
    int size = 64 * MEBIBYTE;
    long writes = 0;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    while (writes < 4096 && send(fd, full, sizeof full, MSG_DONTWAIT | MSG_NOSIGNAL) > 0) writes++;
    return writes > 0 ? 0 : -1;
}

static long take_tcp(long number) {
    static struct sockaddr_in address;
    static int listener = -1;
    (void)number;
    if (listener < 0) {
        listener = bound_socket(SOCK_STREAM, &address);
        if (listener < 0 || listen(listener, 16) < 0) return -1;
    }
    int caller = socket(AF_INET, SOCK_STREAM, 0);
    if (caller < 0 || connect(caller, (struct sockaddr *)&address, sizeof address) < 0) return -1;
    int called = accept(listener, NULL, NULL);
    if (called < 0 || fill_socket(caller) < 0) return -1;
    return fill_socket(called);
}

/* To itself: more than the buffer has room for is dropped, and says nothing. */
static long take_udp(long number) {
    struct sockaddr_in address;
    (void)number;
    int fd = bound_socket(SOCK_DGRAM, &address);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) return -1;
    char full[32768] = {0};
    int queued = 0;
    for (int i = 0; i < 64; i++) queued += send(fd, full, sizeof full, MSG_DONTWAIT) > 0;
    return queued > 0 ? 0 : -1;
}

/* Descriptors in flight: sent to ourselves, never received, their originals closed. */
static long take_rights(long number) {
    static int ends[2] = {-1, -1}, used;
    char byte = 0, control[CMSG_SPACE(sizeof(int) * 64)] = {0};
    struct iovec data = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    (void)number;
    if ((ends[0] < 0 || used == 64) && socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends) < 0)
        return -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * 64);
    int *fds = (int *)(void *)CMSG_DATA(header), got = 0;
    while (got < 64 && (fds[got] = open("/dev/null", O_RDONLY)) >= 0) got++;
    long result = got == 64 ? sendmsg(ends[0], &message, 0) : -1;
    int problem = errno;
    used = result < 0 ? 64 : used + 1;
    for (int i = 0; i < got; i++) close(fds[i]);
    errno = problem;
    return result < 0 && problem == EAGAIN ? 0 : result;
}

static long take_memfd(long number) {
    (void)number;
    int fd = memfd_create("probe", MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, MEBIBYTE) < 0) return -1;
    char *memory = mmap(NULL, MEBIBYTE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) return -1;
    memset(memory, 1, MEBIBYTE);
    munmap(memory, MEBIBYTE);
    return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
}

static long take_shm(long number) {
    (void)number;
    int id = shmget(IPC_PRIVATE, MEBIBYTE, IPC_CREAT | 0600);
    if (id < 0) return -1;
    char *memory = shmat(id, NULL, 0);
    if (memory == (void *)-1) return -1;
    memset(memory, 1, MEBIBYTE);
    return shmdt(memory);
}

static long take_shmfile(long number) {
    static char full[MEBIBYTE];
    char path[64];
    snprintf(path, sizeof path, "/dev/shm/hoard-%d-%ld", getpid(), number);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    if (fd < 0) return -1;
    ssize_t wrote = write(fd, full, sizeof full);
    close(fd);
    return wrote;
}

static long take_mqueue(long number) {
    char name[32], message[1024] = {0};
    struct mq_attr attributes = {.mq_maxmsg = 10, .mq_msgsize = sizeof message};
    snprintf(name, sizeof name, "/probe-%d-%ld", getpid(), number);
    mqd_t queue = mq_open(name, O_CREAT | O_RDWR | O_NONBLOCK, 0600, &attributes);
    if (queue < 0) return -1;
    while (mq_send(queue, message, sizeof message, 0) == 0) continue;
    return 0;
}

static long take_aio(long number) {
    aio_context_t context = 0;
    (void)number;
    return (long)syscall(SYS_io_setup, 1024, &context);
}

/* One page in every 2 MiB: as much memory in page tables as in pages. */
static long take_pagetable(long number) {
    (void)number;
    char *area = map((size_t)1 << 30, MAP_NORESERVE);
    if (area == MAP_FAILED) return -1;
    madvise(area, (size_t)1 << 30, MADV_NOHUGEPAGE);
    for (size_t at = 0; at < (size_t)1 << 30; at += (size_t)2 << 20)
        if (*(volatile char *)(area + at) != 0) return -1; /* read: the shared page of zeros */
    return 0;
}

static long take_mapping(long number) {
    int protection = number % 2 ? PROT_READ : PROT_READ | PROT_WRITE; /* so that none can be merged */
    void *page = mmap(NULL, PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? -1 : 0;
}

static long take_lock(long number) {
    static int fd = -1;
    struct flock lock = {.l_type = F_WRLCK, .l_start = number * 2, .l_len = 1};
    if (fd < 0) fd = open("lock", O_RDWR | O_CREAT, 0600);
    return number > 200000 ? -1 : fcntl(fd, F_OFD_SETLK, &lock);
}

/* Names that do not exist are remembered by the kernel, too. */
static long take_dentry(long number) {
    char path[300];
    struct stat status;
    snprintf(path, sizeof path, "/tmp/%0200ld-%d", number, getpid());
    stat(path, &status);
    return number > 200000 ? -1 : 0;
}

static long take_posix_timer(long number) {
    timer_t timer;
    struct sigevent none = {.sigev_notify = SIGEV_NONE};
    (void)number;
    return timer_create(CLOCK_MONOTONIC, &none, &timer);
}

static long take_signal(long number) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMAX);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return sigqueue(getpid(), SIGRTMAX, (union sigval){.sival_int = (int)number});
}

static long take_locked(long number) {
    (void)number;
    void *area = map(65536, 0);
    return area == MAP_FAILED ? -1 : mlock(area, 65536);
}

static const struct taker {
    const char *name;
    long (*take)(long number);
} takers[] = {
    {"files", take_file},           {"pipes", take_pipe},     {"sockets", take_socket},
    {"rights", take_rights},        {"epoll", take_epoll},    {"timers", take_timer},
    {"memfd", take_memfd},          {"inotify", take_inotify}, {"shm", take_shm},
    {"mqueue", take_mqueue},        {"pty", take_pty},        {"aio", take_aio},
    {"pagetables", take_pagetable}, {"mappings", take_mapping}, {"locks", take_lock},
    {"dentries", take_dentry},      {"posix-timers", take_posix_timer},
    {"signals", take_signal},       {"shmfile", take_shmfile},
    {"locked", take_locked},        {"tcp", take_tcp},        {"udp", take_udp},
};

static const struct taker *taker_named(const char *name) {
    for (size_t i = 0; i < sizeof takers / sizeof *takers; i++)
        if (strcmp(takers[i].name, name) == 0) return &takers[i];
    _exit(64);
}

/* Shared by all hoarders, and made before any of them. */
static struct { volatile long total, processes, last, done; } *score;

static _Noreturn void hoard_here(const struct taker *taker) {
    long number = 0, most = 300000;
    signal(SIGPIPE, SIG_IGN);
    __sync_fetch_and_add(&score->processes, 1);
    while (number < most && taker->take(number) >= 0) {
        number++;
        __sync_fetch_and_add(&score->total, 1);
    }
    score->last = number == most ? 0 : errno;
    __sync_fetch_and_add(&score->done, 1);
    sleep_for_ever();
}

static int hoard(int argc, char **argv) {
    (void)argc;
    const struct taker *taker = taker_named(argv[1]);
    score = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (score == MAP_FAILED) fail("mmap");
    long started = 0;
    for (; started < 256; started++) {
        pid_t child = fork();
        if (child < 0) break;
        if (child == 0) hoard_here(taker);
    }
    for (int i = 0; i < 100 && score->done < started; i++) {
        nap(0.02);
        while (waitpid(-1, NULL, WNOHANG) > 0) started--; /* killed for its memory */
    }
    say("hoarded total=%ld processes=%ld last=%s\n", score->total, score->processes,
        errno_name((int)score->last));
    sleep_for_ever();
}

static int try(int argc, char **argv) {
    (void)argc;
    errno = 0;
    long result = taker_named(argv[1])->take(0);
    say("one %s\n", result < 0 ? errno_name(errno) : "ok");
    return 0;
}

/* Files ---------------------------------------------------------------------------------------- */

static int fill(int argc, char **argv) {
    static char piece[65536];
    char path[4096];
    long long bytes = 0;
    snprintf(path, sizeof path, "%s/fill-%d", argv[1], getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        say("bytes=0 error=%s\n", errno_name(errno));
        return 0;
    }
    for (ssize_t wrote; (wrote = write(fd, piece, sizeof piece)) > 0;) bytes += wrote;
    int problem = errno;
    if (argc < 3) unlink(path);
    say("bytes=%lld error=%s\n", bytes, errno_name(problem));
    return 0;
}

static int inodes(int argc, char **argv) {
    char path[4096];
    long made = 0, most = argc > 2 ? atol(argv[2]) : 10000000;
    errno = 0;
    for (; made < most; made++) {
        snprintf(path, sizeof path, "%s/inode-%d-%ld", argv[1], getpid(), made);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0) break;
        close(fd);
    }
    say("inodes=%ld error=%s\n", made, made == most ? "none" : errno_name(errno));
    return 0;
}

static int sparse(int argc, char **argv) {
    (void)argc;
    int fd = open(argv[1], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)atol(argv[2]) << 30) < 0) fail(argv[1]);
    say("sparse\n");
    return 0;
}

static int nest(int argc, char **argv) {
    (void)argc;
    char name[201];
    long made = 0, count = atol(argv[2]);
    memset(name, 'd', sizeof name - 1);
    name[200] = 0;
    if (chdir(argv[1]) < 0) fail(argv[1]);
    while (made < count && mkdir(name, 0700) == 0 && chdir(name) == 0) made++;
    say("nested=%ld\n", made);
    return 0;
}

const struct verb resource_verbs[] = {
    {"eat", 1, eat},
    {"eat-child", 1, eat_child},
    {"eat-many", 0, eat_many},
    {"reserve", 1, reserve},
    {"recurse", 0, recurse},
    {"hoard", 1, hoard},
    {"try", 1, try},
    {"fill", 1, fill},
    {"inodes", 1, inodes},
    {"sparse", 2, sparse},
    {"nest", 2, nest},
    {NULL, 0, NULL},
};
