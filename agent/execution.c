/* The life of an execution: a prepared process becomes the program; its streams, its limits; its
 * end, and the end of everything that belongs to it. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static const uint64_t MILLISECOND = 1000000ull;

struct execution executions[SLOTS];
static int processors = 1;
static uint32_t highest_channel;
bool another_expected = true;

void executions_init(void)
{
    for (int i = 0; i < SLOTS; i++) {
        executions[i].number = i;
        executions[i].control = executions[i].stdin_fd = -1;
        executions[i].out[0] = executions[i].out[1] = -1;
        slots[i].keeper_fd = -1;
    }
    processors = (int)sysconf(_SC_NPROCESSORS_ONLN);
}

/* A host that starts anew must not use a number twice, not even that of a released execution. */
uint32_t executions_highest(void)
{
    return highest_channel;
}

struct execution *execution_find(uint32_t channel)
{
    for (int i = 0; i < SLOTS; i++)
        if (executions[i].state >= RUNNING && executions[i].channel == channel)
            return &executions[i];
    return NULL;
}

void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void close_watched(int *fd, bool *watching)
{
    if (*fd >= 0 && *watching)
        unwatch(*fd);
    *watching = false;
    close_fd(fd);
}

void forget(struct execution *e)
{
    close_watched(&e->control, &e->control_watched);
    close_watched(&e->stdin_fd, &e->stdin_watched);
    close_watched(&e->out[0], &e->watching[0]);
    close_watched(&e->out[1], &e->watching[1]);
    if (e->output.ring)
        munmap(e->output.ring, OUTPUT_RING);
    if (e->output.segments)
        munmap(e->output.segments, SEGMENTS_MOST * sizeof(struct segment));
    if (e->input.ring)
        munmap(e->input.ring, INPUT_RING);
    if (e->slot)
        slot_leave(e->slot);
    *e = (struct execution){.number = e->number, .control = -1, .stdin_fd = -1, .out = {-1, -1}};
}

/* ---- start ---- */

struct settings {
    uint64_t user, group, stdin_stream, separate_stderr, last, builtin;
    int rows, columns, arguments;
    bool has_group;
};

/* What the agent itself needs to know of a request; the child reads the rest. */
static bool read_settings(struct execution *e, struct settings *s, const uint8_t *payload,
                          size_t length)
{
    struct reader reader = {payload, payload + length, false};
    struct field field;
    bool fits = true;
    while (next_field(&reader, &field)) {
        switch (field.tag) {
        case F_ARGUMENT: s->arguments++; break;
        case F_USER: fits &= field_number(&field, &s->user); break;
        case F_GROUP: fits &= s->has_group = field_number(&field, &s->group); break;
        case F_STDIN: fits &= field_number(&field, &s->stdin_stream); break;
        case F_SEPARATE_STDERR: fits &= field_number(&field, &s->separate_stderr); break;
        case F_WALL: fits &= field_number(&field, &e->wall_limit); break;
        case F_CPU: fits &= field_number(&field, &e->cpu_limit); break;
        case F_OUTPUT: fits &= field_number(&field, &e->output_limit); break;
        case F_LAST: fits &= field_number(&field, &s->last); break;
        case F_BUILTIN: fits &= field_number(&field, &s->builtin); break;
        case F_TERMINAL:
            fits &= field.length == 4;
            if (field.length == 4) {
                e->terminal = true;
                s->rows = (int)get_number(field.value, 2);
                s->columns = (int)get_number(field.value + 2, 2);
            }
            break;
        }
    }
    return fits && !reader.broken && s->arguments > 0 && s->user < UINT32_MAX;
}

/* The terminal's master takes the place of the pipes; returns its number, or -1. */
static int make_terminal(struct execution *e, const struct settings *s)
{
    int number, unlock = 0;
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    int again = master < 0 ? -1 : fcntl(master, F_DUPFD_CLOEXEC, 3);
    if (again < 0 || ioctl(master, TIOCSPTLCK, &unlock) || ioctl(master, TIOCGPTN, &number)) {
        close_fd(&master);
        close_fd(&again);
        return -1;
    }
    close_fd(&e->stdin_fd);
    close_fd(&e->out[0]);
    if (!s->separate_stderr)
        close_fd(&e->out[1]);
    e->stdin_fd = again;
    e->out[0] = master;
    execution_resize(e, s->rows, s->columns);
    return number;
}

