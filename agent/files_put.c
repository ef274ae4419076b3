/* Makes files and folders of a stream of entries. */
#define _GNU_SOURCE
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static bool skip_content(uint64_t length)
{
    while (length > 0) {
        size_t piece = length < COPY_SIZE ? (size_t)length : COPY_SIZE;
        if (!read_all(copied, piece))
            return complain("(entries)", EPIPE);
        length -= piece;
    }
    return true;
}

static void set_time(int fd, int64_t modified)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT},
                                {modified / 1000000000, modified % 1000000000}};
    if (modified > 0)
        futimens(fd, times);
}

/* A new file takes the place of what was there, so that no link or FIFO is written through, and a
 * running program keeps its old file. False when the entries that follow can't be read any more. */
static bool put_file(int parent, const char *name, const char *path, const struct entry *entry)
{
    uint64_t left = entry->content ? entry->size : 0;
    int error = 0, fd = -1;
    if (unlinkat(parent, name, 0) < 0 && errno != ENOENT)
        error = errno;
    if (!error &&
        (fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)) < 0)
        error = errno;
    while (left > 0 && !error) {
        ssize_t got = read(0, copied, left < COPY_SIZE ? (size_t)left : COPY_SIZE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            unlinkat(parent, name, 0);
            return complain(path, EPIPE);
        }
        left -= (uint64_t)got;
        for (ssize_t done = 0, put; done < got && !error; done += put > 0 ? put : 0)
            if ((put = write(fd, copied + done, (size_t)(got - done))) < 0 && errno != EINTR)
                error = errno;
    }
    if (!error && fchmod(fd, entry->mode & 0777) < 0)
        error = errno;
    if (!error)
        set_time(fd, entry->modified);
    if (error && fd >= 0)
        unlinkat(parent, name, 0);
    if (fd >= 0)
        close(fd);
    if (error)
        complain(path, error);
    return skip_content(left);
}

static void put_folder(int parent, const char *name, const char *path, const struct entry *entry)
{
    /* What is there already keeps its rights: it may be somebody else's, moved to this name. */
    bool made = mkdirat(parent, name, 0700) == 0;
    int error = made || errno == EEXIST ? 0 : errno;
    int fd = error ? -1 : openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (!error && (fd < 0 || (made && fchmod(fd, entry->mode & 01777) < 0)))
        error = errno == EACCES && !made ? 0 : errno;
    if (error)
        complain(path, error);
    else if (made)
        set_time(fd, entry->modified);
    if (fd >= 0)
        close(fd);
}

static bool put_one(int root, const struct entry *entry, char *path)
{
    const char *name;
    uint64_t content = entry->content ? entry->size : 0;
    without_trailing_slashes(path);
    if (entry->type != '-' && entry->type != 'd') {
        complain(path, ENOTSUP);
        return skip_content(content);
    }
    if (!strcmp(path, ".") && entry->type == 'd')
        return skip_content(content);
    int parent = open_parent(root, path, &name, true);
    if (parent < 0) {
        complain(path, errno);
        return skip_content(content);
    }
    bool going = true;
    if (entry->type == 'd') {
        put_folder(parent, name, path, entry);
        going = skip_content(content);
    } else {
        going = put_file(parent, name, path, entry);
    }
    close(parent);
    return going;
}

bool files_put(char **arguments, int count)
{
    struct entry entry;
    char path[PATH_MAX];
    int root = count == 2 ? open_root(arguments[1]) : -1;
    if (root < 0)
        return false;
    while (read_entry(&entry, path)) {
        if (entry.type == '.')
            return complaints == 0;
        if (!put_one(root, &entry, path))
            return false;
    }
    return false;
}
