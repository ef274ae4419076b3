/* The host's side of connections. Whatever it sends, what comes back must be well-formed frames,
 * with each byte of output once, in order and unchanged. */
#include "host.h"

#include "../agent.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CONNECTIONS_MOST = 10, CHANNELS_MOST = 128, BUFFER = HEADER_SIZE + PAYLOAD_MOST };

/* What a connection may expect on a channel. Known only from its EXEC on, and only as long as
 * nothing was asked that lets output begin elsewhere. */
struct channel {
    uint32_t number;
    bool vague, terminal, exited;
    uint64_t offset, of_stream[2], fed;
};

struct stream { uint8_t bytes[BUFFER]; size_t have; };

static struct connection {
    int fd;
    bool in_step;               /* the frames that were sent can be told */
    struct stream sent, received;
    struct channel channels[CHANNELS_MOST];
    int channel_count;
} connections[CONNECTIONS_MOST], *current;

static int next_place;
static bool only_fed = true, feeding;

static struct channel *channel_of(struct connection *c, uint32_t number)
{
    for (int i = 0; i < c->channel_count; i++)
        if (c->channels[i].number == number)
            return &c->channels[i];
    return NULL;
}

/* ---- what was sent ---- */

static void note_exec(struct connection *c, uint32_t number, const uint8_t *payload, size_t length)
{
    struct channel *known = channel_of(c, number);
    if (known || c->channel_count == CHANNELS_MOST) {
        if (known)
            known->vague = true;
        return;
    }
    struct reader reader = {payload, payload + length, false};
    struct field field;
    known = &c->channels[c->channel_count++];
    *known = (struct channel){.number = number};
    while (next_field(&reader, &field))
        known->terminal |= field.tag == F_TERMINAL;
}

static void note_sent(struct connection *c, const uint8_t *head, const uint8_t *payload, size_t length)
{
    uint32_t number = (uint32_t)get_number(head + 4, 4);
    struct channel *known = channel_of(c, number);
    only_fed &= head[8] != INPUT || feeding;
    if (head[8] == EXEC)
        note_exec(c, number, payload, length);
    else if (head[8] == ATTACH && known)
        known->vague = true;
}

static size_t take_frames(struct connection *c, struct stream *stream,
                          void (*take)(struct connection *, const uint8_t *, const uint8_t *, size_t))
{
    size_t at = 0;
    while (stream->have - at >= HEADER_SIZE) {
        const uint8_t *head = stream->bytes + at;
        size_t length = get_number(head, 4);
        if (length > PAYLOAD_MOST)
            return SIZE_MAX;
        if (stream->have - at < HEADER_SIZE + length)
            break;
        take(c, head, head + HEADER_SIZE, length);
        at += HEADER_SIZE + length;
    }
    stream->have -= at;
    memmove(stream->bytes, stream->bytes + at, stream->have);
    return at;
}

static void follow(struct connection *c, const uint8_t *bytes, size_t length)
{
    while (length > 0 && c->in_step) {
        size_t room = BUFFER - c->sent.have, piece = length < room ? length : room;
        memcpy(c->sent.bytes + c->sent.have, bytes, piece);
        c->sent.have += piece;
        bytes += piece;
        length -= piece;
        c->in_step = take_frames(c, &c->sent, note_sent) != SIZE_MAX;
    }
}

/* ---- what is received ---- */

static void check_output(struct channel *known, const uint8_t *payload, size_t length)
{
    uint64_t offset = get_number(payload, 8);
    int stream = payload[8] - 1;
    must(length > 9 && (stream == 0 || stream == 1), "output of no stream, or of no bytes");
    if (!known || known->vague)
        return;
    must(!known->exited, "output after the end");
    must(offset == known->offset, "output that is not where it belongs");
    known->offset += length - 9;
    for (size_t i = 9; i < length && !known->terminal; i++)
        must(payload[i] == world_byte(stream, known->of_stream[stream]++), "changed output");
}

