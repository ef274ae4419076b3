/* Target "agent": all that a host can send, in pieces of any size, amid all that programs do.
 *
 * An input is a list of steps, below; the agent's own loop turns after each. */
#define main agent_main
#include "../main.c"
#undef main

#include "host.h"

#include <sys/mman.h>

enum step { SEND, HELLO_WITH, RECEIVE, WRITE, READ, END_WITH, CLOSE, TIME, HANG_UP, CONNECT,
            FEED, LINGER, FAIL, STEPS };

enum { FIRST_FD = 3, FDS_LOOKED_AT = 200, TURNS_AT_THE_END = 64,
       LINGERING_MOST = 5, FAILURES_MOST = 20 };
static const uint64_t UNCLAIMED = 900 * 1000000000ull;

static char socket_path[108];
static int listener, signals;
static const uint8_t secret[SECRET_SIZE]; /* zeros, so that an input can hold it */

void reset_connections(void);
void reset_executions(void);

static void remove_socket(void)
{
    unlink(socket_path);
    *strrchr(socket_path, '/') = 0;
    rmdir(socket_path);
}

int LLVMFuzzerInitialize(int *count, char ***values)
{
    (void)count, (void)values;
    make_folder(socket_path, sizeof socket_path - sizeof "/socket");
    strcat(socket_path, "/socket");
    atexit(remove_socket);
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(EPOLL_CLOEXEC);
    signals = signalfd(-1, &(sigset_t){0}, SFD_NONBLOCK | SFD_CLOEXEC);
    listener = listen_at(socket_path);
    watch(listener, WATCH_LISTENER, 0, 0, EPOLLIN);
    return 0;
}

static void turn(void)
{
    world_programs();
    executions_reap();
    loop_turn(signals, UNCLAIMED);
    world_time += 1000;
}

/* ---- steps ---- */

struct steps { const uint8_t *at, *end; };

static unsigned number(struct steps *steps, int bytes)
{
    if (steps->end - steps->at < bytes) {
        steps->at = steps->end;
        return 0;
    }
    steps->at += bytes;
    return (unsigned)get_number(steps->at - bytes, bytes);
}

static void step_send(struct steps *steps)
{
    size_t length = number(steps, 2), left = (size_t)(steps->end - steps->at);
    length = length < left ? length : left;
    host_send(steps->at, length);
    steps->at += length;
}

static void step_feed(struct steps *steps)
{
    uint32_t channel = number(steps, 1);
    host_feed(channel, number(steps, 2));
}

static void step_hello(unsigned asked_epoch)
{
    uint8_t frame[HEADER_SIZE + 128] = {0};
    struct writer writer = {frame + HEADER_SIZE, frame + sizeof frame};
    put_field_number(&writer, F_VERSION, PROTOCOL_VERSION);
    put_field(&writer, F_SECRET, secret, sizeof secret);
    put_field_number(&writer, F_EPOCH, asked_epoch);
    put_number(frame, (uint64_t)(writer.at - frame - HEADER_SIZE), 4);
    frame[8] = HELLO;
    host_connect(socket_path);
    host_send(frame, (size_t)(writer.at - frame));
    turn();
}

/* Standard input, too, comes once, in order and unchanged. */
static void step_read(struct program *program, size_t most)
{
    static uint8_t bytes[65536];
    size_t got = world_read(program, bytes, most);
    uint64_t start = program->read - got;
    for (size_t i = 0; i < got && host_only_fed() && !program->terminal; i++)
        must(bytes[i] == world_byte(0, start + i), "changed input");
}

static void step_of_program(enum step step, struct steps *steps)
{
    struct program *program = world_running(number(steps, 1));
    unsigned value = number(steps, step == WRITE ? 3 : 2);
    if (program && step == READ)
        step_read(program, value);
    else if (program && step == WRITE)
        world_write(program, value & 1, value >> 8);
    else if (program && step == END_WITH)
        world_end(program, (int)(value & 0x7f ? value & 0x7f : value & 0xff00));
    else if (program && step == CLOSE)
        close_fd(&program->streams[value % 3]);
    else if (program && step == LINGER)
        program->lingering = (int)value % LINGERING_MOST;
}

static void take_step(struct steps *steps)
{
    enum step step = number(steps, 1) % STEPS;
    switch (step) {
    case SEND: step_send(steps); break;
    case HELLO_WITH: step_hello(number(steps, 1)); break;
    case CONNECT: host_connect(socket_path); break;
    case RECEIVE: host_receive(number(steps, 2)); break;
    case TIME: world_time += number(steps, 2) * MILLISECOND; break;
    case HANG_UP: host_hang_up(); break;
    case FEED: step_feed(steps); break;
    case FAIL: world_failures = (int)number(steps, 1) % FAILURES_MOST; break;
    default: step_of_program(step, steps);
    }
    turn();
}

/* ---- after the last step ---- */

/* Every program ends; then the agent has nothing to do but to wait. */
static void come_to_rest(void)
{
    int left = TURNS_AT_THE_END;
    for (int quiet = 0; quiet < 2 * LINGERING_MOST && left > 0; left--) {
        for (struct program *program; (program = world_running(0));)
            world_end(program, 0);
        host_receive(SIZE_MAX);
        turn();
        quiet = world_timeout == 0 ? 0 : quiet + 1;
    }
    must(left > 0, "it never rests");
    int taken = 0, used = 0;
    for (int i = 0; i < SLOTS; i++) {
        must(executions[i].state != ENDING, "an execution without processes does not end");
        taken += slots[i].taken;
        used += executions[i].slot != NULL;
    }
    must(taken == used, "a slot that nobody uses is taken");
}

static void reset(void)
{
    host_reset();
    interpreter_want(secret, 0);
    reset_connections();
    reset_executions();
    world_reset();
}

static int open_fds(void)
{
    int count = 0;
    for (int fd = FIRST_FD; fd < FDS_LOOKED_AT; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* A thread of the sanitizers' opens files of its own now and then. */
static bool soon_as_many(int before)
{
    for (int tries = 0; tries < 200; tries++, usleep(1000))
        if (open_fds() == before)
            return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool begun;
    if (!begun) {
        world_reset();
        executions_init();
        begun = true;
    }
    int before = open_fds();
    world_reset();
    connections_init(listener, secret);
    for (struct steps steps = {data, data + size}; steps.at < steps.end && !unclaimed_for(UNCLAIMED);)
        take_step(&steps);
    if (!unclaimed_for(UNCLAIMED))
        come_to_rest();
    reset();
    must(soon_as_many(before), "a descriptor is left open");
    return 0;
}
