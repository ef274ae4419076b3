/* Files, or what there is to know of them, as a stream of entries. */
#define _GNU_SOURCE
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct visit { int depth; uint64_t count, bytes; bool content; };

static bool send_content(int fd, struct entry *entry, const char *path)
{
    entry->content = true;
    if (!write_entry(entry, path, ""))
        return false;
    for (uint64_t left = entry->size; left > 0;) {
        ssize_t got = read(fd, copied, left < COPY_SIZE ? left : COPY_SIZE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0 || !write_all(copied, (size_t)got)) /* the entry can't be finished any more */
            return complain(path, got == 0 ? EBUSY : errno);
        left -= (uint64_t)got;
    }
    return true;
}

/* The type is looked at once more on the open file: only that one will be read. O_NONBLOCK keeps
 * a FIFO, put in the file's place, from holding the open up. */
static bool visit_file(int parent, const char *name, const char *path, struct visit *visit)
{
    struct stat facts;
    int fd = openat(parent, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &facts) < 0 || !S_ISREG(facts.st_mode)) {
        int error = fd < 0 ? errno : EINVAL;
        if (fd >= 0)
            close(fd);
        return complain(path, error);
    }
    struct entry entry = describe(&facts);
    bool fits = entry.size <= visit->bytes;
    visit->bytes -= fits ? entry.size : 0;
    bool done = fits ? send_content(fd, &entry, path) : complain(path, EFBIG);
    close(fd);
    return done;
}

static bool visit_folder(int parent, const char *name, const char *path, int depth,
                         struct visit *visit);

static bool visit_one(int parent, const char *name, const char *path, int depth,
                      struct visit *visit)
{
    struct stat facts;
    char link[PATH_MAX] = "";
    if (fstatat(parent, name, &facts, AT_SYMLINK_NOFOLLOW) < 0)
        return complain(path, errno);
    if (visit->count-- == 0)
        return complain(path, E2BIG);
    if (visit->content && S_ISREG(facts.st_mode))
        return visit_file(parent, name, path, visit);
    struct entry entry = describe(&facts);
    if (S_ISLNK(facts.st_mode)) {
        ssize_t length = readlinkat(parent, name, link, sizeof link - 1);
        link[length > 0 ? length : 0] = 0;
    }
    if (!write_entry(&entry, path, link))
        return false;
    return !S_ISDIR(facts.st_mode) || depth >= visit->depth ||
           visit_folder(parent, name, path, depth + 1, visit);
}

static bool visit_folder(int parent, const char *name, const char *path, int depth,
                         struct visit *visit)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (!folder || depth > DEPTH_MOST)
        return complain(path, folder ? ELOOP : errno);
    bool going = true;
    for (struct dirent *item; going && (item = readdir(folder));) {
        char below[PATH_MAX];
        if (!strcmp(item->d_name, ".") || !strcmp(item->d_name, ".."))
            continue;
        bool top = !strcmp(path, ".");
        int length = snprintf(below, sizeof below, "%s%s%s", top ? "" : path, top ? "" : "/",
                              item->d_name);
        going = length < (int)sizeof below ? visit_one(fd, item->d_name, below, depth, visit)
                                           : complain(path, ENAMETOOLONG);
    }
    closedir(folder);
    return going;
}

/* What PATH names by way of links counts as what they lead to, as long as that is beneath. */
static bool visit_path(int root, char *path, struct visit *visit)
{
    struct stat facts;
    without_trailing_slashes(path);
    int fd = open_beneath(root, path, O_PATH, 0);
    if (fd < 0 || fstat(fd, &facts) < 0)
        return complain(path, errno);
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    if (S_ISDIR(facts.st_mode) && visit->depth > 0)
        return visit_folder(fd, ".", path, 1, visit);
    if (visit->content && !S_ISREG(facts.st_mode))
        return complain(path, EINVAL);
    if (!visit->content) {
        struct entry entry = describe(&facts);
        return write_entry(&entry, path, "");
    }
    const char *name;
    int parent = open_parent(root, path, &name, false);
    if (parent < 0)
        return complain(path, errno);
    int direct = open_beneath(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (direct < 0 || fstat(direct, &facts) < 0 || !S_ISREG(facts.st_mode))
        return complain(path, direct < 0 ? errno : EINVAL);
    struct entry entry = describe(&facts);
    return entry.size <= visit->bytes ? send_content(direct, &entry, path)
                                      : complain(path, EFBIG);
}

bool files_list(char **arguments, int count)
{
    int root = count == 5 ? open_root(arguments[1]) : -1;
    if (root < 0)
        return false;
    struct visit visit = {.depth = atoi(arguments[3]), .count = strtoull(arguments[4], NULL, 10)};
    return visit_path(root, arguments[2], &visit) && write_end();
}

bool files_get(char **arguments, int count)
{
    int root = count == 4 ? open_root(arguments[1]) : -1;
    if (root < 0)
        return false;
    struct visit visit = {.depth = DEPTH_MOST, .count = UINT64_MAX, .content = true,
                          .bytes = strtoull(arguments[3], NULL, 10)};
    return visit_path(root, arguments[2], &visit) && write_end();
}
