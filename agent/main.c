/* The agent's arguments, its socket, its one loop and its clock. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_MOST = 64, FILES_WANTED = 4096 };
static const uint64_t MILLISECOND = 1000000ull, SECOND = 1000000000ull;

static int poller;
bool can_change_user;

void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("agent: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

static void __attribute__((noreturn)) die(const char *what)
{
    say("%s: %s", what, strerror(errno));
    exit(1);
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/* ---- what the loop waits for ---- */

static struct epoll_event event_for(enum watch what, int number, int stream, uint32_t events)
{
    uint32_t place = (uint32_t)number << 8 | (uint32_t)(stream & 0xff);
    return (struct epoll_event){.events = events, .data.u64 = (uint64_t)what << 32 | place};
}

bool watch(int fd, enum watch what, int number, int stream, uint32_t events)
{
    struct epoll_event event = event_for(what, number, stream, events);
    return epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) == 0;
}

void watch_change(int fd, enum watch what, int number, int stream, uint32_t events)
{
    struct epoll_event event = event_for(what, number, stream, events);
    epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event);
}

void unwatch(int fd)
{
    epoll_ctl(poller, EPOLL_CTL_DEL, fd, NULL);
}

static void children_changed(int signals)
{
    struct signalfd_siginfo info[8];
    while (read(signals, info, sizeof info) > 0)
        ;
    executions_reap();
}

static void dispatch(const struct epoll_event *event, int signals)
{
    uint32_t place = (uint32_t)event->data.u64;
    int number = (int)(place >> 8), stream = (int8_t)(place & 0xff);
    switch ((enum watch)(event->data.u64 >> 32)) {
    case WATCH_LISTENER: connections_accept(); break;
    case WATCH_SIGNALS: children_changed(signals); break;
    case WATCH_CONNECTION: connection_event(number, event->events); break;
    case WATCH_OUTPUT: execution_event(number, stream, event->events); break;
    case WATCH_INPUT: execution_event(number, -1, event->events); break;
    case WATCH_INTERPRETER: interpreter_event(number); break;
    }
}

static int wait_until(uint64_t at)
{
    uint64_t now = now_ns();
    if (at == UINT64_MAX)
        return -1;
    if (at <= now)
        return 0;
    uint64_t milliseconds = (at - now + MILLISECOND - 1) / MILLISECOND;
    return milliseconds > 3600000 ? 3600000 : (int)milliseconds;
}

/* The next process is prepared when nothing runs that it could slow down, or soon after; keepers
 * are looked after when nothing runs, and dismissed when nothing has run for a while. Nothing is done
 * before a host is there, which would only have to wait for its first answer. */
static uint64_t prepare_when_idle(uint64_t now, uint64_t due)
{
    bool running = false, prepared = false, room = false;
    uint64_t since;
    if (!another_expected || (!connections_claimed(&since) && !in_state(PREPARED)))
        return UINT64_MAX;
    for (int i = 0; i < SLOTS; i++) {
        running |= executions[i].state >= RUNNING && executions[i].state < ENDED;
        prepared |= executions[i].state == PREPARED;
        room |= executions[i].state == FREE;
    }
    static uint64_t busy_at;
    busy_at = running ? now : busy_at;
    int keepers = running ? 0 : keepers_wanted();
    bool ready = prepared || !room;
    if (ready && keepers == 0)
        return UINT64_MAX;
    if (ready && keepers < 0 && now < busy_at + SECOND)
        return busy_at + SECOND;
    if (running && in_state(DISMISSED)) /* which leaves its slot and its keeper in a moment */
        return now + MILLISECOND;
    if (running && due > now + 2 * MILLISECOND)
        return now + 2 * MILLISECOND;
    if (running && now < due)
        return due;
    /* Where no process can be made, now is not the time to try without pause. */
    bool done = execution_prepare() && (running || keepers_adjust(now));
    return done ? UINT64_MAX : now + 100 * MILLISECOND;
}

static bool unclaimed_for(uint64_t limit)
{
    uint64_t since;
    return !connections_claimed(&since) && now_ns() - since >= limit;
}

