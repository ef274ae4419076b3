/* Who may talk to the agent, and what they ask for. What goes out to them is outbox.c's.
 *
 * One connection is active: the one with the highest epoch. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WAITING_MOST = 8, HELLO_MOST = 512, PING_SECONDS = 10, SILENCE_SECONDS = 30 };
static const uint64_t SECOND = 1000000000ull;

struct waiting { int fd; uint64_t since; size_t have; uint8_t bytes[HELLO_MOST]; };

static int listener_fd;
static uint8_t secret[SECRET_SIZE];
static uint64_t epoch;
static struct waiting waiting[WAITING_MOST];

static int active = -1;
static uint64_t last_heard, unclaimed_since;
static uint8_t inbox[HEADER_SIZE + PAYLOAD_MOST];
static size_t inbox_have;
static bool out_blocked, in_paused;

void connections_init(int listener, const uint8_t given[SECRET_SIZE])
{
    listener_fd = listener;
    memcpy(secret, given, SECRET_SIZE);
    for (int i = 0; i < WAITING_MOST; i++)
        waiting[i].fd = -1;
    unclaimed_since = now_ns();
}

void connections_forget_secret(void)
{
    explicit_bzero(secret, sizeof secret);
}

bool connections_claimed(uint64_t *since)
{
    *since = unclaimed_since;
    return active >= 0;
}

/* ---- opening and closing ---- */

static void waiting_close(struct waiting *one)
{
    unwatch(one->fd);
    close(one->fd);
    one->fd = -1;
}

static void active_close(void)
{
    if (active < 0)
        return;
    unwatch(active);
    close(active);
    active = -1;
    unclaimed_since = now_ns();
    inbox_have = 0;
    out_blocked = in_paused = false;
    outbox_clear();
    executions_detach();
}

