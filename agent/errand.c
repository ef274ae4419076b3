/* Steps on the host alone: what a sandbox has there is made ready, and laid aside again. Those that
 * only look (line, among, most, points) fail where it is not as it should be. */
#define _GNU_SOURCE
#include "lean.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LOOKED_AT_MOST = 4096, LOOKS_MOST = 20 };

void step_rename(char **with) { check(rename(with[0], with[1]) == 0, "rename", with[0]); }

void step_rmdir(char **with) { check(rmdir(with[0]) == 0, "remove", with[0]); }

/* (What ends in _if is done where there is such a thing.) */
void step_rmdir_if(char **with)
{
    check(rmdir(with[0]) == 0 || errno == ENOENT, "remove", with[0]);
}

void step_unlink(char **with) { check(unlink(with[0]) == 0, "remove", with[0]); }

/* All of it at once: who reads the file meanwhile sees whole lines. */
void step_append(char **with)
{
    int file = open(with[0], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    bool done = file >= 0 && write(file, with[1], strlen(with[1])) == (ssize_t)strlen(with[1]);
    if (file >= 0)
        close(file);
    check(done, "write", with[0]);
}

/* A file of the kernel's. */
static const char *text_of(const char *path)
{
    static char text[LOOKED_AT_MOST];
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (file >= 0)
        close(file);
    check(length >= 0, "read", path);
    text[length] = 0;
    return text;
}

static bool has_line(const char *path, const char *line)
{
    size_t length = strlen(line);
    for (const char *at = text_of(path); at; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (!strncmp(at, line, length) && (at[length] == '\n' || !at[length]))
            return true;
    }
    return false;
}

/* One of its lines is this one. */
void step_line(char **with)
{
    require(has_line(with[0], with[1]), "other than was expected:", with[0]);
}

/* The same, if need be in a moment: a process is counted until this one has seen to its end, which
 * others may hear of a little earlier. */
void step_line_soon(char **with)
{
    for (int i = 0; !has_line(with[0], with[1]); i++) {
        require(i < LOOKS_MOST, "other than was expected:", with[0]);
        nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
        see_to_ended();
    }
}

void step_line_if(char **with)
{
    if (access(with[0], F_OK) == 0)
        step_line(with);
}

/* A folder that has no others in it but these two, or one of them, or none. */
void step_among(char **with)
{
    struct stat one, other, all;
    char path[LOOKED_AT_MOST];
    check(stat(with[0], &all) == 0, "find", with[0]);
    if (all.st_nlink == 2) /* its name, and its own */
        return;
    snprintf(path, sizeof path, "%s/%s", with[0], with[1]);
    nlink_t most = stat(path, &one) == 0 ? 3 : 2; /* and each one's */
    snprintf(path, sizeof path, "%s/%s", with[0], with[2]);
    most += stat(path, &other) == 0;
    require(all.st_nlink == most, "more than was expected in", with[0]);
}

/* The number in it is not greater. */
void step_most(char **with)
{
    require(strtoul(text_of(with[0]), NULL, 10) <= number(with[1]), "too much:", with[0]);
}

/* It is a symbolic link to this. */
void step_points(char **with)
{
    char target[LOOKED_AT_MOST] = {0};
    ssize_t length = readlink(with[0], target, sizeof target - 1);
    require(length >= 0 && !strcmp(target, with[1]), "points elsewhere:", with[0]);
}
