/* Who may talk to the agent, and the frames in both directions.
 *
 * One connection is active: the one with the highest epoch. Nothing is queued for it but answers:
 * output goes out straight from the executions' rings, when the socket has room, so that neither
 * a slow host nor a flooding program costs memory. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WAITING_MOST = 8, HELLO_MOST = 512, ANSWERS_MOST = 16, BATCH_SIZE = 8192, OUTPUT_HEAD = 9,
       PING_SECONDS = 10, SILENCE_SECONDS = 30, BESIDE_TERMINAL = 512 * 1024 };
static const uint64_t SECOND = 1000000000ull;

struct waiting { int fd; uint64_t since; size_t have; uint8_t bytes[HELLO_MOST]; };
struct answer { uint32_t channel; const char *code, *message; };

static int listener_fd;
static uint8_t secret[SECRET_SIZE];
static uint64_t epoch;
static struct waiting waiting[WAITING_MOST];

static int active = -1;
static uint64_t last_heard, last_spoke, unclaimed_since;
static uint8_t inbox[HEADER_SIZE + PAYLOAD_MOST];
static size_t inbox_have;
static bool out_blocked, in_paused;

/* What is on its way: small frames copied, then at most one run of bytes left in its ring. */
static uint8_t batch[BATCH_SIZE];
static size_t batch_length, batch_sent;
static const uint8_t *bulk;
static size_t bulk_length;

static bool ready_due, waits_due, ping_due, pong_due;
static uint8_t pong[64];
static size_t pong_length;
static struct answer answers[ANSWERS_MOST];
static int answer_count;
static int next_turn; /* round robin over executions' output */

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

bool connection_uses(const uint8_t *ring)
{
    return bulk_length > 0 && bulk >= ring && bulk < ring + OUTPUT_RING;
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
    inbox_have = batch_length = batch_sent = bulk_length = 0;
    answer_count = 0;
    ready_due = waits_due = ping_due = pong_due = out_blocked = in_paused = false;
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
    if (batch_length == 0 && bulk_length == 0) /* else it would cut a frame in two */
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
    last_heard = last_spoke = now_ns();
    ready_due = true;
    waits_due = interpreter_waits();
}

