/* Carries bytes between the host, over ports of a virtio console, and the agent's socket.
 *
 * A port is one stream that always is there: the host's connections to it begin and end unseen, with
 * bytes of an earlier one perhaps still on their way. So a connection begins with the machine's
 * token (32 random bytes, which nobody in the sandbox knows) and 16 bytes that are the connection's
 * own. Wherever the token comes, it ends what was there: a new connection to the agent is made, and
 * the 16 bytes are sent back, which the host waits for, and before which it believes nothing. What
 * follows is the agent's protocol: as it is towards the agent; towards the host in pieces, each with
 * its length (4 bytes) in front, as length 0 says that the agent has closed. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { PORTS_MOST = 16, CHUNK = 32768, NONCE_SIZE = 16, HEAD = 4, LOOKS_MOST = 500,
       DEVICES_MOST = 8, PATIENCE_MS = 1000 };

struct port {
    int fd, agent;               /* agent: the connection to it, or -1 */
    size_t matched;              /* bytes of the token that came last */
    size_t nonce_have;
    bool found, nonce_due;       /* a token ends at `scanned`; what comes next is the nonce */
    size_t at, scanned, end;     /* of `in`: what is on its way to the agent */
    size_t out_at, out_end;
    int64_t left;                /* when the host seemed to have closed, or 0 */
    uint8_t nonce[NONCE_SIZE], in[CHUNK], out[CHUNK];
};

static struct port ports[PORTS_MOST];
static int port_count, poller, children;
static uint8_t token[TOKEN_SIZE];
static size_t fallback[TOKEN_SIZE]; /* how much still matches when the next byte doesn't */
static struct sockaddr_un agents = {.sun_family = AF_UNIX};

/* The first number is the device's among those of the machine. */
static int open_port(const char *devices, int number)
{
    for (int device = 0; device < DEVICES_MOST; device++) {
        char path[64];
        snprintf(path, sizeof path, "%s/vport%dp%d", devices, device, number);
        int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0)
            return fd;
    }
    return -1;
}

/* Returns the first of so many ports; the kernel may find them a moment later. */
int relay_open(const char *devices, int count)
{
    require(count <= PORTS_MOST, "too many", "ports");
    for (port_count = 0; port_count < count; port_count++) {
        int fd = -1;
        for (int i = 0; i < LOOKS_MOST && (fd = open_port(devices, port_count + 1)) < 0; i++)
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        check(fd >= 0, "open", "a port to the host");
        ports[port_count] = (struct port){.fd = fd, .agent = -1};
    }
    return ports[0].fd;
}

static void prepare_search(void)
{
    for (size_t i = 1, matched = 0; i < TOKEN_SIZE; i++) {
        while (matched && token[i] != token[matched])
            matched = fallback[matched - 1];
        matched += token[i] == token[matched];
        fallback[i] = matched;
    }
}

static void poll_for(int fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET};
    check(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) == 0, "wait for", "a stream");
}

void relay_watch(const uint8_t given[TOKEN_SIZE], const char *agents_socket, int signals)
{
    memcpy(token, given, TOKEN_SIZE);
    prepare_search();
    snprintf(agents.sun_path, sizeof agents.sun_path, "%s", agents_socket);
    poller = epoll_create1(EPOLL_CLOEXEC);
    check(poller >= 0, "wait for", "streams");
    children = signals;
    poll_for(children);
    for (int i = 0; i < port_count; i++)
        poll_for(ports[i].fd);
}

/* ---- one port ---- */

