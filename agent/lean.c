/* lean: makes sandboxes from plans, each in little more than the time of one clone.
 *
 * The server keeps one running. The first message on standard input, a socket that keeps messages
 * apart, is a seccomp filter. Of the others, those that come with three descriptors start a process
 * in new namespaces, which is to become a sandbox's process 1. They are a socket, over which that
 * process alone talks with the server from then on, where the agent's output goes, and a lock that the
 * process holds until it is the agent. The end of this program is no concern of theirs. Those that
 * come alone are errands: steps on the host, which are taken at once and answered at the same place.
 *
 * plan.c says what a plan is. All steps are taken as the user who runs the server. On "wait" the
 * process says that it is ready, with its number and when it was started, hands over a descriptor that
 * stands for it, and waits for the rest of its plan: what comes before it is the same for all
 * sandboxes. When the agent runs, the socket closes; anything else that is said on it is what went
 * wrong.
 *
 *   lean enter FILE... -- PROGRAM ARGUMENT...   is for the driver "lxc": a program in groups
 *   lean follow PIPE      is for container engines: it waits for its plan, and follows that */
#define _GNU_SOURCE
#include "lean.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GIVEN_DESCRIPTORS = 3, SECONDS_WITHOUT_PLAN = 120,
       NAMESPACES = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS };

static char plan[PLAN_MOST];
static int server = -1; /* the socket to it, if there is one */
static bool on_errand;
static jmp_buf errand_is_over;
static const char errand[] = "errand"; /* their first word: a plan may have lost its descriptors */
static sigset_t anything; /* which signals are let through when none is kept back */
static volatile sig_atomic_t some_ended = 1; /* since somebody looked */

void complain(const char *text, size_t length)
{
    if (server < 0)
        fprintf(stderr, "lean: %.*s\n", (int)length, text);
    else
        (void)!send(server, text, length, MSG_NOSIGNAL);
    if (on_errand)
        longjmp(errand_is_over, 1); /* this process goes on */
}

/* ---- who a process is ---- */

/* In its own namespace it is number 1; the host's /proc knows what it is there: the first number, and
 * the twentieth after the program's name, which may hold anything. It is read once: the kernel counts
 * up all that a process is for that file. */
static const char *who(void)
{
    static char text[64];
    char line[1024] = {0}, *at;
    if (text[0])
        return text;
    int file = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    check(file >= 0 && read(file, line, sizeof line - 1) > 0 && (at = strrchr(line, ')')),
          "read", "/proc/self/stat");
    close(file);
    for (int i = 0; i < 20 && at; i++)
        at = strchr(at + 1, ' ');
    require(at != NULL, "too short:", "/proc/self/stat");
    snprintf(text, sizeof text, "%lu %lu", strtoul(line, NULL, 10), strtoul(at, NULL, 10));
    return text;
}

/* At the end of a file that may have been begun; see folder.py. */
static void step_note(char **with)
{
    char line[128];
    snprintf(line, sizeof line, "range %s\nprocess %s\n", with[1], who());
    step_append((char *[]){with[0], line});
}

static bool send_ready(const char *text)
{
    char space[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {.iov_base = (char *)text, .iov_len = strlen(text)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space,
                             .msg_controllen = sizeof space};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    int myself = (int)syscall(SYS_pidfd_open, getpid(), 0);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof myself);
    memcpy(CMSG_DATA(head), &myself, sizeof myself);
    bool sent = myself >= 0 && sendmsg(server, &message, MSG_NOSIGNAL) > 0;
    if (myself >= 0)
        close(myself);
    return sent;
}

/* The server may be gone by then: this process is the only one in its namespaces, and ends. */
static void step_wait(char **with)
{
    (void)with;
    char text[80];
    snprintf(text, sizeof text, "ready %s", who());
    check(send_ready(text), "speak to", "the server");
    ssize_t length = recv(server, plan, sizeof plan, 0);
    if (length <= 0)
        _exit(0);
    follow_plan(plan, length);
}

const struct step own_steps[] = {
    {"wait", 0, step_wait},       {"note", 2, step_note},         {"append", 2, step_append},
    {"rename", 2, step_rename},   {"rmdir", 1, step_rmdir},       {"rmdir_if", 1, step_rmdir_if},
    {"unlink", 1, step_unlink},   {"line", 2, step_line},         {"line_if", 2, step_line_if},
    {"line_soon", 2, step_line_soon}, {"among", 3, step_among},   {"most", 2, step_most},
    {"points", 2, step_points},
    {0},
};

