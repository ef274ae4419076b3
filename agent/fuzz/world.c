/* The clock, and the programs, as an input of the fuzzer wants them. */
#include "../agent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#undef pipe2
#undef socketpair
#undef accept4
#undef epoll_wait

enum {
    FIRST_PID = 1 << 30, /* beyond what a kernel gives */
    /* As little as the kernel allows, so that what is full soon is full in few steps. */
    PIPE_BYTES = 4096, SOCKET_BYTES = 4608,
};

struct program programs[PROGRAMS_MOST];
uint64_t world_time;
int world_timeout, world_failures;
static int made[GIVEN], made_count; /* the ends that the next process will be given */

void must(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "the agent broke a promise: %s\n", what);
    abort();
}

void make_folder(char path[], size_t size)
{
    const char *above = getenv("TMPDIR");
    int length = snprintf(path, size, "%s/assay-fuzz-XXXXXX", above ? above : "/tmp");
    must(length < (int)size && mkdtemp(path), "no folder of its own in TMPDIR");
}

static void program_close(struct program *program)
{
    close_fd(&program->control);
    for (int i = 0; i < 3; i++)
        close_fd(&program->streams[i]);
}

void world_reset(void)
{
    for (int i = 0; i < PROGRAMS_MOST; i++) {
        if (programs[i].pid)
            program_close(&programs[i]);
        programs[i] = (struct program){.control = -1, .streams = {-1, -1, -1}};
    }
    world_time = 1000000000000ull;
    world_failures = 0;
}

/* ---- what the agent calls ---- */

static bool fails(void)
{
    world_failures -= world_failures > 0;
    errno = EAGAIN;
    return world_failures > 0;
}

int world_accept4(int listener, struct sockaddr *address, socklen_t *length, int flags)
{
    int fd = accept4(listener, address, length, flags), size = SOCKET_BYTES / 2;
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    return fd;
}

int world_socketpair(int domain, int type, int protocol, int ends[2])
{
    int result = socketpair(domain, type, protocol, ends);
    made[0] = ends[1];
    made_count = 1;
    return result;
}

int world_pipe2(int ends[2], int flags)
{
    int result = fails() ? -1 : pipe2(ends, flags);
    if (result < 0)
        return result;
    fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES);
    made[made_count] = ends[made_count == 1 ? 0 : 1]; /* standard input is read, the others written */
    made_count++;
    return result;
}

static int keep(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    fcntl(copy, F_SETFL, fcntl(copy, F_GETFL) | O_NONBLOCK);
    return copy;
}

pid_t world_fork(void)
{
    for (int i = 0; i < PROGRAMS_MOST && !fails(); i++) {
        if (programs[i].pid || programs[i].lingering)
            continue;
        programs[i] = (struct program){.pid = FIRST_PID + i, .control = keep(made[0])};
        for (int j = 0; j < 3; j++)
            programs[i].streams[j] = keep(made[j + 1]);
        return programs[i].pid;
    }
    return -1;
}

int world_kill(pid_t pid, int number)
{
    int i = (pid < 0 ? -pid : pid) - FIRST_PID;
    must(i >= 0 && i < PROGRAMS_MOST && programs[i].pid, "it signals what is no program of its own");
    if (number == SIGKILL || number == SIGTERM)
        world_end(&programs[i], number);
    return 0;
}

pid_t world_wait4(pid_t any, int *status, int options, struct rusage *usage)
{
    (void)any, (void)options;
    *usage = (struct rusage){.ru_maxrss = 1024};
    for (int i = 0; i < PROGRAMS_MOST; i++) {
        pid_t pid = programs[i].pid;
        if (!pid || !programs[i].ended)
            continue;
        *status = programs[i].status;
        programs[i].pid = 0; /* its descendants may linger */
        return pid;
    }
    return 0;
}

int world_clock(clockid_t clock, struct timespec *time)
{
    (void)clock;
    *time = (struct timespec){(time_t)(world_time / 1000000000), (long)(world_time % 1000000000)};
    return 0;
}

int world_epoll_wait(int poller, struct epoll_event *events, int most, int timeout)
{
    int count = epoll_wait(poller, events, most, 0);
    world_timeout = count > 0 ? 0 : timeout;
    return count;
}

