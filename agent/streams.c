/* An execution's streams: output that is kept until it is acknowledged, input that waits until the
 * program reads it, and a terminal in place of both. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

enum { READ_MOST = 65536, STDOUT = 1 };
static const uint64_t MILLISECOND = 1000000ull;

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

enum took output_take(struct execution *e, int stream)
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
void hang_up(struct execution *e)
{
    if (e->watching[0])
        unwatch(e->out[0]);
    e->watching[0] = false;
    stop_watching_input(e);
    e->look_again = now_ns() + 50 * MILLISECOND;
}

void output_event(struct execution *e, int stream)
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

void input_broken(struct execution *e)
{
    struct input *in = &e->input;
    in->closed = e->window_due = true;
    in->written = in->received;
    close_watched(&e->stdin_fd, &e->stdin_watched);
}

/* Writes what it can; what is left waits in the ring for the program to read. */
void input_push(struct execution *e)
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

void look_again(struct execution *e)
{
    e->look_again = 0;
    if (e->out[0] >= 0 && !e->watching[0])
        e->watching[0] = watch(e->out[0], WATCH_OUTPUT, e->number, 0, EPOLLIN);
    input_push(e);
}