static void agent_close(struct port *port)
{
    if (port->agent >= 0)
        close(port->agent);
    port->agent = -1;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The host has closed: what it did not get is nobody's. */
static void host_gone(struct port *port)
{
    agent_close(port);
    port->left = 0;
    port->matched = port->nonce_have = 0;
    port->found = port->nonce_due = false;
    port->out_at = port->out_end = 0;
}

static void agent_open(struct port *port)
{
    memcpy(port->out, port->nonce, NONCE_SIZE);
    port->out_at = 0;
    port->out_end = NONCE_SIZE;
    port->agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (port->agent < 0 ||
        connect(port->agent, (struct sockaddr *)&agents, sizeof agents) < 0) {
        agent_close(port);
        memset(port->out + NONCE_SIZE, 0, HEAD); /* it is closed already */
        port->out_end += HEAD;
        return;
    }
    poll_for(port->agent);
}

/* That a connection has ended is told apart from its bytes, and late: perhaps it was the one before.
 * So where somebody seems to be connected, this waits and looks again. */
static void host_seems_gone(struct port *port)
{
    if (port->agent < 0 && port->out_at == port->out_end)
        host_gone(port);
    else if (port->left == 0)
        port->left = now_ms();
}

static void see_whether_host_left(struct port *port)
{
    struct pollfd seen = {.fd = port->fd};
    if (port->left == 0 || now_ms() - port->left < PATIENCE_MS)
        return;
    port->left = 0;
    if (poll(&seen, 1, 0) > 0 && (seen.revents & POLLHUP))
        host_gone(port);
}

/* How far what came may be passed on: up to the end of a token, which ends what was before. */
static void scan(struct port *port)
{
    while (port->scanned < port->end && !port->found) {
        uint8_t byte = port->in[port->scanned++];
        while (port->matched && byte != token[port->matched])
            port->matched = fallback[port->matched - 1];
        port->matched += byte == token[port->matched];
        if (port->matched == TOKEN_SIZE) {
            port->matched = 0;
            port->found = true;
        } else if (port->matched == 0) {
            uint8_t *from = port->in + port->scanned;
            uint8_t *next = memchr(from, token[0], port->end - port->scanned);
            port->scanned = next ? (size_t)(next - port->in) : port->end;
        }
    }
}

static void take_nonce(struct port *port)
{
    while (port->at < port->end && port->nonce_have < NONCE_SIZE)
        port->nonce[port->nonce_have++] = port->in[port->at++];
    port->scanned = port->at;
    if (port->nonce_have == NONCE_SIZE) {
        port->nonce_due = false;
        agent_open(port);
    }
}

static bool pass_on(struct port *port)
{
    size_t length = port->scanned - port->at;
    if (port->agent >= 0 && length > 0) {
        ssize_t sent = send(port->agent, port->in + port->at, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN)
            return false;
        if (sent >= 0)
            length = (size_t)sent; /* else it has closed, which is seen where it is read */
    }
    port->at += length;
    if (port->at == port->scanned && port->found) {
        agent_close(port);
        port->found = false;
        port->nonce_due = true;
        port->nonce_have = 0;
    }
    return true;
}

/* These two say whether anything was moved. */
static bool move_in(struct port *port)
{
    if (port->at == port->end) {
        ssize_t got = read(port->fd, port->in, CHUNK);
        if (got == 0)
            host_seems_gone(port);
        if (got <= 0)
            return false;
        port->left = 0;
        port->at = port->scanned = 0;
        port->end = (size_t)got;
    }
    if (port->nonce_due) {
        take_nonce(port);
        return true;
    }
    if (port->at == port->scanned)
        scan(port);
    return pass_on(port);
}

static bool move_out(struct port *port)
{
    if (port->out_at == port->out_end) {
        if (port->agent < 0)
            return false;
        ssize_t got = recv(port->agent, port->out + HEAD, CHUNK - HEAD, MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN)
            return false;
        if (got <= 0) {
            agent_close(port);
            got = 0;
        }
        put_number(port->out, (uint64_t)got, HEAD);
        port->out_at = 0;
        port->out_end = HEAD + (size_t)got;
    }
    ssize_t sent = write(port->fd, port->out + port->out_at, port->out_end - port->out_at);
    if (sent <= 0)
        return false;
    port->out_at += (size_t)sent;
    return true;
}

/* Waits until something can be moved, or a child has ended, and moves all that can be. */
void relay_turn(void)
{
    struct epoll_event events[PORTS_MOST * 2 + 1];
    struct signalfd_siginfo ended;
    int patience = -1;
    for (int i = 0; i < port_count; i++)
        if (ports[i].left)
            patience = PATIENCE_MS;
    epoll_wait(poller, events, PORTS_MOST * 2 + 1, patience);
    while (read(children, &ended, sizeof ended) > 0)
        ;
    for (bool moved = true; moved;) {
        moved = false;
        for (int i = 0; i < port_count; i++) {
            moved |= move_in(&ports[i]);
            moved |= move_out(&ports[i]);
        }
    }
    for (int i = 0; i < port_count; i++)
        see_whether_host_left(&ports[i]);
}