void connections_say_waits(void)
{
    waits_due = active >= 0;
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

static void answer_failed(uint32_t channel, const char *code, const char *message)
{
    if (answer_count < ANSWERS_MOST)
        answers[answer_count++] = (struct answer){channel, code, message};
}

static void exec_frame(uint32_t channel, const uint8_t *payload, size_t length)
{
    const char *code = execution_start(channel, payload, length);
    if (code)
        answer_failed(channel, code, "the execution was not started");
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
        answer_failed(execution->channel, "offset", "that cannot be done at this point");
    return true;
}

static bool frame(uint8_t type, uint32_t channel, const uint8_t *payload, size_t length)
{
    if (type == PING && length <= sizeof pong) {
        memcpy(pong, payload, length);
        pong_length = length;
        pong_due = true;
        return true;
    }
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
    answer_failed(channel, "channel", "no such execution");
    return true;
}

static void inbox_parse(void)
{
    size_t at = 0;
    int generation = active;
    /* A full queue of answers waits until the host has taken them. */
    while (inbox_have - at >= HEADER_SIZE && answer_count < ANSWERS_MOST) {
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
    bool pause = answer_count >= ANSWERS_MOST;
    bool blocked = batch_length > batch_sent || bulk_length > 0;
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

/* ---- frames to the host ---- */

static bool batch_add(uint8_t type, uint32_t channel, const uint8_t *payload, size_t length,
                      size_t bulk_follows)
{
    if (sizeof batch - batch_length < HEADER_SIZE + length)
        return false;
    uint8_t *head = batch + batch_length;
    put_number(head, length + bulk_follows, 4);
    put_number(head + 4, channel, 4);
    head[8] = type;
    head[9] = head[10] = head[11] = 0;
    if (length)
        memcpy(head + HEADER_SIZE, payload, length);
    batch_length += HEADER_SIZE + length;
    return true;
}

static void put_executions(struct writer *writer)
{
    for (int i = 0; i < SLOTS; i++) {
        struct execution *e = &executions[i];
        if (e->state < RUNNING)
            continue;
        uint8_t known[33] = {0};
        put_number(known, e->channel, 4);
        known[4] = e->state == ENDED ? 2 : 1;
        put_number(known + 5, e->output.kept, 8);
        put_number(known + 13, e->output.read, 8);
        put_number(known + 21, e->input.received, 8);
        put_field(writer, F_EXECUTION, known, sizeof known);
    }
}

static void add_ready(void)
{
    uint8_t payload[BATCH_SIZE / 2];
    struct writer writer = {payload, payload + sizeof payload};
    put_field_number(&writer, F_VERSION, PROTOCOL_VERSION);
    put_field_number(&writer, F_EPOCH, epoch);
    put_field_text(&writer, F_RELEASE, AGENT_RELEASE);
    if (groups_can_kill())
        put_field_text(&writer, F_CAPABILITY, "cgroup-kill");
    if (getpid() == 1 && can_change_user)
        put_field_text(&writer, F_CAPABILITY, "kill-all");
    put_field_text(&writer, F_CAPABILITY, "stop-walk");
    if (groups_can_measure())
        put_field_text(&writer, F_CAPABILITY, "cgroup-facts");
    if (can_change_user)
        put_field_text(&writer, F_CAPABILITY, "privileges");
    put_field_text(&writer, F_CAPABILITY, "interpreter");
    put_field_number(&writer, F_HIGHEST, executions_highest());
    put_executions(&writer);
    ready_due = !batch_add(READY, 0, payload, (size_t)(writer.at - payload), 0);
}

static void add_answers(void)
{
    int done = 0;
    for (; done < answer_count; done++) {
        uint8_t payload[256];
        struct writer writer = {payload, payload + sizeof payload};
        put_field_text(&writer, F_CODE, answers[done].code);
        put_field_text(&writer, F_MESSAGE, answers[done].message);
        if (!batch_add(FAILED, answers[done].channel, payload, (size_t)(writer.at - payload), 0))
            break;
    }
    answer_count -= done;
    memmove(answers, answers + done, (size_t)answer_count * sizeof *answers);
}

static void add_window(struct execution *e)
{
    uint8_t payload[9];
    put_number(payload, e->input.written + INPUT_RING, 8);
    payload[8] = e->input.closed;
    if (!batch_add(WINDOW, e->channel, payload, sizeof payload, 0))
        return;
    e->input.window = e->input.written + INPUT_RING;
    e->window_due = false;
}

static void add_exit(struct execution *e)
{
    uint8_t payload[512];
    size_t length = execution_facts(e, payload, sizeof payload);
    e->exit_sent = batch_add(EXIT, e->channel, payload, length, 0);
}

static bool terminal_attached(void)
{
    for (int i = 0; i < SLOTS; i++)
        if (executions[i].state >= RUNNING && executions[i].state < ENDED &&
            executions[i].terminal && executions[i].attached)
            return true;
    return false;
}

/* Whatever is under way to the host when somebody types is ahead of the answer: an orchestrator's way
 * holds all that an execution may send, and carries some megabytes a second. Not less than twice what
 * hosts acknowledge at once, or it would stand still. */
static size_t room_under_way(const struct execution *e)
{
    const size_t frame = PAYLOAD_MOST - OUTPUT_HEAD;
    uint64_t under_way = e->sent - e->output.kept;
    if (e->terminal || !terminal_attached())
        return frame;
    if (under_way >= BESIDE_TERMINAL)
        return 0;
    return BESIDE_TERMINAL - under_way < frame ? (size_t)(BESIDE_TERMINAL - under_way) : frame;
}

/* One frame of output. Short ones are copied, so that many fit one send; a long one ends the
 * batch and leaves from its ring. */
static bool add_output(struct execution *e)
{
    uint8_t head[OUTPUT_HEAD];
    const uint8_t *bytes;
    size_t length = execution_unsent(e, &bytes, &head[8]);
    if (!e->attached || length == 0)
        return false;
    size_t room = room_under_way(e);
    if (length > room)
        length = room;
    if (length == 0)
        return false;
    put_number(head, e->sent, 8);
    if (length < BATCH_SIZE / 4) {
        if (sizeof batch - batch_length < HEADER_SIZE + OUTPUT_HEAD + length)
            return false;
        batch_add(OUTPUT, e->channel, head, OUTPUT_HEAD, length);
        memcpy(batch + batch_length, bytes, length);
        batch_length += length;
    } else {
        if (!batch_add(OUTPUT, e->channel, head, OUTPUT_HEAD, length))
            return false;
        bulk = bytes;
        bulk_length = length;
    }
    e->sent += length;
    return true;
}

static void add_outputs(bool terminals)
{
    int first = next_turn;
    for (int i = 0; i < SLOTS && bulk_length == 0; i++) {
        struct execution *e = &executions[(first + i) % SLOTS];
        if (e->state < RUNNING || e->terminal != terminals)
            continue;
        if (add_output(e) && !terminals)
            next_turn = (e->number + 1) % SLOTS;
    }
}

static void batch_fill(void)
{
    if (ready_due)
        add_ready();
    if (waits_due)
        waits_due = !batch_add(WAITS, 0, NULL, 0, 0);
    if (pong_due)
        pong_due = !batch_add(PONG, 0, pong, pong_length, 0);
    if (ping_due)
        ping_due = !batch_add(PING, 0, NULL, 0, 0);
    add_answers();
    for (int i = 0; i < SLOTS; i++)
        if (executions[i].state >= RUNNING && executions[i].window_due && executions[i].attached)
            add_window(&executions[i]);
    add_outputs(true);
    add_outputs(false);
    for (int i = 0; i < SLOTS; i++) {
        struct execution *e = &executions[i];
        if (e->state == ENDED && e->attached && !e->exit_sent && e->sent == e->output.read &&
            bulk_length == 0)
            add_exit(e);
    }
}

/* False when the socket takes no more for now, or broke. */
static bool batch_send(void)
{
    struct iovec parts[2] = {
        {batch + batch_sent, batch_length - batch_sent},
        {(void *)(uintptr_t)bulk, bulk_length},
    };
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t sent = sendmsg(active, &message, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR)
            active_close();
        return false;
    }
    last_spoke = now_ns();
    size_t of_batch = batch_length - batch_sent;
    if ((size_t)sent < of_batch) {
        batch_sent += (size_t)sent;
        return false;
    }
    batch_length = batch_sent = 0;
    if (bulk_length > 0) {
        bulk += (size_t)sent - of_batch;
        bulk_length -= (size_t)sent - of_batch;
    }
    return bulk_length == 0;
}

void connections_flush(void)
{
    while (active >= 0) {
        if (batch_length == 0 && bulk_length == 0)
            batch_fill();
        if (batch_length == 0 && bulk_length == 0)
            break;
        if (!batch_send())
            break;
        if (inbox_have && answer_count == 0)
            inbox_parse();
    }
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
    else if (now - last_spoke >= PING_SECONDS * SECOND)
        ping_due = true;
}

uint64_t connections_wakeup(void)
{
    uint64_t at = UINT64_MAX;
    for (int i = 0; i < WAITING_MOST; i++)
        if (waiting[i].fd >= 0 && waiting[i].since + 5 * SECOND < at)
            at = waiting[i].since + 5 * SECOND;
    if (active >= 0) {
        /* A blocked socket takes no PING either: then only the other side's silence counts. */
        if (!out_blocked && last_spoke + PING_SECONDS * SECOND < at)
            at = last_spoke + PING_SECONDS * SECOND;
        if (last_heard + SILENCE_SECONDS * SECOND < at)
            at = last_heard + SILENCE_SECONDS * SECOND;
    }
    return at;
}