/* At once: who waits for it is woken once. Where nothing is to come after it, nobody needs a keeper. */
static bool send_request(struct execution *e, int terminal, const uint8_t *payload, size_t length,
                         bool last)
{
    struct start_header header = {.length = (uint32_t)length, .terminal = terminal,
                                  .what = last ? 0 : START_KEEPER};
    struct iovec parts[] = {{&header, sizeof header}, {(void *)payload, length}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    return sendmsg(e->control, &message, MSG_NOSIGNAL) == (ssize_t)(sizeof header + length);
}

static void watch_streams(struct execution *e)
{
    for (int i = 0; i < 2; i++)
        if (e->out[i] >= 0)
            e->watching[i] = watch(e->out[i], WATCH_OUTPUT, e->number, i, EPOLLIN);
}

/* The learner can't open it unless it is the learner's, which who starts as root sees to itself. */
static void give_terminal(int number, const struct settings *s)
{
    char path[32];
    snprintf(path, sizeof path, "/dev/pts/%d", number);
    if (can_change_user)
        (void)!lchown(path, (uid_t)s->user, (gid_t)(s->has_group ? s->group : s->user));
}

/* Lets a prepared process have the request; NULL, or the code of FAILED. */
static const char *hand_over(struct execution *e, const uint8_t *payload, size_t length,
                             struct settings *settings)
{
    int terminal = -1;
    if (!read_settings(e, settings, payload, length))
        return "request";
    if (e->terminal && (terminal = make_terminal(e, settings)) < 0)
        return "resources";
    if (e->state == WAITING && terminal >= 0)
        give_terminal(terminal, settings);
    if (e->state == WAITING)
        e->prior_cpu_ns = interpreter_cpu(e);
    slot_reset(e->slot);
    slot_usage(e->slot, &e->base);
    e->started = now_ns();
    return send_request(e, terminal, payload, length, settings->last) ? NULL : "resources";
}

static int running_or_unreleased(void)
{
    int count = 0;
    for (int i = 0; i < SLOTS; i++)
        count += executions[i].state >= RUNNING;
    return count;
}

static const char *try_to_start(uint32_t channel, const uint8_t *payload, size_t length)
{
    struct settings settings = {0};
    struct execution *e = interpreter_for(payload, length);
    if (!e && !(e = prepared_now()))
        return "resources";
    const char *code = hand_over(e, payload, length, &settings);
    if (code) {
        forget(e); /* its process ends when it sees the control socket close */
        return code;
    }
    e->state = RUNNING;
    e->channel = channel;
    if (channel > highest_channel)
        highest_channel = channel;
    another_expected = !settings.last;
    e->user = (uid_t)settings.user;
    e->may_kill_all = (e->user == 0 || !can_change_user) && !settings.builtin;
    e->attached = true;
    e->cpu_check = e->cpu_limit ? e->started + e->cpu_limit / (uint64_t)processors : 0;
    e->streamed_input = e->window_due = settings.stdin_stream || e->terminal;
    if (!e->streamed_input)
        close_fd(&e->stdin_fd);
    watch_streams(e);
    return NULL;
}

/* Returns the code of FAILED, or NULL. */
const char *execution_start(uint32_t channel, const uint8_t *payload, size_t length)
{
    if (execution_find(channel))
        return "channel";
    if (running_or_unreleased() == EXECUTIONS_MOST)
        return "busy";
    const char *code = try_to_start(channel, payload, length);
    /* The prepared process may have been killed (as a victim of memory, or by a root's kill(-1)). */
    if (code && !strcmp(code, "resources"))
        code = try_to_start(channel, payload, length);
    return code;
}

void execution_event(int number, int stream, uint32_t events)
{
    struct execution *e = &executions[number];
    if (stream < 0) {
        if (e->terminal && events & EPOLLHUP)
            hang_up(e);
        else if (events & EPOLLERR && !(events & EPOLLOUT))
            input_broken(e);
        else if (e->stdin_fd >= 0)
            input_push(e);
    } else if (e->out[stream] >= 0) {
        output_event(e, stream);
    }
}

/* ---- signals, terminal ---- */

void execution_signal(struct execution *e, int number)
{
    bool from_keyboard = number == SIGINT || number == SIGQUIT || number == SIGTSTP;
    if (e->state != RUNNING)
        return;
    /* The kernel knows the terminal's foreground group. Asking for its number, to signal that, would
     * be wrong: the number may be another's by then, and a learner can see to that. */
    if (from_keyboard && e->terminal && e->out[0] >= 0 && ioctl(e->out[0], TIOCSIG, number) == 0)
        return;
    if (kill(-e->pid, number) < 0)
        kill(e->pid, number);
}

void execution_resize(struct execution *e, int rows, int columns)
{
    struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
    if (!e->terminal || e->out[0] < 0 || ioctl(e->out[0], TIOCSWINSZ, &size) < 0)
        return;
    /* gVisor's terminals send no signals for their master, and know no request for one. (By then
     * the number may be another group's; but this signal, unlike others, does nothing unasked.) */
    pid_t foreground = tcgetpgrp(e->out[0]);
    if (e->state == RUNNING && ioctl(e->out[0], TIOCSIG, 0) < 0 && errno == ENOTTY)
        kill(foreground > 1 ? -foreground : -e->pid, SIGWINCH);
}

void execution_cancel(struct execution *e)
{
    kill_for(e, BY_CANCEL);
}

/* ---- the end ---- */

void kill_for(struct execution *e, enum reason reason)
{
    if (e->state == RUNNING && !e->reason) {
        e->reason = reason;
        group_kill(e);
    }
}

static void read_failure(struct execution *e)
{
    struct start_failure failure;
    ssize_t got = recv(e->control, &failure, sizeof failure, MSG_DONTWAIT);
    if (got == (ssize_t)sizeof failure) {
        e->start_errno = failure.error;
        memcpy(e->start_step, failure.step, sizeof failure.step);
        e->start_step[sizeof e->start_step - 1] = 0;
    }
    close_fd(&e->control);
}

static void first_process_ended(struct execution *e, int status, const struct rusage *usage)
{
    e->status = status;
    e->ended = now_ns();
    e->child_cpu_ns =
        (uint64_t)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000000ull +
        (uint64_t)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) * 1000ull;
    e->child_peak_bytes = (uint64_t)usage->ru_maxrss * 1024;
    read_failure(e);
    e->state = ENDING;
    settle(e);
}

