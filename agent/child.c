/* The process between being forked and being the learner's program (or a built-in one).
 *
 * It is made before it is needed, and waits for the request. Joining its slot's groups can take
 * milliseconds, so the first process does that, and leaves a keeper behind that stays in them: what
 * it forks is in the groups from birth, and with CLONE_PARENT it is the agent's child all the same. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CONTROL = 3, KEEPER = 4, FIELDS_MOST = PAYLOAD_MOST / 5, PENDING_SIGNALS = 512 };

struct request {
    char *arguments[FIELDS_MOST + 1], *environment[FIELDS_MOST + 1];
    int argument_count, environment_count;
    char *directory;
    uint64_t user, group, open_files, separate_stderr, builtin;
    bool has_group;
};

static struct request request;
static uint8_t payload[PAYLOAD_MOST];
static char texts[PAYLOAD_MOST]; /* values with a NUL behind each; a field's head is longer */
static char *texts_end = texts;

/* The agent reads this from the control socket, which closes by itself when the program starts. */
static void fail(const char *step, int error)
{
    struct start_failure failure = {.error = error};
    snprintf(failure.step, sizeof failure.step, "%s", step);
    (void)!write(CONTROL, &failure, sizeof failure);
    _exit(error == ENOENT || error == ENOTDIR ? 127 : 126);
}

/* Whatever stayed open here would keep other executions' pipes from ending; joining the groups
 * can take long enough for that to matter. */
static void close_agents_ends(void)
{
    for (int i = 0; i < SLOTS; i++) {
        const struct execution *one = &executions[i];
        int ends[GIVEN] = {one->control, one->stdin_fd, one->out[0], one->out[1]};
        for (int j = 0; j < GIVEN; j++)
            if (ends[j] >= 0)
                close(ends[j]);
    }
}

static void keep_only(int control, const int streams[3], int keeper)
{
    int after = keeper < 0 ? CONTROL + 1 : KEEPER + 1;
    for (int i = 0; streams && i < 3; i++)
        dup2(streams[i], i);
    /* Neither is where the other one is to be: they come after all that the agent has open. */
    dup2(control, CONTROL);
    fcntl(CONTROL, F_SETFD, FD_CLOEXEC);
    if (keeper >= 0)
        dup2(keeper, KEEPER);
    /* The largest number there can be: gVisor takes a larger one for a negative. */
    if (syscall(SYS_close_range, after, INT_MAX, 0) < 0)
        for (int fd = after; fd < 4096; fd++)
            close(fd);
}

static void read_all(void *to, size_t length)
{
    for (size_t have = 0; have < length;) {
        ssize_t got = read(CONTROL, (char *)to + have, length - have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            _exit(0); /* the agent has no use for this process any more */
        have += (size_t)got;
    }
}

static char *keep_text(const struct field *field)
{
    if (memchr(field->value, 0, field->length))
        fail("request", EINVAL);
    char *text = texts_end;
    memcpy(text, field->value, field->length);
    text[field->length] = 0;
    texts_end += field->length + 1;
    return text;
}

static void read_request(size_t length)
{
    struct reader reader = {payload, payload + length, false};
    struct field field;
    while (next_field(&reader, &field)) {
        if (field.tag == F_ARGUMENT)
            request.arguments[request.argument_count++] = keep_text(&field);
        else if (field.tag == F_ENVIRONMENT)
            request.environment[request.environment_count++] = keep_text(&field);
        else if (field.tag == F_DIRECTORY)
            request.directory = keep_text(&field);
        else if (field.tag == F_USER)
            field_number(&field, &request.user);
        else if (field.tag == F_GROUP)
            request.has_group = field_number(&field, &request.group);
        else if (field.tag == F_OPEN_FILES)
            field_number(&field, &request.open_files);
        else if (field.tag == F_SEPARATE_STDERR)
            field_number(&field, &request.separate_stderr);
        else if (field.tag == F_BUILTIN)
            field_number(&field, &request.builtin);
    }
    if (!request.has_group)
        request.group = request.user;
}

/* The terminal becomes the controlling one of this session, which has none yet. */
static void open_terminal(int number)
{
    char path[32];
    snprintf(path, sizeof path, "/dev/pts/%d", number);
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || ioctl(fd, TIOCSCTTY, 0) < 0)
        fail("terminal", errno);
    if (can_change_user)
        (void)!fchown(fd, (uid_t)request.user, (gid_t)request.group);
    for (int i = 0; i < (request.separate_stderr ? 2 : 3); i++)
        dup2(fd, i);
}

static void set_limits(void)
{
    /* One byte, not none: a core file is too large for both, and with one byte the kernel does
     * not start the host's handler of core dumps either. */
    setrlimit(RLIMIT_CORE, &(struct rlimit){1, 1});
    /* Pending signals and timers are counted for who made the user namespace, too: a program that
     * hoards them must leave the other sandboxes theirs. */
    setrlimit(RLIMIT_SIGPENDING, &(struct rlimit){PENDING_SIGNALS, PENDING_SIGNALS});
    if (data_most)
        setrlimit(RLIMIT_DATA, &(struct rlimit){data_most, data_most});
    if (request.open_files)
        setrlimit(RLIMIT_NOFILE, &(struct rlimit){request.open_files, request.open_files});
    if (request.user != 0) { /* learners go before who serves or grades them */
        int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
        (void)!write(fd, "1000", 4);
        close(fd);
    }
}

