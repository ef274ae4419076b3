/* The life of an execution: a prepared process becomes the program; its streams, its limits; its
 * end, and the end of everything that belongs to it. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { READ_MOST = 65536, STDOUT = 1 };
static const uint64_t MILLISECOND = 1000000ull;

struct execution executions[SLOTS];
static int processors = 1;
static uint32_t highest_channel;

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

struct execution *execution_find(uint32_t channel)
{
    for (int i = 0; i < SLOTS; i++)
        if (executions[i].state >= RUNNING && executions[i].channel == channel)
            return &executions[i];
    return NULL;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_watched(int *fd, bool *watching)
{
    if (*fd >= 0 && *watching)
        unwatch(*fd);
    *watching = false;
    close_fd(fd);
}

static void forget(struct execution *e)
{
    close_fd(&e->control);
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
        e->slot->taken = false;
    *e = (struct execution){.number = e->number, .control = -1, .stdin_fd = -1, .out = {-1, -1}};
}

/* ---- keepers ---- */

static bool keeper_start(struct slot *slot)
{
    int ends[2];
    if (slot->keeper > 0)
        return true;
    if (!slot_open(slot) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return false;
    slot->keeper = fork();
    if (slot->keeper == 0)
        keeper_run(ends[1], slot);
    close(ends[1]);
    if (slot->keeper < 0) {
        slot->keeper = 0;
        close(ends[0]);
        return false;
    }
    slot->keeper_fd = ends[0];
    return true;
}

static void keeper_ended(struct slot *slot)
{
    slot->keeper = 0;
    slot->keeper_died = now_ns();
    close_fd(&slot->keeper_fd);
}

/* Hands the descriptors over; what the keeper makes of them waits at their other ends. */
static bool keeper_ask(const struct slot *slot, const int given[GIVEN])
{
    char byte = 0, space[CMSG_SPACE(sizeof(int) * GIVEN)] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space,
                             .msg_controllen = sizeof space};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int) * GIVEN);
    memcpy(CMSG_DATA(head), given, sizeof(int) * GIVEN);
    return sendmsg(slot->keeper_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == 1;
}

/* A slot whose keeper is there costs nothing more; so does the lowest of the others, over time. */
static struct slot *free_slot(bool with_keeper)
{
    for (int i = 0; i < SLOTS; i++)
        if (!slots[i].taken && (slots[i].keeper > 0) == with_keeper)
            return &slots[i];
    return NULL;
}

/* Two programs one after the other, or two at once, shall both find a keeper: one is kept in
 * reserve, and so one that was killed with an execution is replaced, when there is time. */
bool keepers_missing(void)
{
    return groups_found() && !free_slot(true) && free_slot(false);
}

bool keepers_restore(uint64_t now)
{
    struct slot *slot = free_slot(false);
    if (!keepers_missing())
        return true;
    if (slot->keeper_died && now - slot->keeper_died < 100 * MILLISECOND)
        return false;
    return keeper_start(slot);
}

/* ---- the prepared process ---- */

static struct execution *in_state(enum state state)
{
    for (int i = 0; i < SLOTS; i++)
        if (executions[i].state == state)
            return &executions[i];
    return NULL;
}

static bool make_pipes(struct execution *e, int theirs[GIVEN])
{
    int control[2] = {-1, -1}, pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
    bool made = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) == 0;
    for (int i = 0; i < 3; i++)
        made = made && pipe2(pipes[i], O_CLOEXEC) == 0;
    int ours[3] = {pipes[0][1], pipes[1][0], pipes[2][0]};
    theirs[0] = control[1];
    theirs[1] = pipes[0][0];
    theirs[2] = pipes[1][1];
    theirs[3] = pipes[2][1];
    e->control = control[0];
    e->stdin_fd = ours[0];
    e->out[0] = ours[1];
    e->out[1] = ours[2];
    for (int i = 0; made && i < 3; i++) /* O_NONBLOCK belongs to our end only */
        fcntl(ours[i], F_SETFL, O_NONBLOCK);
    return made;
}

/* By the slot's keeper, or by a fork of our own that has to join the groups: slower, but no limit
 * of processes in the groups refuses it. */
static bool make_process(struct execution *e, const int given[GIVEN], bool by_keeper)
{
    if (by_keeper)
        return keeper_start(e->slot) && keeper_ask(e->slot, given);
    e->pid = fork();
    if (e->pid == 0)
        child_run(e->slot, given, true);
    return e->pid > 0;
}