static void process_ended(pid_t pid, int status, const struct rusage *usage)
{
    for (int i = 0; i < SLOTS; i++) {
        struct execution *e = &executions[i];
        slot_learn_keeper(&slots[i]);
        if (slots[i].keeper == pid)
            keeper_ended(&slots[i]);
        if (e->state == WAITING && e->pid == pid)
            interpreter_ended(e);
        if (e->state == RUNNING && e->pid == pid)
            first_process_ended(e, status, usage);
    }
}

void executions_reap(void)
{
    struct rusage usage;
    int status;
    for (pid_t pid; (pid = wait4(-1, &status, WNOHANG, &usage)) > 0;)
        process_ended(pid, status, &usage);
}

/* Everything of it is dead: whatever its pipes still hold is all there will ever be. Somebody
 * outside may have been handed an end of one, so "nothing there now" is the end as well. */
static bool drain(struct execution *e)
{
    for (int i = 0; i < 2; i++) {
        if (e->out[i] < 0)
            continue;
        enum took took;
        do
            took = output_take(e, i);
        while (took == TOOK_BYTES);
        if (took == NO_ROOM) {
            if (e->watching[i])
                unwatch(e->out[i]);
            e->watching[i] = false;
            return false;
        }
        close_watched(&e->out[i], &e->watching[i]);
    }
    return true;
}

void settle(struct execution *e)
{
    if (e->state == ENDING) {
        if (!group_empty(e)) {
            group_kill(e);
            if (!group_empty(e))
                return; /* looked at again in a millisecond */
        }
        e->state = DRAINING;
        close_watched(&e->stdin_fd, &e->stdin_watched);
        e->input.closed = true;
    }
    if (e->state == DRAINING && drain(e)) {
        slot_facts(e->slot, &e->base, &e->used);
        ipc_sweep(e);
        slot_leave(e->slot); /* the next program may have it, before this one is released */
        e->slot = NULL;
        e->window_due = false;
        e->state = ENDED;
        if (e->may_kill_all)
            dismiss_prepared();
    }
}

bool execution_release(struct execution *e)
{
    if (e->state != ENDED || !e->exit_sent ||
        (e->output.ring && outbox_uses(e->output.ring)))
        return false;
    forget(e);
    return true;
}