static void check_fields(const uint8_t *payload, size_t length)
{
    struct reader reader = {payload, payload + length, false};
    struct field field;
    while (next_field(&reader, &field))
        ;
    must(!reader.broken, "fields that do not fit their frame");
}

static void check_ready(const uint8_t *payload, size_t length)
{
    struct reader reader = {payload, payload + length, false};
    struct field field;
    while (next_field(&reader, &field)) {
        if (field.tag != F_EXECUTION)
            continue;
        must(field.length == 33 && (field.value[4] == 1 || field.value[4] == 2), "an execution");
        uint64_t kept = get_number(field.value + 5, 8), read = get_number(field.value + 13, 8);
        must(kept <= read && read - kept <= OUTPUT_RING, "more kept than there is");
    }
}

static void note_received(struct connection *c, const uint8_t *head, const uint8_t *payload,
                          size_t length)
{
    struct channel *known = channel_of(c, (uint32_t)get_number(head + 4, 4));
    must(get_number(head + 9, 3) == 0, "reserved bytes");
    must((head[8] < EXEC || head[8] == WAITS) == (get_number(head + 4, 4) == 0),
         "a type on the wrong channel");
    switch (head[8]) {
    case OUTPUT: check_output(known, payload, length); break;
    case EXIT:
        if (known && !known->vague)
            must(!known->exited, "two ends");
        if (known)
            known->exited = true;
        check_fields(payload, length);
        break;
    case READY: check_ready(payload, length); /* fall through */
    case REFUSED: case FAILED: check_fields(payload, length); break;
    case WINDOW: must(length == 9 && payload[8] < 2, "a window"); break;
    case WAITS: must(length == 0, "an interpreter that waits"); break;
    case PING: must(length == 0, "a ping"); break;
    case PONG: must(length <= 64, "a pong"); break;
    default: must(false, "a type that hosts don't get");
    }
}

void host_receive(size_t most)
{
    struct connection *c = current;
    while (c && most > 0) {
        size_t room = BUFFER - c->received.have;
        ssize_t got = recv(c->fd, c->received.bytes + c->received.have, room < most ? room : most,
                           MSG_DONTWAIT);
        if (got <= 0)
            break;
        most -= (size_t)got;
        c->received.have += (size_t)got;
        must(take_frames(c, &c->received, note_received) != SIZE_MAX, "a frame that is too long");
    }
}

/* ---- connections ---- */

void host_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    current = &connections[next_place++ % CONNECTIONS_MOST];
    if (current->fd > 0)
        close(current->fd);
    current->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    current->in_step = true;
    current->sent.have = current->received.have = 0;
    current->channel_count = 0;
    must(connect(current->fd, (struct sockaddr *)&address, sizeof address) == 0, "it does not listen");
}

void host_send(const uint8_t *bytes, size_t length)
{
    ssize_t sent = current ? send(current->fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL) : -1;
    if (sent > 0)
        follow(current, bytes, (size_t)sent);
}

void host_feed(uint32_t number, size_t count)
{
    static uint8_t frame[HEADER_SIZE + PAYLOAD_MOST];
    struct channel *known = current ? channel_of(current, number) : NULL;
    if (!known || count > PAYLOAD_MOST - 8)
        return;
    put_number(frame, count + 8, 4);
    put_number(frame + 4, number, 4);
    frame[8] = INPUT;
    put_number(frame + HEADER_SIZE, known->fed, 8);
    for (size_t i = 0; i < count; i++)
        frame[HEADER_SIZE + 8 + i] = world_byte(0, known->fed++);
    feeding = true;
    host_send(frame, HEADER_SIZE + 8 + count);
    feeding = false;
}

bool host_only_fed(void)
{
    return only_fed;
}

void host_hang_up(void)
{
    if (current)
        close(current->fd);
    if (current)
        current->fd = 0;
    current = NULL;
}

void host_reset(void)
{
    for (int i = 0; i < CONNECTIONS_MOST; i++) {
        if (connections[i].fd > 0)
            close(connections[i].fd);
        connections[i].fd = 0;
    }
    current = NULL;
    next_place = 0;
    only_fed = true;
}
