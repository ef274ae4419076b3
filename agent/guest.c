/* guest: process 1 of a virtual machine, which makes the one sandbox in it.
 *
 * The initial RAM disk holds it, the agent, the kernel's modules, and what the driver wants done:
 *
 *   /boot    a plan (plan.c) for this process: modules, file systems, groups with their limits
 *   /plan    a plan for the sandbox's process 1, in namespaces of its own; it ends with "wait"
 *   /filter  its seccomp filter
 *
 * Once the sandbox waits, this says so to the host ("ready"), and waits for who it is to be: this is
 * where a machine may be kept, to be restored many times. The host then says, on the first port:
 *
 *   4 bytes   the length of what follows
 *   32        the token that connections begin with (relay.c)
 *   64        random bytes, for the kernel
 *   8         the time, nanoseconds since 1970
 *   32        the machine's id, as text
 *   ...       the rest of the sandbox's plan, which ends with the agent
 *
 * and gets "started", or what went wrong. From then on bytes are carried between the host and the
 * agent (relay.c), until the agent ends, and the machine with it. Where the machine has a socket to
 * its host (vsock), the agent listens there itself, and nothing is carried. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/vm_sockets.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int mount(const char *, const char *, const char *, unsigned long, const void *);
#define BIND 4096

enum { ENTROPY_SIZE = 64, TIME_SIZE = 8, MACHINE_ID_SIZE = 32, PATIENCE = 500, VSOCK_PORT = 1024,
       IDENTITY_SIZE = TOKEN_SIZE + ENTROPY_SIZE + TIME_SIZE + MACHINE_ID_SIZE,
       NAMESPACES = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET };

static const char AGENTS_SOCKET[] = "/agent.socket", MACHINE_ID[] = "/machine-id";

static uint8_t identity[IDENTITY_SIZE + PLAN_MOST];
static char plan[PLAN_MOST];
static int maker = -1; /* in the sandbox: the socket to who makes it */
static int ports; /* of the console, to the host; 0: a vsock leads there */

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

static _Noreturn void end_machine(void)
{
    reboot(RB_AUTOBOOT);
    _exit(0);
}

/* Process 1 of the machine has nobody to tell, but for who reads the console. */
void complain(const char *text, size_t length)
{
    if (maker >= 0) {
        (void)!send(maker, text, length, MSG_NOSIGNAL);
        return;
    }
    fprintf(stderr, "guest: %.*s\n", (int)length, text);
    end_machine();
}

static ssize_t read_file(const char *path, void *to, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, to, size);
    check(length >= 0, "read", path);
    close(fd);
    return length;
}

/* ---- steps ---- */

static void step_module(char **with)
{
    int fd = open(with[0], O_RDONLY | O_CLOEXEC);
    check(fd >= 0 && (syscall(SYS_finit_module, fd, "", 0) == 0 || errno == EEXIST), "load", with[0]);
    close(fd);
}

/* The disk may be found a moment after its module was loaded. */
static void step_disk(char **with)
{
    for (int i = 0; i < PATIENCE && access(with[0], F_OK) < 0; i++)
        nap();
    check(mount(with[0], with[1], with[2], number(with[3]), "") == 0, "mount", with[0]);
}

/* Not every kernel has everything that is to be out of sight. `with`: an empty folder and file. */
static void step_mask(char **with)
{
    struct stat found;
    if (stat(with[0], &found) < 0)
        return;
    const char *nothing = S_ISDIR(found.st_mode) ? with[1] : with[2];
    check(mount(nothing, with[0], NULL, BIND, NULL) == 0, "mask", with[0]);
}

static void step_wait(char **with)
{
    (void)with;
    check(send(maker, "ready", 5, MSG_NOSIGNAL) == 5, "speak to", "process 1");
    ssize_t length = recv(maker, plan, sizeof plan, 0);
    follow_plan(plan, length);
}

static void step_ports(char **with) { ports = (int)number(with[0]); }

const struct step own_steps[] = {
    {"ports", 1, step_ports},
    {"module", 1, step_module}, {"disk", 4, step_disk}, {"mask", 3, step_mask},
    {"wait", 0, step_wait},
    {0},
};

/* ---- who this machine is ---- */

static void take_entropy(const uint8_t *bytes)
{
    /* The kernel's struct rand_pool_info, whose end has no length in C. */
    struct { int bits, size; uint8_t bytes[ENTROPY_SIZE]; } given = {
        .bits = ENTROPY_SIZE * 8, .size = ENTROPY_SIZE};
    memcpy(given.bytes, bytes, ENTROPY_SIZE);
    int fd = open("/devices/urandom", O_WRONLY | O_CLOEXEC);
    check(fd >= 0 && ioctl(fd, RNDADDENTROPY, &given) == 0 && ioctl(fd, RNDRESEEDCRNG, 0) == 0,
          "take", "random bytes");
    close(fd);
    explicit_bzero(&given, sizeof given);
}

static void take_time(uint64_t since_1970)
{
    struct timespec now = {.tv_sec = (time_t)(since_1970 / 1000000000u),
                           .tv_nsec = (long)(since_1970 % 1000000000u)};
    check(clock_settime(CLOCK_REALTIME, &now) == 0, "set", "the clock");
}