/* No kernel gives more than all processors all the time, but gVisor counts a thread that waits for
 * one as if it had it. */
static uint64_t at_most_all(const struct execution *e, uint64_t cpu_ns, uint64_t until)
{
    uint64_t all = (until - e->started) * (uint64_t)processors;
    return cpu_ns < all ? cpu_ns : all;
}

/* Without groups, what the first process and its dead children had, or what was seen at the end. */
static uint64_t cpu_used(const struct execution *e)
{
    uint64_t own = e->child_cpu_ns > e->prior_cpu_ns ? e->child_cpu_ns - e->prior_cpu_ns : 0;
    uint64_t most = own > e->seen_cpu_ns ? own : e->seen_cpu_ns;
    return e->used.cpu ? e->used.cpu_ns - e->base.cpu_ns : at_most_all(e, most, e->ended);
}

size_t execution_facts(struct execution *e, uint8_t *to, size_t size)
{
    struct writer w = {to, to + size};
    struct usage *used = &e->used, *base = &e->base;
    if (WIFSIGNALED(e->status))
        put_field_number(&w, F_SIGNAL, (uint64_t)WTERMSIG(e->status));
    else
        put_field_number(&w, F_EXIT_CODE, (uint64_t)WEXITSTATUS(e->status));
    if (e->reason)
        put_field_number(&w, F_REASON, e->reason);
    if (e->start_errno) {
        put_field_number(&w, F_ERRNO, (uint64_t)e->start_errno);
        put_field_text(&w, F_STEP, e->start_step);
    }
    put_measurement(&w, F_WALL_USED, e->ended - e->started, FROM_AGENT, OF_EXECUTION);
    put_measurement(&w, F_CPU_USED, cpu_used(e), used->cpu ? FROM_KERNEL : FROM_AGENT,
                    OF_EXECUTION);
    put_measurement(&w, F_PEAK_MEMORY, used->peak ? used->peak_bytes : e->child_peak_bytes,
                    used->peak ? FROM_KERNEL : FROM_AGENT, OF_EXECUTION);
    put_measurement(&w, F_OUTPUT_USED, e->output_used, FROM_AGENT, OF_EXECUTION);
    if (used->oom)
        put_measurement(&w, F_OOM_KILLS, used->oom_kills - base->oom_kills, FROM_KERNEL,
                        groups_found() ? OF_EXECUTION : OF_SANDBOX);
    return (size_t)(w.at - to);
}

/* ---- time ---- */

/* CPU time is asked for when it can have run out at the earliest: on all processors at once. */
static void check_cpu(struct execution *e, uint64_t now)
{
    uint64_t used = at_most_all(e, group_cpu(e), now);
    e->seen_cpu_ns = used;
    if (used >= e->cpu_limit) {
        kill_for(e, BY_CPU);
        return;
    }
    uint64_t soonest = (e->cpu_limit - used) / (uint64_t)processors;
    e->cpu_check = now + (soonest > 5 * MILLISECOND ? soonest : 5 * MILLISECOND);
}

void executions_tick(uint64_t now)
{
    for (int i = 0; i < SLOTS; i++) {
        struct execution *e = &executions[i];
        if (e->state == ENDING || e->state == DRAINING)
            settle(e);
        if (e->state != RUNNING)
            continue;
        if (e->look_again && now >= e->look_again)
            look_again(e);
        if (e->reason)
            group_kill(e); /* not gone yet: a process may have slipped through */
        else if (e->wall_limit && now - e->started >= e->wall_limit)
            kill_for(e, BY_WALL);
        else if (e->cpu_check && now >= e->cpu_check)
            check_cpu(e, now);
    }
}

uint64_t executions_wakeup(void)
{
    uint64_t at = UINT64_MAX;
    for (int i = 0; i < SLOTS; i++) {
        const struct execution *e = &executions[i];
        uint64_t next = UINT64_MAX;
        if (e->state == ENDING || (e->state == RUNNING && e->reason))
            next = now_ns() + MILLISECOND;
        else if (e->state == RUNNING) {
            if (e->wall_limit)
                next = e->started + e->wall_limit;
            if (e->cpu_check && e->cpu_check < next)
                next = e->cpu_check;
            if (e->look_again && e->look_again < next)
                next = e->look_again;
        }
        if (next < at)
            at = next;
    }
    return at;
}