static bool prepare(bool by_keeper)
{
    int theirs[GIVEN] = {-1, -1, -1, -1};
    struct execution *e = in_state(FREE);
    struct slot *slot = free_slot(true);
    if (!slot)
        slot = free_slot(false);
    if (!e || !slot)
        return false;
    e->slot = slot;
    slot->taken = true;
    bool made = slot_open(slot) && make_pipes(e, theirs) && make_process(e, theirs, by_keeper);
    for (int i = 0; i < GIVEN; i++)
        close_fd(&theirs[i]);
    if (made)
        e->state = PREPARED;
    else
        forget(e);
    return made;
}

/* The first thing that a keeper's process says is its number. False when there is none to come:
 * the process could not be made, or was killed before it said a word. */
static bool learn_pid(struct execution *e, int milliseconds)
{
    struct pollfd ready = {.fd = e->control, .events = POLLIN};
    pid_t pid;
    if (e->pid || poll(&ready, 1, milliseconds) == 0)
        return true;
    if (recv(e->control, &pid, sizeof pid, MSG_DONTWAIT) != (ssize_t)sizeof pid)
        return false;
    e->pid = pid;
    return true;
}

bool execution_prepare(void)
{
    struct execution *e = in_state(PREPARED);
    if (e && learn_pid(e, 0))
        return true;
    if (e)
        forget(e);
    return (!e && groups_found() && prepare(true)) || prepare(false);
}

/* A process that is there, for a request that is there. */
static struct execution *prepared_now(void)
{
    execution_prepare();
    struct execution *e = in_state(PREPARED);
    if (e && (!learn_pid(e, 1) || !e->pid)) {
        forget(e);
        e = prepare(false) ? in_state(PREPARED) : NULL;
    }
    return e;
}

/* ---- start ---- */

struct settings { uint64_t user, stdin_stream, separate_stderr; int rows, columns, arguments; };

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
        case F_STDIN: fits &= field_number(&field, &s->stdin_stream); break;
        case F_SEPARATE_STDERR: fits &= field_number(&field, &s->separate_stderr); break;
        case F_WALL: fits &= field_number(&field, &e->wall_limit); break;
        case F_CPU: fits &= field_number(&field, &e->cpu_limit); break;
        case F_OUTPUT: fits &= field_number(&field, &e->output_limit); break;
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

static bool send_request(struct execution *e, int terminal, const uint8_t *payload, size_t length)
{
    struct start_header header = {.length = (uint32_t)length, .terminal = terminal};
    return send(e->control, &header, sizeof header, MSG_NOSIGNAL) == sizeof header &&
           send(e->control, payload, length, MSG_NOSIGNAL) == (ssize_t)length;
}

