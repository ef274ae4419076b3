/* The part of `floor` that starts many programs at once. */
#define _GNU_SOURCE
#include "floor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { MOST = 1000, DIGITS = 12 };

static pid_t pids[MOST];
static struct pollfd outputs[MOST];

static int fail(const char *what)
{
    perror(what);
    return -1;
}

/* With the number of the program for each "%" in an argument. Never freed: we end soon. */
static char *numbered(const char *argument, int number)
{
    char *made = malloc(strlen(argument) * DIGITS + 1), *end = made;
    if (!made)
        exit(fail("malloc"));
    for (; *argument; argument++)
        end += *argument == '%' ? sprintf(end, "%d", number) : (*end = *argument, 1);
    *end = '\0';
    return made;
}

static int start(int number, int count, char **program)
{
    posix_spawn_file_actions_t actions;
    int output[2];
    char *command[count + 1];
    for (int i = 0; i < count; i++)
        command[i] = numbered(program[i], number);
    command[count] = NULL;
    if (pipe2(output, O_CLOEXEC))
        return fail("pipe");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, output[1], 1);
    int status = posix_spawn(&pids[number], command[0], &actions, NULL, command, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(output[1]);
    outputs[number] = (struct pollfd){.fd = output[0], .events = POLLIN};
    return status ? fail(command[0]) : 0;
}

/* A program has said something: 1. It has ended: 0 if well, else -1. */
static int look_at(int number)
{
    char byte;
    int status;
    if (read(outputs[number].fd, &byte, 1) == 1)
        return 1;
    close(outputs[number].fd);
    outputs[number].fd = -1;
    if (waitpid(pids[number], &status, 0) < 0)
        return fail("wait");
    pids[number] = 0;
    return status ? -1 : 0;
}

/* How many still run, once each has said something or ended well; -1 when one has failed. */
static int wait_for_all(int count)
{
    static struct pollfd left[MOST];
    int running = 0;
    memcpy(left, outputs, sizeof left);
    for (int waiting = count; waiting;) {
        if (poll(left, count, -1) < 0)
            return fail("poll");
        for (int i = 0; i < count; i++) {
            if (left[i].fd < 0 || !left[i].revents)
                continue;
            int found = look_at(i);
            if (found < 0)
                return fprintf(stderr, "floor: program %d failed\n", i), -1;
            running += found;
            left[i].fd = -1;
            waiting--;
        }
    }
    return running;
}

/* Nobody holds its output any more: whatever else it had started is gone as well. */
static void end_all(int count)
{
    char bytes[64];
    for (int i = 0; i < count; i++)
        if (pids[i] > 0)
            kill(pids[i], SIGKILL);
    for (int i = 0; i < count; i++) {
        while (outputs[i].fd >= 0 && read(outputs[i].fd, bytes, sizeof bytes) > 0)
            ;
        if (pids[i] > 0)
            waitpid(pids[i], NULL, 0);
    }
}

static void say(long long since)
{
    printf("%lld\n", now(CLOCK_MONOTONIC) - since);
    fflush(stdout);
}

int crowd(int count, int words, char **program)
{
    if (count < 1 || count > MOST)
        return fprintf(stderr, "floor: 1 to %d at once\n", MOST), 2;
    long long began = now(CLOCK_MONOTONIC);
    int started = 0, running = 0;
    while (started < count && !running)
        running = start(started, words, program) < 0 ? -1 : (started++, 0);
    if (!running)
        running = wait_for_all(count);
    if (running >= 0)
        say(began);
    if (running > 0)
        while (getchar() != EOF)
            ;
    began = now(CLOCK_MONOTONIC);
    end_all(started);
    if (running > 0)
        say(began);
    return running < 0;
}

int idle(void)
{
    if (write(1, "\n", 1) != 1)
        return fail("write");
    for (;;)
        pause();
}