static void become(const struct slot *slot)
{
    gid_t marker = group_marker(slot), group = (gid_t)request.group;
    uid_t user = (uid_t)request.user;
    /* A built-in program acts as the user but is not the user's: nobody but root may stop it. */
    uid_t owner = request.builtin ? 0 : user;
    if (can_change_user) {
        for (int i = 0; i < 3; i++) /* or the program could not open its own /dev/stdout */
            (void)!fchown(i, user, group);
        /* There is one thread. (The C library's own hold back all signals for each of these.) */
        if (syscall(SYS_setgroups, marker != 0, &marker) ||
            syscall(SYS_setresgid, group, group, group) ||
            syscall(SYS_setresuid, owner, user, owner))
            fail("user", errno);
    } else if (user != getuid()) {
        fail("user", EPERM);
    }
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* Of one user, in this user namespace. Once it is that user's: whoever becomes a user with too many
 * processes may not start a program then, which would end for what others do. */
static void limit_processes(void)
{
    if (processes_most)
        setrlimit(RLIMIT_NPROC, &(struct rlimit){processes_most, processes_most});
}

/* The agent ignores this one and no other (main.c), and keeps back some. */
static void default_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

extern char **environ;

/* ---- the keeper ---- */

static bool receive(int given[GIVEN])
{
    char byte, space[CMSG_SPACE(sizeof(int) * GIVEN)];
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space,
                             .msg_controllen = sizeof space};
    ssize_t got;
    do
        got = recvmsg(CONTROL, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (got != 1 || !head || head->cmsg_len != CMSG_LEN(sizeof(int) * GIVEN))
        return false;
    memcpy(given, CMSG_DATA(head), sizeof(int) * GIVEN);
    return true;
}

static _Noreturn void serve(const struct slot *slot)
{
    int given[GIVEN];
    while (receive(given)) {
        /* When it can't be made, the agent sees that the control socket closes. */
        if (syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0) == 0)
            child_run(slot, given, BY_KEEPER);
        for (int i = 0; i < GIVEN; i++)
            close(given[i]);
    }
    _exit(0);
}

void keeper_run(int control, const struct slot *slot)
{
    connections_forget_secret();
    setsid();
    close_agents_ends();
    bool joined = slot_join(slot);
    keep_only(control, NULL, NO_KEEPER);
    if (!joined)
        _exit(0);
    serve(slot);
}

/* It lets go of the program's streams: who waits for the end of one would wait for the keeper's. */
static void leave_keeper(const struct slot *slot, bool wanted)
{
    pid_t pid = wanted ? (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0) : -1;
    if (pid == 0) {
        setsid();
        for (int i = 0; i <= CONTROL; i++)
            dup2(KEEPER, i);
        close(KEEPER);
        fcntl(CONTROL, F_SETFD, FD_CLOEXEC);
        serve(slot);
    }
    if (pid > 0) /* before the program runs: who ends it must know whom to spare */
        (void)!write(KEEPER, &pid, sizeof pid);
    close(KEEPER);
}

/* ---- the process itself ---- */

/* What has come from the agent itself, not from a keeper that has done all this. */
static void join(const struct slot *slot, const int given[GIVEN], int keeper)
{
    connections_forget_secret();
    close_agents_ends();
    int error = slot_join(slot) ? 0 : errno;
    keep_only(given[0], given + 1, keeper);
    if (error)
        fail("group", error);
}

void child_run(const struct slot *slot, const int given[GIVEN], int keeper)
{
    struct start_header header;
    setsid();
    if (keeper != BY_KEEPER) {
        join(slot, given, keeper);
    } else {
        keep_only(given[0], given + 1, NO_KEEPER);
        (void)!write(CONTROL, &(pid_t){getpid()}, sizeof(pid_t));
    }
    read_all(&header, sizeof header);
    if (keeper >= 0)
        leave_keeper(slot, header.what & START_KEEPER);
    read_all(payload, header.length);
    read_request(header.length);
    umask(022);
    if (header.terminal >= 0)
        open_terminal(header.terminal);
    set_limits();
    become(slot);
    limit_processes();
    if (request.directory && chdir(request.directory) < 0)
        fail("directory", errno);
    default_signals();
    environ = request.environment;
    if (request.builtin) {
        close(CONTROL);
        _exit(builtin_run(request.argument_count, request.arguments));
    }
    if (header.what & START_INTERPRETER)
        fcntl(CONTROL, F_SETFD, 0);
    execvp(request.arguments[0], request.arguments);
    fail("program", errno);
    _exit(126);
}
