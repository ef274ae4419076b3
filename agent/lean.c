/* lean: makes sandboxes from plans, each in little more than the time of one clone.
 *
 * The server keeps one running. The first message on standard input, a socket that keeps messages
 * apart, is a seccomp filter. Each of the others starts a process in new namespaces, which is to
 * become a sandbox's process 1: with the message come a socket, over which that process alone talks
 * with the server from then on, and two descriptors: where the agent's output goes, and a lock that
 * the process holds until it is the agent. The end of this program is no concern of theirs.
 *
 * plan.c says what a plan is. All steps are taken as the user who runs the server. On "wait" the
 * process says that it is ready and waits for the rest of its plan: what comes before it is the same
 * for all sandboxes.
 * When the agent runs, the socket closes; anything else that is said on it is what went wrong.
 *
 *   lean enter FILE... -- PROGRAM ARGUMENT...   is for the driver "lxc": a program in groups
 *   lean follow PIPE      is for container engines: it waits for its plan, and follows that */
#define _GNU_SOURCE
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { GIVEN_DESCRIPTORS = 3,
       NAMESPACES = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET };

static char plan[PLAN_MOST];
static int server = -1; /* the socket to it, if there is one */

void complain(const char *text, size_t length)
{
    if (server < 0)
        fprintf(stderr, "lean: %.*s\n", (int)length, text);
    else
        (void)!send(server, text, length, MSG_NOSIGNAL);
}

/* The server may be gone by then: this process is the only one in its namespaces, and ends. */
static void step_wait(char **with)
{
    (void)with;
    check(send(server, "ready", 5, MSG_NOSIGNAL) == 5, "speak to", "the server");
    ssize_t length = recv(server, plan, sizeof plan, 0);
    if (length <= 0)
        _exit(0);
    follow_plan(plan, length);
}

const struct step own_steps[] = {{"wait", 0, step_wait}};
const size_t own_step_count = 1;

/* ---- the helper ---- */

/* In its own namespace it is number 1; the host's /proc knows what it is there. */
static void tell_number(void)
{
    char number[32] = {0}, text[64];
    check(readlink("/proc/self", number, sizeof number - 1) > 0, "read", "/proc/self");
    int length = snprintf(text, sizeof text, "pid %s", number);
    check(send(server, text, (size_t)length, MSG_NOSIGNAL) == length, "speak to", "the server");
}

static _Noreturn void begin(ssize_t length, const int *given)
{
    server = given[0];
    signal(SIGCHLD, SIG_DFL);
    umask(0);
    check(dup2(given[1], 1) == 1 && dup2(given[1], 2) == 2, "open", "the output");
    hold_devices();
    tell_number();
    follow_plan(plan, length);
}

static void start(ssize_t length, const int *given)
{
    struct clone_args how = {.flags = NAMESPACES, .exit_signal = SIGCHLD};
    pid_t pid = (pid_t)syscall(SYS_clone3, &how, sizeof how);
    if (pid == 0)
        begin(length, given);
    char text[128];
    int told = snprintf(text, sizeof text, "%d clone into new namespaces: %s", errno, strerror(errno));
    if (pid < 0)
        (void)!send(given[0], text, (size_t)told, MSG_NOSIGNAL);
}

static ssize_t receive(int *given, int *count)
{
    char space[CMSG_SPACE(GIVEN_DESCRIPTORS * sizeof *given)];
    struct iovec part = {.iov_base = plan, .iov_len = sizeof plan};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space,
                             .msg_controllen = sizeof space};
    ssize_t length = recvmsg(0, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *head = length > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    *count = 0;
    if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS) {
        *count = (int)((head->cmsg_len - CMSG_LEN(0)) / sizeof *given);
        memcpy(given, CMSG_DATA(head), (size_t)*count * sizeof *given);
    }
    return length;
}

static bool read_filter(void)
{
    return take_filter(plan, recv(0, plan, sizeof plan, 0));
}

/* Starts a program in control groups from its first instruction on, by the files of theirs. */
static int enter_and_run(char **argument)
{
    for (; *argument && strcmp(*argument, "--") != 0; argument++) {
        int file = open(*argument, O_WRONLY | O_CLOEXEC);
        if (file < 0 || write(file, "0", 1) != 1)
            break;
        close(file);
    }
    if (*argument && !strcmp(*argument, "--") && *++argument)
        execv(*argument, argument);
    fprintf(stderr, "lean: %s: %s\n", *argument ? *argument : "enter", strerror(errno));
    return 127;
}

/* In a container that somebody else has made. Who gives up making a sandbox writes nothing. */
static int follow(const char *path)
{
    int pipe = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    check(pipe >= 0, "open", path);
    size_t length = 0;
    for (ssize_t more; (more = read(pipe, plan + length, sizeof plan - length)) > 0;)
        length += (size_t)more;
    if (length == 0)
        return 0;
    follow_plan(plan, (ssize_t)length);
}

int main(int count_of_words, char **argument)
{
    int given[GIVEN_DESCRIPTORS], count;
    if (count_of_words > 1 && !strcmp(argument[1], "enter"))
        return enter_and_run(argument + 2);
    if (count_of_words == 3 && !strcmp(argument[1], "follow"))
        return follow(argument[2]);
    signal(SIGCHLD, SIG_IGN); /* nobody waits for sandboxes that have ended */
    if (!read_filter()) {
        fputs("lean: makes sandboxes for a server, which starts it; it has no use by itself\n",
              stderr);
        return 2;
    }
    for (ssize_t length; (length = receive(given, &count)) != 0;) {
        if (length > 0 && count == GIVEN_DESCRIPTORS)
            start(length, given);
        for (int i = 0; i < count; i++)
            close(given[i]);
    }
    return 0; /* the server has ended */
}