/* In place of walk.c: which processes belong to an execution. */
static struct program *of(const struct execution *execution)
{
    int i = execution->pid - FIRST_PID;
    must(i >= 0 && i < PROGRAMS_MOST, "it looks for what is no program of its own");
    return &programs[i];
}

bool walk_finds_none(struct execution *execution)
{
    return (!of(execution)->pid || of(execution)->ended) && of(execution)->lingering == 0;
}

void walk_kill(struct execution *execution)
{
    struct program *program = of(execution);
    program->lingering -= program->lingering > 0;
    if (program->pid)
        world_end(program, SIGKILL);
}

bool walk_kill_all(struct execution *execution)
{
    (void)execution;
    return false;
}

uint64_t walk_cpu(struct execution *execution)
{
    return execution->started ? world_time - execution->started : 0;
}

/* ---- what the programs do ---- */

static void open_terminal(struct program *program, int number)
{
    char path[32];
    program->terminal = true;
    snprintf(path, sizeof path, "/dev/pts/%d", number);
    for (int i = 0; i < 3; i++) {
        close_fd(&program->streams[i]);
        program->streams[i] = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    }
}

/* The control socket closes when a program starts; one whose request begins with "!" can't. */
static void program_start(struct program *program, const uint8_t *request, int terminal)
{
    program->started = true;
    if (terminal >= 0)
        open_terminal(program, terminal);
    if (request[5] == '!') {
        struct start_failure failure = {.error = 2, .step = "program"};
        (void)!write(program->control, &failure, sizeof failure);
        world_end(program, 127 << 8);
    }
    close_fd(&program->control);
}

/* It has read what it is to do, which came in one piece with this, and says that it waits. */
static void interpreter_start(struct program *program)
{
    static uint8_t text[1 << 16];
    must(recv(program->control, text, sizeof text, MSG_DONTWAIT) > 0, "an interpreter without a text");
    (void)!write(program->control, "R", 1);
}

void world_programs(void)
{
    static uint8_t request[PAYLOAD_MOST];
    for (int i = 0; i < PROGRAMS_MOST; i++) {
        struct program *program = &programs[i];
        struct start_header header;
        if (!program->pid || program->started || program->ended)
            continue;
        ssize_t got = recv(program->control, &header, sizeof header, MSG_DONTWAIT);
        if (got == 0)
            world_end(program, 0);
        if (got != (ssize_t)sizeof header)
            continue;
        must(header.length >= 5 && header.length <= PAYLOAD_MOST, "a request without arguments");
        got = recv(program->control, request, header.length, MSG_DONTWAIT);
        must(got == (ssize_t)header.length, "a request that is cut");
        if (header.what & START_INTERPRETER)
            interpreter_start(program);
        else
            program_start(program, request, header.terminal);
    }
}

struct program *world_running(unsigned number)
{
    struct program *found[PROGRAMS_MOST];
    unsigned count = 0;
    for (int i = 0; i < PROGRAMS_MOST; i++)
        if (programs[i].pid && programs[i].started && !programs[i].ended)
            found[count++] = &programs[i];
    return count ? found[number % count] : NULL;
}

void world_end(struct program *program, int status)
{
    if (program->ended)
        return;
    program->ended = true;
    program->status = status;
    program_close(program);
}

/* Differs where a ring of the agent's has come round, too. */
uint8_t world_byte(int stream, uint64_t position)
{
    return (uint8_t)(position * 31 + (position >> 8) * 3 + (position >> 16) * 5 + (uint64_t)stream * 7);
}

void world_write(struct program *program, int stream, size_t count)
{
    static uint8_t bytes[65536];
    for (size_t i = 0; i < count && i < sizeof bytes; i++)
        bytes[i] = world_byte(stream, program->written[stream] + i);
    if (program->streams[stream + 1] < 0)
        return;
    ssize_t put = write(program->streams[stream + 1], bytes, count < sizeof bytes ? count : sizeof bytes);
    program->written[stream] += put > 0 ? (uint64_t)put : 0;
}

size_t world_read(struct program *program, uint8_t *bytes, size_t most)
{
    ssize_t got = program->streams[0] < 0 ? 0 : read(program->streams[0], bytes, most);
    program->read += got > 0 ? (uint64_t)got : 0;
    return got > 0 ? (size_t)got : 0;
}