/* The other side is about to be cut off; it is told why if that needs no waiting. */
static void refuse(int fd, const char *code, const char *message)
{
    uint8_t frame[256];
    struct writer writer = {frame + HEADER_SIZE, frame + sizeof frame};
    put_field_text(&writer, F_CODE, code);
    put_field_text(&writer, F_MESSAGE, message);
    memset(frame, 0, HEADER_SIZE);
    put_number(frame, (uint64_t)(writer.at - frame - HEADER_SIZE), 4);
    frame[8] = REFUSED;
    (void)!send(fd, frame, (size_t)(writer.at - frame), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void violation(const char *message)
{
    if (!outbox_is_amid()) /* else it would cut a frame in two */
        refuse(active, "protocol", message);
    active_close();
}

void connections_accept(void)
{
    int fd = accept4(listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct waiting *place = &waiting[0];
    for (int i = 0; i < WAITING_MOST; i++) {
        if (waiting[i].fd < 0) {
            place = &waiting[i];
            break;
        }
        if (waiting[i].since < place->since)
            place = &waiting[i];
    }
    if (place->fd >= 0)
        waiting_close(place);
    *place = (struct waiting){.fd = fd, .since = now_ns()};
    if (!watch(fd, WATCH_CONNECTION, (int)(place - waiting), 0, EPOLLIN)) {
        close(fd);
        place->fd = -1;
    }
}

/* ---- the first frame ---- */

static bool secret_matches(const struct field *field)
{
    uint8_t difference = field->length != SECRET_SIZE;
    for (uint32_t i = 0; i < SECRET_SIZE && i < field->length; i++)
        difference |= (uint8_t)(secret[i] ^ field->value[i]);
    return difference == 0;
}

static const char *hello_judge(const uint8_t *payload, size_t length, uint64_t *asked_epoch)
{
    struct reader reader = {payload, payload + length, false};
    struct field field;
    uint64_t version = 0;
    bool known = false;
    *asked_epoch = 0;
    while (next_field(&reader, &field)) {
        if (field.tag == F_VERSION)
            field_number(&field, &version);
        else if (field.tag == F_SECRET)
            known = secret_matches(&field);
        else if (field.tag == F_EPOCH)
            field_number(&field, asked_epoch);
    }
    if (reader.broken)
        return "protocol";
    if (!known)
        return "secret";
    if (version != PROTOCOL_VERSION)
        return "version";
    return *asked_epoch < epoch ? "epoch" : NULL;
}

static void promote(struct waiting *one, size_t used, uint64_t new_epoch)
{
    active_close();
    epoch = new_epoch;
    active = one->fd;
    one->fd = -1;
    inbox_have = one->have - used;
    memcpy(inbox, one->bytes + used, inbox_have);
    watch_change(active, WATCH_CONNECTION, WAITING_MOST, 0, EPOLLIN);
    last_heard = now_ns();
    outbox_ready(epoch);
    if (interpreter_waits())
        outbox_waits();
}

void connections_say_waits(void)
{
    if (active >= 0)
        outbox_waits();
}

static void inbox_parse(void);

static void waiting_event(struct waiting *one)
{
    ssize_t got = recv(one->fd, one->bytes + one->have, HELLO_MOST - one->have, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        waiting_close(one);
        return;
    }
    one->have += (size_t)got;
    if (one->have < HEADER_SIZE)
        return;
    size_t length = get_number(one->bytes, 4);
    const char *wrong = NULL;
    uint64_t asked_epoch = 0;
    if (length > HELLO_MOST - HEADER_SIZE || one->bytes[8] != HELLO ||
        get_number(one->bytes + 4, 4) || get_number(one->bytes + 9, 3))
        wrong = "protocol";
    else if (one->have < HEADER_SIZE + length)
        return;
    else
        wrong = hello_judge(one->bytes + HEADER_SIZE, length, &asked_epoch);
    if (wrong) {
        refuse(one->fd, wrong, "this connection may not be opened");
        waiting_close(one);
        return;
    }
    promote(one, HEADER_SIZE + length, asked_epoch);
    inbox_parse();
}

/* ---- frames from the host ---- */

static void exec_frame(uint32_t channel, const uint8_t *payload, size_t length)
{
    const char *code = execution_start(channel, payload, length);
    if (code)
        outbox_failed(channel, code, "the execution was not started");
}

/* False when the frame breaks the protocol. */
static bool execution_frame(struct execution *execution, uint8_t type, const uint8_t *payload,
                            size_t length)
{
    uint64_t number = length >= 8 ? get_number(payload, 8) : 0;
    bool fits = true;
    switch (type) {
    case RELEASE:
        fits = execution_release(execution);
        break;
    case CANCEL:
        execution_cancel(execution);
        break;
    case RESIZE:
        if (length != 4)
            return false;
        execution_resize(execution, (int)get_number(payload, 2), (int)get_number(payload + 2, 2));
        break;
    case SIGNAL:
        if (length != 8 || number < 1 || number > 64)
            return false;
        execution_signal(execution, (int)number);
        break;
    case ATTACH:
        fits = length == 8 && execution_attach(execution, number);
        break;
    case ACK:
        fits = length == 8 && execution_acknowledge(execution, number);
        break;
    case INPUT:
        fits = length >= 8 && execution_input(execution, number, payload + 8, length - 8);
        break;
    case END:
        fits = length == 8 && execution_end_input(execution, number);
        break;
    default:
        return false;
    }
    if (!fits)
        outbox_failed(execution->channel, "offset", "that cannot be done at this point");
    return true;
}

static bool frame(uint8_t type, uint32_t channel, const uint8_t *payload, size_t length)
{
    if (type == PING && outbox_pong(payload, length))
        return true;
    if (type == PONG)
        return true;
    if (type == PREPARE)
        return channel == 0 && interpreter_want(payload, length);
    if (channel == 0)
        return false;
    if (type == EXEC) {
        exec_frame(channel, payload, length);
        return true;
    }
    if (type < RELEASE || (type > ATTACH && type < ACK) || type > END)
        return false;
    struct execution *execution = execution_find(channel);
    if (execution)
        return execution_frame(execution, type, payload, length);
    outbox_failed(channel, "channel", "no such execution");
    return true;
}

static void inbox_parse(void)
{
    size_t at = 0;
    int generation = active;
    /* A full queue of answers waits until the host has taken them. */
    while (inbox_have - at >= HEADER_SIZE && !outbox_is_full()) {
        const uint8_t *head = inbox + at;
        size_t length = get_number(head, 4);
        if (length > PAYLOAD_MOST || get_number(head + 9, 3)) {
            violation("a frame's header is wrong");
            return;
        }
        if (inbox_have - at < HEADER_SIZE + length)
            break;
        if (!frame(head[8], (uint32_t)get_number(head + 4, 4), head + HEADER_SIZE, length)) {
            violation("a frame's type or payload is wrong");
            return;
        }
        if (active != generation)
            return;
        at += HEADER_SIZE + length;
    }
    inbox_have -= at;
    memmove(inbox, inbox + at, inbox_have);
}

static void active_interest(void)
{
    bool pause = outbox_is_full();
    bool blocked = outbox_is_amid();
    if (active < 0 || (pause == in_paused && blocked == out_blocked))
        return;
    in_paused = pause;
    out_blocked = blocked;
    watch_change(active, WATCH_CONNECTION, WAITING_MOST, 0,
                 (pause ? 0 : EPOLLIN) | (blocked ? EPOLLOUT : 0));
}

static void active_readable(void)
{
    ssize_t got = recv(active, inbox + inbox_have, sizeof inbox - inbox_have, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        active_close();
        return;
    }
    last_heard = now_ns();
    inbox_have += (size_t)got;
    inbox_parse();
}

void connection_event(int number, uint32_t events)
{
    if (number < WAITING_MOST) {
        if (waiting[number].fd >= 0)
            waiting_event(&waiting[number]);
    } else if (active >= 0) {
        if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            active_readable();
        if (active >= 0 && (events & EPOLLOUT))
            out_blocked = true; /* connections_flush() finds out how far it gets */
    }
}

/* ---- what goes out ---- */

void connections_flush(void)
{
    bool broken = false;
    while (active >= 0 && outbox_send(active, &broken))
        if (inbox_have && !outbox_has_answers())
            inbox_parse();
    if (broken)
        active_close();
    active_interest();
}

/* ---- time ---- */

void connections_tick(uint64_t now)
{
    for (int i = 0; i < WAITING_MOST; i++)
        if (waiting[i].fd >= 0 && now - waiting[i].since >= 5 * SECOND)
            waiting_close(&waiting[i]);
    if (active < 0)
        return;
    if (now - last_heard >= SILENCE_SECONDS * SECOND)
        active_close();
    else if (now - outbox_spoke() >= PING_SECONDS * SECOND)
        outbox_ping();
}

uint64_t connections_wakeup(void)
{
    uint64_t at = UINT64_MAX;
    for (int i = 0; i < WAITING_MOST; i++)
        if (waiting[i].fd >= 0 && waiting[i].since + 5 * SECOND < at)
            at = waiting[i].since + 5 * SECOND;
    if (active >= 0) {
        /* A blocked socket takes no PING either: then only the other side's silence counts. */
        if (!out_blocked && outbox_spoke() + PING_SECONDS * SECOND < at)
            at = outbox_spoke() + PING_SECONDS * SECOND;
        if (last_heard + SILENCE_SECONDS * SECOND < at)
            at = last_heard + SILENCE_SECONDS * SECOND;
    }
    return at;
}
