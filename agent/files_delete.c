/* Deletes files, and folders however deep. */
#define _GNU_SOURCE
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { DELETE_DEPTH = 200 };

/* Each level below costs an open folder. What lies too deep is moved up, and is deleted after. */
static struct { int folder; uint64_t moved, deleted; } shallow;

static void shallow_name(char name[64], uint64_t number)
{
    snprintf(name, 64, ".deleted-%d-%llu", getpid(), (unsigned long long)number);
}

static bool move_up(int parent, const char *name, const char *path)
{
    char here[64];
    shallow_name(here, shallow.moved++);
    return renameat(parent, name, shallow.folder, here) == 0 || complain(path, errno);
}

static bool delete_one(int parent, const char *name, const char *path, int depth)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return true;
    if (errno != EISDIR && errno != EPERM)
        return complain(path, errno);
    if (depth == DELETE_DEPTH)
        return move_up(parent, name, path);
    int error = errno;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (!folder)
        return complain(path, errno == ENOTDIR ? error : errno);
    bool all = true;
    for (struct dirent *item; (item = readdir(folder));)
        if (strcmp(item->d_name, ".") && strcmp(item->d_name, ".."))
            all &= delete_one(fd, item->d_name, path, depth + 1);
    closedir(folder);
    if (!all)
        return false;
    return unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT || complain(path, errno);
}

static bool delete_all(int parent, const char *name, const char *path)
{
    char moved[64];
    shallow.folder = parent;
    bool all = delete_one(parent, name, path, 0);
    while (all && shallow.deleted < shallow.moved) {
        shallow_name(moved, shallow.deleted++);
        all = delete_one(parent, moved, path, 0);
    }
    return all;
}

bool files_delete(char **arguments, int count)
{
    int root = count >= 2 ? open_root(arguments[1]) : -1;
    bool all = root >= 0;
    for (int i = 2; i < count && root >= 0; i++) {
        const char *name;
        without_trailing_slashes(arguments[i]);
        int parent = open_parent(root, arguments[i], &name, false);
        if (parent >= 0)
            all &= !strcmp(name, ".") ? complain(arguments[i], EINVAL)
                                      : delete_all(parent, name, arguments[i]);
        else if (errno != ENOENT && errno != ENOTDIR)
            all = complain(arguments[i], errno);
        if (parent >= 0)
            close(parent);
    }
    return all;
}