static void take_machine_id(const uint8_t *text)
{
    int fd = open(MACHINE_ID, O_WRONLY | O_CLOEXEC);
    check(fd >= 0 && write(fd, text, MACHINE_ID_SIZE) == MACHINE_ID_SIZE, "write", MACHINE_ID);
    close(fd);
}

/* Before the host is there, nothing comes. */
static void read_all(int fd, uint8_t *to, size_t length)
{
    for (size_t have = 0; have < length;) {
        ssize_t got = read(fd, to + have, length - have);
        if (got > 0)
            have += (size_t)got;
        else
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

static void say_all(int fd, const char *text, size_t length)
{
    for (int i = 0; i < PATIENCE && length > 0; i++) {
        ssize_t said = write(fd, text, length);
        if (said < 0) {
            nap();
            continue;
        }
        text += said;
        length -= (size_t)said;
    }
}

/* Returns the length of the plan's rest, which follows the identity. */
static size_t become_somebody(int host)
{
    uint8_t head[4];
    read_all(host, head, sizeof head);
    size_t length = get_number(head, 4);
    require(length > IDENTITY_SIZE && length <= sizeof identity, "not who to be:", "the host's word");
    read_all(host, identity, length);
    const uint8_t *at = identity + TOKEN_SIZE;
    take_entropy(at);
    take_time(get_number(at + ENTROPY_SIZE, 8));
    take_machine_id(at + ENTROPY_SIZE + TIME_SIZE);
    explicit_bzero(identity + TOKEN_SIZE, ENTROPY_SIZE);
    return length - IDENTITY_SIZE;
}

/* ---- the sandbox ---- */

static int listen_as(int family, const void *address, socklen_t size)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd >= 0 && bind(fd, address, size) == 0 && listen(fd, 16) == 0 ? fd : -1;
}

/* For the agent, who finds it listening. */
static void listen_for_agent(void)
{
    struct sockaddr_un here = {.sun_family = AF_UNIX};
    struct sockaddr_vm host = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY,
                               .svm_port = VSOCK_PORT + 1};
    memcpy(here.sun_path, AGENTS_SOCKET, sizeof AGENTS_SOCKET);
    int fd = !ports ? listen_as(AF_VSOCK, &host, sizeof host)
                             : listen_as(AF_UNIX, &here, sizeof here);
    check(fd >= 0 && dup2(fd, GIVEN_LISTENER) == GIVEN_LISTENER, "listen at", "the agent's socket");
    close(fd);
}

static pid_t start_sandbox(int given[2])
{
    struct clone_args how = {.flags = NAMESPACES, .exit_signal = SIGCHLD};
    check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, given) == 0, "make", "a socket");
    pid_t pid = (pid_t)syscall(SYS_clone3, &how, sizeof how);
    check(pid >= 0, "clone into", "new namespaces");
    if (pid == 0) {
        maker = given[1];
        close(given[0]);
        follow_plan(plan, read_file("/plan", plan, sizeof plan));
    }
    close(given[1]);
    return pid;
}

/* The sandbox's process says "ready", or what went wrong. */
static void await_sandbox(int sandbox)
{
    char text[512];
    ssize_t length = recv(sandbox, text, sizeof text, 0);
    if (length == 5 && !memcmp(text, "ready", 5))
        return;
    complain(text, length > 0 ? (size_t)length : 0);
}

/* Its socket closes as it becomes the agent; anything else that is said there is what went wrong. */
static void finish_sandbox(int sandbox, size_t length, int host)
{
    char text[512];
    check(send(sandbox, identity + IDENTITY_SIZE, length, 0) == (ssize_t)length, "speak to",
          "the sandbox");
    explicit_bzero(identity + IDENTITY_SIZE, length);
    ssize_t wrong = recv(sandbox, text, sizeof text - 1, 0);
    if (wrong > 0) {
        say_all(host, text, (size_t)wrong);
        complain(text, (size_t)wrong);
    }
    say_all(host, "started", 7);
    close(sandbox);
}

static int watch_children(void)
{
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int meet_host(void)
{
    struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY,
                                  .svm_port = VSOCK_PORT};
    if (ports)
        return relay_open("/devices", ports);
    int fd = listen_as(AF_VSOCK, &address, sizeof address);
    check(fd >= 0, "find", "a way to the host");
    return fd;
}

/* Over a vsock it is the host's connection that shows that it is there. */
static int accept_host(int listener)
{
    int fd = -1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0)
        nap();
    close(listener);
    return fd;
}

static bool has_ended(pid_t sandbox)
{
    return waitpid(sandbox, NULL, WNOHANG) == sandbox;
}

int main(void)
{
    int given[2];
    umask(0);
    follow_steps(plan, read_file("/boot", plan, sizeof plan));
    require(take_filter(plan, read_file("/filter", plan, FILTER_BYTES_MOST)), "read", "the filter");
    int signals = watch_children(), host = meet_host();
    listen_for_agent();
    pid_t sandbox = start_sandbox(given);
    await_sandbox(given[0]);
    if (!ports) {
        fputs("guest: ready\n", stderr); /* nobody is connected yet whom it could be told */
        host = accept_host(host);
    }
    say_all(host, "ready", 5);
    size_t length = become_somebody(host);
    finish_sandbox(given[0], length, host);
    if (!ports) {
        close(host);
        waitpid(sandbox, NULL, 0);
        end_machine();
    }
    for (relay_watch(identity, AGENTS_SOCKET, signals); !has_ended(sandbox);)
        relay_turn();
    end_machine();
}