static void watch_streams(struct execution *e)
{
    for (int i = 0; i < 2; i++)
        if (e->out[i] >= 0)
            e->watching[i] = watch(e->out[i], WATCH_OUTPUT, e->number, i, EPOLLIN);
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
    slot_reset(e->slot);
    slot_usage(e->slot, &e->base);
    e->started = now_ns();
    return send_request(e, terminal, payload, length) ? NULL : "resources";
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
    struct execution *e = prepared_now();
    if (!e)
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
    e->user = (uid_t)settings.user;
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

/* ---- output ---- */

static bool output_map(struct output *o)
{
    if (!o->ring) {
        void *ring = mmap(NULL, OUTPUT_RING, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        void *segments = mmap(NULL, SEGMENTS_MOST * sizeof *o->segments, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (ring == MAP_FAILED || segments == MAP_FAILED)
            return false;
        o->ring = ring;
        o->segments = segments;
    }
    return true;
}

static void output_note(struct output *o, uint8_t stream, size_t length)
{
    struct segment *last = &o->segments[(o->first + o->count - 1) % SEGMENTS_MOST];
    o->read += length;
    if (o->count == 0 || last->stream != stream) {
        last = &o->segments[(o->first + o->count++) % SEGMENTS_MOST];
        last->stream = stream;
    }
    last->end = o->read;
}

static void kill_for(struct execution *e, enum reason reason)
{
    if (e->state == RUNNING && !e->reason) {
        e->reason = reason;
        group_kill(e);
    }
}

/* What the limit leaves of `length` bytes that were read. */
static size_t within_output_limit(struct execution *e, size_t length)
{
    e->output_used += length;
    if (!e->output_limit || e->output_used <= e->output_limit)
        return length;
    uint64_t over = e->output_used - e->output_limit;
    e->output_used = e->output_limit;
    kill_for(e, BY_OUTPUT);
    if (e->state != RUNNING && !e->reason)
        e->reason = BY_OUTPUT; /* it ended by itself, with more in its pipes than it may say */
    return length - (size_t)over;
}

enum took { TOOK_BYTES, TOOK_NOTHING, TOOK_END, NO_ROOM };

static enum took output_take(struct execution *e, int stream)
{
    struct output *o = &e->output;
    struct pollfd ready = {.fd = e->out[stream], .events = POLLIN};
    if (o->read - o->kept == OUTPUT_RING || o->count == SEGMENTS_MOST)
        return NO_ROOM;
    /* Many programs say nothing on one of their streams: its end needs no memory. */
    if (!o->ring && poll(&ready, 1, 0) == 1 && !(ready.revents & POLLIN))
        return TOOK_END;
    if (!output_map(o))
        return NO_ROOM;
    size_t at = o->read % OUTPUT_RING;
    size_t room = OUTPUT_RING - (size_t)(o->read - o->kept);
    if (room > OUTPUT_RING - at)
        room = OUTPUT_RING - at;
    ssize_t got = read(e->out[stream], o->ring + at, room < READ_MOST ? room : READ_MOST);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return TOOK_NOTHING;
    if (got <= 0) /* a terminal that nobody holds any more reads as EIO */
        return TOOK_END;
    size_t length = within_output_limit(e, (size_t)got);
    if (length)
        output_note(o, (uint8_t)(STDOUT + stream), length);
    return TOOK_BYTES;
}

static void stop_watching_input(struct execution *e)
{
    if (e->stdin_watched)
        unwatch(e->stdin_fd);
    e->stdin_watched = false;
}

/* Nobody holds the terminal at the moment, but the program may open it again. As long as nobody
 * does, its descriptors are always "ready": they are looked at by the clock instead. */
static void hang_up(struct execution *e)
{
    if (e->watching[0])
        unwatch(e->out[0]);
    e->watching[0] = false;
    stop_watching_input(e);
    e->look_again = now_ns() + 50 * MILLISECOND;
}

static void output_event(struct execution *e, int stream)
{
    enum took took = output_take(e, stream);
    if (took == NO_ROOM) {
        unwatch(e->out[stream]); /* until something is acknowledged */
        e->watching[stream] = false;
    } else if (took == TOOK_END && e->terminal && stream == 0 && e->state == RUNNING) {
        hang_up(e);
    } else if (took == TOOK_END) {
        close_watched(&e->out[stream], &e->watching[stream]);
    }
}

size_t execution_unsent(struct execution *e, const uint8_t **bytes, uint8_t *stream)
{
    struct output *o = &e->output;
    if (e->sent == o->read)
        return 0;
    uint32_t i = 0;
    while (o->segments[(o->first + i) % SEGMENTS_MOST].end <= e->sent)
        i++;
    const struct segment *segment = &o->segments[(o->first + i) % SEGMENTS_MOST];
    size_t at = e->sent % OUTPUT_RING, length = (size_t)(segment->end - e->sent);
    *bytes = o->ring + at;
    *stream = segment->stream;
    return length < OUTPUT_RING - at ? length : OUTPUT_RING - at;
}

static void settle(struct execution *e);

bool execution_acknowledge(struct execution *e, uint64_t offset)
{
    struct output *o = &e->output;
    if (offset > e->sent)
        return false;
    if (offset <= o->kept)
        return true;
    o->kept = offset;
    while (o->count && o->segments[o->first].end <= offset) {
        o->first = (o->first + 1) % SEGMENTS_MOST;
        o->count--;
    }
    for (int i = 0; i < 2; i++)
        if (e->out[i] >= 0 && !e->watching[i])
            e->watching[i] = watch(e->out[i], WATCH_OUTPUT, e->number, i, EPOLLIN);
    settle(e);
    return true;
}

bool execution_attach(struct execution *e, uint64_t offset)
{
    if (offset < e->output.kept || offset > e->output.read)
        return false;
    e->attached = true;
    e->sent = offset;
    e->exit_sent = false;
    e->window_due = e->streamed_input;
    return true;
}

/* A host that starts anew must not use a number twice, not even that of a released execution. */
uint32_t executions_highest(void)
{
    return highest_channel;
}

void executions_detach(void)
{
    for (int i = 0; i < SLOTS; i++)
        executions[i].attached = false;
}

/* ---- input ---- */

static void input_close(struct execution *e)
{
    if (e->terminal && e->stdin_fd >= 0 && !e->input.closed) {
        struct termios settings;
        if (tcgetattr(e->stdin_fd, &settings) == 0)
            (void)!write(e->stdin_fd, &settings.c_cc[VEOF], 1);
        return; /* more may follow: a terminal's end-of-file is a character like others */
    }
    close_watched(&e->stdin_fd, &e->stdin_watched);
}

static void input_broken(struct execution *e)
{
    struct input *in = &e->input;
    in->closed = e->window_due = true;
    in->written = in->received;
    close_watched(&e->stdin_fd, &e->stdin_watched);
}

/* Writes what it can; what is left waits in the ring for the program to read. */
static void input_push(struct execution *e)
{
    struct input *in = &e->input;
    while (in->written < in->received && e->stdin_fd >= 0) {
        size_t at = in->written % INPUT_RING, length = (size_t)(in->received - in->written);
        ssize_t put = write(e->stdin_fd, in->ring + at,
                            length < INPUT_RING - at ? length : INPUT_RING - at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0 && errno == EAGAIN)
            break;
        if (put < 0) {
            input_broken(e);
            return;
        }
        in->written += (uint64_t)put;
    }
    if (in->written + INPUT_RING - in->window >= INPUT_RING / 2)
        e->window_due = true;
    bool wait = in->written < in->received && e->stdin_fd >= 0;
    if (!wait)
        stop_watching_input(e);
    else if (!e->stdin_watched && !e->look_again)
        e->stdin_watched = watch(e->stdin_fd, WATCH_INPUT, e->number, 0, EPOLLOUT);
    if (!wait && in->end) {
        in->end = false;
        input_close(e);
    }
}

bool execution_input(struct execution *e, uint64_t offset, const uint8_t *bytes, size_t length)
{
    struct input *in = &e->input;
    if (!e->streamed_input || offset > in->received || offset + length > in->written + INPUT_RING)
        return false;
    size_t known = (size_t)(in->received - offset);
    if (known >= length)
        return true;
    bytes += known;
    length -= known;
    if (in->closed || e->stdin_fd < 0) {
        in->received += length;
        in->written = in->received;
        return true;
    }
    if (!in->ring) {
        void *ring = mmap(NULL, INPUT_RING, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                          -1, 0);
        if (ring == MAP_FAILED)
            return false;
        in->ring = ring;
    }
    for (size_t done = 0; done < length;) {
        size_t at = in->received % INPUT_RING, piece = length - done;
        if (piece > INPUT_RING - at)
            piece = INPUT_RING - at;
        memcpy(in->ring + at, bytes + done, piece);
        in->received += piece;
        done += piece;
    }
    input_push(e);
    return true;
}

bool execution_end_input(struct execution *e, uint64_t offset)
{
    if (offset != e->input.received)
        return false;
    e->input.end = true;
    input_push(e);
    return true;
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
    if (e->terminal && e->out[0] >= 0)
        ioctl(e->out[0], TIOCSWINSZ, &size);
}

void execution_cancel(struct execution *e)
{
    kill_for(e, BY_CANCEL);
}

/* ---- the end ---- */

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
        if (slots[i].keeper == pid)
            keeper_ended(&slots[i]);
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

static void settle(struct execution *e)
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
        slot_usage(e->slot, &e->used);
        ipc_sweep(e);
        e->slot->taken = false; /* the next program may have it, before this one is released */
        e->slot = NULL;
        e->window_due = false;
        e->state = ENDED;
    }
}

bool execution_release(struct execution *e)
{
    if (e->state != ENDED || !e->exit_sent ||
        (e->output.ring && connection_uses(e->output.ring)))
        return false;
    forget(e);
    return true;
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
    put_measurement(&w, F_CPU_USED, used->cpu ? used->cpu_ns - base->cpu_ns : e->child_cpu_ns,
                    used->cpu ? FROM_KERNEL : FROM_AGENT, OF_EXECUTION);
    put_measurement(&w, F_PEAK_MEMORY, used->peak ? used->peak_bytes : e->child_peak_bytes,
                    used->peak ? FROM_KERNEL : FROM_AGENT, OF_EXECUTION);
    put_measurement(&w, F_OUTPUT_USED, e->output_used, FROM_AGENT, OF_EXECUTION);
    if (used->oom)
        put_measurement(&w, F_OOM_KILLS, used->oom_kills - base->oom_kills, FROM_KERNEL,
                        OF_EXECUTION);
    return (size_t)(w.at - to);
}

/* ---- time ---- */

/* CPU time is asked for when it can have run out at the earliest: on all processors at once. */
static void check_cpu(struct execution *e, uint64_t now)
{
    uint64_t used = group_cpu(e);
    if (used >= e->cpu_limit) {
        kill_for(e, BY_CPU);
        return;
    }
    uint64_t soonest = (e->cpu_limit - used) / (uint64_t)processors;
    e->cpu_check = now + (soonest > 5 * MILLISECOND ? soonest : 5 * MILLISECOND);
}

static void look_again(struct execution *e)
{
    e->look_again = 0;
    if (e->out[0] >= 0 && !e->watching[0])
        e->watching[0] = watch(e->out[0], WATCH_OUTPUT, e->number, 0, EPOLLIN);
    input_push(e);
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
