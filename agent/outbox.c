/* What goes out to the host that is connected.
 *
 * Nothing is queued but answers: output goes out straight from the executions' rings, when the socket
 * has room, so that neither a slow host nor a flooding program costs memory. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ANSWERS_MOST = 16, BATCH_SIZE = 8192, OUTPUT_HEAD = 9, BESIDE_TERMINAL = 512 * 1024 };

struct answer { uint32_t channel; const char *code, *message; };

/* What is on its way: small frames copied, then at most one run of bytes left in its ring. */
static uint8_t batch[BATCH_SIZE];
static size_t batch_length, batch_sent;
static const uint8_t *bulk;
static size_t bulk_length;

static uint64_t epoch, last_spoke;
static bool ready_due, waits_due, ping_due, pong_due;
static uint8_t pong[64];
static size_t pong_length;
static struct answer answers[ANSWERS_MOST];
static int answer_count;
static int next_turn; /* round robin over executions' output */

/* ---- what is to be said ---- */

void outbox_clear(void)
{
    batch_length = batch_sent = bulk_length = 0;
    answer_count = next_turn = 0;
    ready_due = waits_due = ping_due = pong_due = false;
}

void outbox_ready(uint64_t of_epoch)
{
    epoch = of_epoch;
    ready_due = true;
    last_spoke = now_ns();
}

void outbox_waits(void)
{
    waits_due = true;
}

void outbox_ping(void)
{
    ping_due = true;
}

bool outbox_pong(const uint8_t *payload, size_t length)
{
    if (length > sizeof pong)
        return false;
    memcpy(pong, payload, length);
    pong_length = length;
    return pong_due = true;
}

void outbox_failed(uint32_t channel, const char *code, const char *message)
{
    if (answer_count < ANSWERS_MOST)
        answers[answer_count++] = (struct answer){channel, code, message};
}

bool outbox_has_answers(void)
{
    return answer_count > 0;
}

bool outbox_is_full(void)
{
    return answer_count >= ANSWERS_MOST;
}

bool outbox_is_amid(void)
{
    return batch_length > batch_sent || bulk_length > 0;
}

bool outbox_uses(const uint8_t *ring)
{
    return bulk_length > 0 && bulk >= ring && bulk < ring + OUTPUT_RING;
}

uint64_t outbox_spoke(void)
{
    return last_spoke;
}

/* ---- frames ---- */

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

/* ---- sending ---- */

/* Puts this many bytes, which are gone, out of the way; true when all are. */
static bool batch_leave(size_t sent)
{
    size_t of_batch = batch_length - batch_sent;
    if (sent < of_batch) {
        batch_sent += sent;
        return false;
    }
    batch_length = batch_sent = 0;
    if (bulk_length > 0) {
        bulk += sent - of_batch;
        bulk_length -= sent - of_batch;
    }
    return bulk_length == 0;
}

bool outbox_send(int to, bool *broken)
{
    if (!outbox_is_amid())
        batch_fill();
    if (!outbox_is_amid())
        return false;
    struct iovec parts[2] = {
        {batch + batch_sent, batch_length - batch_sent},
        {(void *)(uintptr_t)bulk, bulk_length},
    };
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t sent = sendmsg(to, &message, MSG_NOSIGNAL);
    if (sent < 0) {
        *broken = errno != EAGAIN && errno != EINTR;
        return false;
    }
    last_spoke = now_ns();
    return batch_leave((size_t)sent);
}