/* ---- the helper ---- */

static _Noreturn void begin(ssize_t length, const int *given)
{
    server = given[0];
    signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_SETMASK, &anything, NULL);
    (void)syscall(SYS_close_range, (unsigned)NETWORKS_FROM, ~0u, 0);
    umask(0);
    check(dup2(given[1], 1) == 1 && dup2(given[1], 2) == 2, "open", "the output");
    hold_devices();
    follow_plan(plan, length);
}

/* The kernel goes through all processes that this one has started, for each look. */
void see_to_ended(void)
{
    sigset_t waiting;
    if (!some_ended && sigpending(&waiting) == 0 && !sigismember(&waiting, SIGCHLD))
        return;
    some_ended = 0;
    for (pid_t ended; (ended = waitpid(-1, NULL, WNOHANG)) > 0;)
        on_end_of_user(ended);
}

static void start(ssize_t length, const int *given)
{
    struct clone_args how = {.flags = NAMESPACES, .exit_signal = SIGCHLD};
    see_to_ended();
    pid_t pid = enter_network() ? (pid_t)syscall(SYS_clone3, &how, sizeof how) : -1;
    int failure = errno;
    if (pid == 0)
        begin(length, given);
    leave_network(pid);
    char text[128];
    int told = snprintf(text, sizeof text, "%d clone into new namespaces: %s", failure,
                        strerror(failure));
    if (pid < 0)
        (void)!send(given[0], text, (size_t)told, MSG_NOSIGNAL);
}

/* What the server waits for must not keep it waiting: no step of an errand takes long. */
static void run_errand(char *steps, ssize_t length)
{
    see_to_ended();
    server = 0;
    on_errand = true;
    if (setjmp(errand_is_over) == 0) {
        follow_steps(steps, length);
        (void)!send(0, "done", 4, MSG_NOSIGNAL);
    }
    on_errand = false;
    server = -1;
}

static void on_child(int number)
{
    (void)number;
    some_ended = 1;
}

/* True when the server has something to say; meanwhile see to those that end. What it has said last
 * before it was gone is not done any more: the next server may have tidied up after it. */
static bool wait_for_server(void)
{
    struct pollfd input = {.fd = 0, .events = POLLIN};
    do
        see_to_ended();
    while (ppoll(&input, 1, NULL, &anything) < 0);
    return !(input.revents & POLLHUP);
}

/* The end of a process is only heard of while this one waits. */
static void keep_signals_back(void)
{
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, &anything);
    sigdelset(&anything, SIGCHLD);
    sigaction(SIGCHLD, &(struct sigaction){.sa_handler = on_child}, NULL);
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

/* Process 1 of a container hears of no signal without a handler. */
static void nobody_came(int number)
{
    (void)number;
    _exit(1);
}

/* In a container that somebody else has made. Who gives up making a sandbox writes nothing; who was
 * killed meanwhile does not even do that. */
static int follow(const char *path)
{
    signal(SIGALRM, nobody_came);
    alarm(SECONDS_WITHOUT_PLAN);
    int pipe = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    check(pipe >= 0, "open", path);
    size_t length = 0;
    for (ssize_t more; (more = read(pipe, plan + length, sizeof plan - length)) > 0;)
        length += (size_t)more;
    alarm(0);
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
    keep_signals_back();
    if (!read_filter()) {
        fputs("lean: makes sandboxes for a server, which starts it; it has no use by itself\n",
              stderr);
        return 2;
    }
    for (ssize_t length; wait_for_server() && (length = receive(given, &count)) != 0;) {
        if (length > 0 && count == GIVEN_DESCRIPTORS)
            start(length, given);
        else if (length > (ssize_t)sizeof errand && !memcmp(plan, errand, sizeof errand))
            run_errand(plan + sizeof errand, length - (ssize_t)sizeof errand);
        /* The lock before the socket: when that closes, the server takes the sandbox for made, and
         * may remove it at once. */
        for (int i = count; i-- > 0;)
            close(given[i]);
    }
    return 0; /* the server has ended */
}
