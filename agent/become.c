/* Who a sandbox is, and what it may not: its namespaces, its users, and what process 1 gives up. */
#define _GNU_SOURCE
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FILTER_MOST = 4096, CAPABILITIES_MOST = 64 };

static struct sock_filter filter[FILTER_MOST];
static struct sock_fprog program = {.filter = filter};
static int users = -1; /* the sandbox's user namespace */

/* Of control groups: what we are in now is the top of what the sandbox can know of. */
static void step_top(char **with)
{
    (void)with;
    check(unshare(CLONE_NEWCGROUP) == 0, "see only", "own groups");
}

_Noreturn static int wait_for_the_end(void *nothing)
{
    (void)nothing;
    for (;;)
        pause();
}

/* A user namespace begins with a process, which waits until it is no longer needed; it shares our
 * memory, which would take longer to copy than all else here. `with`: where its own /proc is, and
 * the map of its ids. */
static void step_users(char **with)
{
    static _Alignas(16) char stack[4096];
    char path[128];
    pid_t first = clone(wait_for_the_end, stack + sizeof stack, CLONE_VM | CLONE_NEWUSER | SIGCHLD,
                        NULL);
    check(first > 0, "make", "a user namespace");
    static const char *const kinds[] = {"uid_map", "gid_map"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%d/%s", with[0], first, kinds[i]);
        write_file(path, with[1]);
    }
    snprintf(path, sizeof path, "%s/%d/ns/user", with[0], first);
    users = open(path, O_RDONLY | O_CLOEXEC);
    check(users >= 0, "open", path);
    check(kill(first, SIGKILL) == 0 && waitpid(first, NULL, 0) == first, "end", "its process");
}

/* One that somebody else has made, whose file is shown here. */
static void step_users_of(char **with)
{
    users = open(with[0], O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    check(users >= 0, "open", with[0]);
}

static void step_name(char **with)
{
    check(sethostname(with[0], strlen(with[0])) == 0, "take the name", with[0]);
}

static void step_loopback(char **with)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    (void)with;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    check(fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0, "bring up", "lo");
    close(fd);
}

static void step_core(char **with)
{
    rlim_t most = number(with[0]);
    check(setrlimit(RLIMIT_CORE, &(struct rlimit){most, most}) == 0, "limit", "core dumps");
}

/* Nothing of the server's session is left. */
static void step_session(char **with)
{
    (void)with;
    check(setsid() >= 0, "lead", "a session");
    (void)syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
}

/* The sandbox's own nothing, as the agent's standard input. */
static void step_input(char **with)
{
    int fd = open(with[0], O_RDONLY | O_CLOEXEC);
    check(fd >= 0 && dup2(fd, 0) == 0, "open", with[0]);
    close(fd);
}

/* From here on we are nobody outside. */
static void step_become(char **with)
{
    (void)with;
    check(setns(users, CLONE_NEWUSER) == 0, "enter", "the user namespace");
    check(syscall(SYS_setgroups, 0, NULL) == 0 && syscall(SYS_setresgid, 0, 0, 0) == 0 &&
          syscall(SYS_setresuid, 0, 0, 0) == 0, "become", "the sandbox's root");
}

static void step_capabilities(char **with)
{
    unsigned long kept = number(with[0]);
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    for (int each = 0; each < CAPABILITIES_MOST; each++) {
        if (kept >> each & 1 || prctl(PR_CAPBSET_DROP, each, 0, 0, 0) == 0)
            continue;
        check(errno == EINVAL, "give up", "a capability");
        break; /* the kernel knows no more */
    }
    for (int half = 0; half < 2; half++)
        data[half].effective = data[half].permitted = (uint32_t)(kept >> 32 * half);
    check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0 &&
          syscall(SYS_capset, &head, data) == 0, "give up", "capabilities");
}

static void step_filter(char **with)
{
    (void)with;
    check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "give up", "new privileges");
    check(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0, "load", "the filter");
}

/* Another filter than everybody's. */
static void step_filter_of(char **with)
{
    size_t length = read_digits(with[0], (uint8_t *)filter, sizeof filter);
    require(length && length % sizeof *filter == 0, "not a filter:", "of this sandbox");
    program.len = (unsigned short)(length / sizeof *filter);
    step_filter(with);
}

const struct step namespace_steps[] = {
    {"top", 0, step_top}, {"users", 2, step_users}, {"users_of", 1, step_users_of},
    {"name", 1, step_name}, {"loopback", 0, step_loopback}, {"core", 1, step_core},
    {"session", 0, step_session}, {"input", 1, step_input}, {"become", 0, step_become},
    {"capabilities", 1, step_capabilities}, {"filter", 0, step_filter},
    {"filter_of", 1, step_filter_of}, {0},
};

int user_namespace(void)
{
    return users;
}

bool take_filter(const void *bytes, ssize_t length)
{
    if (length <= 0 || length > (ssize_t)sizeof filter || length % (ssize_t)sizeof *filter)
        return false;
    memcpy(filter, bytes, (size_t)length);
    program.len = (unsigned short)(length / (ssize_t)sizeof *filter);
    return true;
}