static int time_to_wait(uint64_t unclaimed_limit, uint64_t prepare_at)
{
    uint64_t at = executions_wakeup(), other = connections_wakeup(), since;
    at = other < at ? other : at;
    at = prepare_at < at ? prepare_at : at;
    if (!connections_claimed(&since) && since + unclaimed_limit < at)
        at = since + unclaimed_limit;
    return wait_until(at);
}

/* Waits for whatever comes first, and does all that is due then. */
static void loop_turn(int signals, uint64_t unclaimed_limit)
{
    static uint64_t prepare_at = UINT64_MAX;
    struct epoll_event events[EVENTS_MOST];
    int count = epoll_wait(poller, events, EVENTS_MOST, time_to_wait(unclaimed_limit, prepare_at));
    for (int i = 0; i < count; i++)
        dispatch(&events[i], signals);
    uint64_t now = now_ns();
    executions_tick(now);
    connections_tick(now);
    connections_flush();
    prepare_at = prepare_when_idle(now, prepare_at);
    uint64_t interpreter_at = interpreter_tick(now);
    prepare_at = interpreter_at < prepare_at ? interpreter_at : prepare_at;
}

/* ---- start ---- */

static void read_secret(const char *path, uint8_t secret[SECRET_SIZE])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || read(fd, secret, SECRET_SIZE) != SECRET_SIZE)
        die(path);
    close(fd);
    if (unlink(path) < 0)
        die(path);
}

static int listen_at(const char *path)
{
    struct sockaddr_un address;
    socklen_t length = socket_address(path, &address);
    int fd = length ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
    umask(0177);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) || listen(fd, 16))
        die(path);
    umask(022);
    return fd;
}

/* Whoever made the sandbox may have made the socket, too. */
static bool is_given(int listener)
{
    int listens = 0;
    socklen_t size = sizeof listens;
    return getsockopt(listener, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens &&
           fcntl(listener, F_SETFD, FD_CLOEXEC) == 0;
}

/* Whatever was ignored where this was started is not, neither here nor in what it starts. */
static int block_signals(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    for (int number = 1; number < _NSIG; number++)
        signal(number, SIG_DFL);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void protect_itself(void)
{
    struct rlimit files;
    /* Not dumpable: no one of the same user may trace it or read its /proc entries. */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    getrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < FILES_WANTED) {
        files.rlim_cur = files.rlim_max < FILES_WANTED ? files.rlim_max : FILES_WANTED;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    can_change_user = geteuid() == 0 && setgroups(0, NULL) == 0;
}

enum { CLOSED_MOST = 8, SECONDS_WITHOUT_SECRET = 120 };

struct arguments {
    const char *socket, *secret, *groups, *filter;
    const char *closed[CLOSED_MOST], *owners[CLOSED_MOST];
    int closed_count, owner_count;
    bool makes_pipe; /* for its secret, where nobody else can make one */
    int groups_given;
    uint64_t unclaimed;
};

uint64_t processes_most, data_most;

static bool read_arguments(int count, char **values, struct arguments *arguments)
{
    for (int i = 1; i < count; i += 2) {
        if (i + 1 == count)
            return false;
        if (!strcmp(values[i], "--socket"))
            arguments->socket = values[i + 1];
        else if (!strcmp(values[i], "--secret-file"))
            arguments->secret = values[i + 1];
        else if (!strcmp(values[i], "--secret-pipe")) {
            arguments->secret = values[i + 1];
            arguments->makes_pipe = true;
        }
        else if (!strcmp(values[i], "--cgroup"))
            arguments->groups = values[i + 1];
        else if (!strcmp(values[i], "--cgroups"))
            arguments->groups_given = atoi(values[i + 1]);
        else if (!strcmp(values[i], "--filter"))
            arguments->filter = values[i + 1];
        else if (!strcmp(values[i], "--closed") && arguments->closed_count < CLOSED_MOST)
            arguments->closed[arguments->closed_count++] = values[i + 1];
        else if (!strcmp(values[i], "--owner") && arguments->owner_count < CLOSED_MOST)
            arguments->owners[arguments->owner_count++] = values[i + 1];
        else if (!strcmp(values[i], "--unclaimed"))
            arguments->unclaimed = strtoull(values[i + 1], NULL, 10) * SECOND;
        else if (!strcmp(values[i], "--processes"))
            processes_most = strtoull(values[i + 1], NULL, 10);
        else if (!strcmp(values[i], "--data"))
            data_most = strtoull(values[i + 1], NULL, 10);
        else
            return false;
    }
    return arguments->socket && arguments->secret && arguments->unclaimed > 0;
}

/* Whoever has made this sandbox was killed before it was one, or an orchestrator has made it anew. */
static void nobody_came(int number)
{
    (void)number;
    _exit(1);
}

/* Keeps learners out of a folder that whoever made the sandbox shows in it: of the host's disk,
 * where what they write would count for nothing. */
static bool close_folder(const char *path)
{
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0)
        return errno == ENOENT;
    bool done = fchown(folder, 0, 0) == 0 && fchmod(folder, 0700) == 0;
    close(folder);
    return done;
}

/* USER:GROUP:FOLDER gives them a folder that whoever mounted it could only give to root. */
static bool give_folder(const char *given)
{
    char *rest = NULL;
    unsigned long user = strtoul(given, &rest, 10), group = 0;
    if (*rest == ':')
        group = strtoul(rest + 1, &rest, 10);
    int folder = *rest == ':' ? open(rest + 1, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    bool done = folder >= 0 && fchown(folder, (uid_t)user, (gid_t)group) == 0;
    if (folder >= 0)
        close(folder);
    return done;
}

int main(int count, char **values)
{
    struct arguments arguments = {.unclaimed = 900 * SECOND};
    uint8_t secret[SECRET_SIZE];
    if (count >= 3 && count <= 4 && !strcmp(values[1], "bridge"))
        return bridge_run(values[2], count == 4 ? values[3] : NULL);
    if (count >= 3 && !strcmp(values[1], "furnish"))
        return furnish_run(count - 2, values + 2);
    if (!read_arguments(count, values, &arguments)) {
        fputs("usage: agent --socket PATH --secret-file PATH | --secret-pipe PATH\n"
              "             [--cgroup DIR] [--cgroups N]\n"
              "             [--unclaimed S] [--processes N] [--data BYTES] [--filter FILE]\n"
              "             [--closed FOLDER]... [--owner USER:GROUP:FOLDER]...\n"
              "       agent bridge SOCKET [PIPE]\n"
              "       agent furnish [--offline] [--fill FROM TO] [--place PATH USER GROUP MODE]...\n",
              stderr);
        return 2;
    }
    for (int i = 0; i < arguments.closed_count; i++)
        if (!close_folder(arguments.closed[i]))
            die(arguments.closed[i]);
    for (int i = 0; i < arguments.owner_count; i++)
        if (!give_folder(arguments.owners[i]))
            die(arguments.owners[i]);
    if (arguments.filter && !filter_load(arguments.filter))
        die(arguments.filter);
    protect_itself();
    int signals = block_signals();
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (signals < 0 || poller < 0)
        die("epoll");
    if (arguments.makes_pipe && mkfifo(arguments.secret, 0600) < 0)
        die(arguments.secret);
    if (arguments.makes_pipe) {
        signal(SIGALRM, nobody_came);
        alarm(SECONDS_WITHOUT_SECRET);
    }
    /* First: where it is a pipe, the sandbox is still being made until it says something. */
    read_secret(arguments.secret, secret);
    alarm(0);
    if ((arguments.groups && !groups_find(arguments.groups)) ||
        !groups_inherit(GIVEN_GROUPS, arguments.groups_given))
        die("control groups");
    groups_watch();
    executions_init();
    int listener = is_given(GIVEN_LISTENER) ? GIVEN_LISTENER : listen_at(arguments.socket);
    connections_init(listener, secret);
    explicit_bzero(secret, sizeof secret);
    watch(signals, WATCH_SIGNALS, 0, 0, EPOLLIN);
    watch(listener, WATCH_LISTENER, 0, 0, EPOLLIN);
    while (!unclaimed_for(arguments.unclaimed))
        loop_turn(signals, arguments.unclaimed);
    say("no host has claimed this sandbox for %llu s",
        (unsigned long long)(arguments.unclaimed / SECOND));
    return 0;
}
