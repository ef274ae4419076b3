/* What all file operations do. They run as executions of their own: with the user, in the groups and
 * under the limits of one, so that none can do more than a program could. */
#define _GNU_SOURCE
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ENTRY_SIZE = 40, COMPLAINTS_MOST = 20 };

uint8_t copied[COPY_SIZE];
int complaints;

/* ---- saying what went wrong ---- */

static const char *errno_name(int error)
{
    static const struct { int number; const char *name; } names[] = {
        {E2BIG, "E2BIG"}, {EACCES, "EACCES"}, {EAGAIN, "EAGAIN"}, {EBADMSG, "EBADMSG"},
        {EBUSY, "EBUSY"}, {ECONNREFUSED, "ECONNREFUSED"}, {EDQUOT, "EDQUOT"}, {EEXIST, "EEXIST"},
        {EFBIG, "EFBIG"}, {EINVAL, "EINVAL"}, {EISDIR, "EISDIR"}, {ELOOP, "ELOOP"},
        {EMFILE, "EMFILE"}, {ENAMETOOLONG, "ENAMETOOLONG"}, {ENOENT, "ENOENT"},
        {ENOMEM, "ENOMEM"}, {ENOSPC, "ENOSPC"}, {ENOTDIR, "ENOTDIR"}, {ENOTEMPTY, "ENOTEMPTY"},
        {ENOTSUP, "ENOTSUP"}, {ENXIO, "ENXIO"}, {EPERM, "EPERM"}, {EPIPE, "EPIPE"},
        {EROFS, "EROFS"}, {ETXTBSY, "ETXTBSY"}, {EXDEV, "EXDEV"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].number == error)
            return names[i].name;
    return "EIO";
}

bool complain(const char *path, int error)
{
    if (complaints++ < COMPLAINTS_MOST)
        dprintf(2, "%s %s: %s\n", errno_name(error), path, strerror(error));
    return false;
}

/* ---- paths that stay beneath a root ---- */

/* Kernels and sandboxes without openat2 get a walk that follows no symbolic link at all. */
static int open_walking(int root, const char *path, int flags, mode_t mode)
{
    char copy[PATH_MAX], *rest = NULL;
    int at = fcntl(root, F_DUPFD_CLOEXEC, 3);
    snprintf(copy, sizeof copy, "%s", path);
    char *name = strtok_r(copy, "/", &rest);
    for (char *next; name && at >= 0; name = next) {
        next = strtok_r(NULL, "/", &rest);
        int deeper = next ? openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                          : openat(at, name, flags | O_NOFOLLOW | O_CLOEXEC, mode);
        int error = errno;
        close(at);
        errno = error;
        at = deeper;
    }
    return at;
}

static bool leads_out(const char *path)
{
    if (path[0] == '/' || !path[0])
        return true;
    for (const char *at = path; at; at = strchr(at, '/')) {
        at += *at == '/';
        if (at[0] == '.' && at[1] == '.' && (!at[2] || at[2] == '/'))
            return true;
    }
    return false;
}

int open_beneath(int root, const char *path, int flags, mode_t mode)
{
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC),
        .mode = flags & O_CREAT ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    if (leads_out(path)) {
        errno = EXDEV;
        return -1;
    }
    int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof how);
    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        return open_walking(root, path, flags, mode);
    return fd;
}

int open_root(const char *path)
{
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        complain(path, errno);
    return fd;
}

int open_parent(int root, const char *path, const char **name, bool make)
{
    char so_far[PATH_MAX];
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    if (leads_out(path) || strlen(path) >= sizeof so_far) {
        errno = leads_out(path) ? EXDEV : ENAMETOOLONG;
        return -1;
    }
    if (!slash)
        return fcntl(root, F_DUPFD_CLOEXEC, 3);
    snprintf(so_far, sizeof so_far, "%.*s", (int)(slash - path), path);
    int fd = open_beneath(root, so_far, O_PATH | O_DIRECTORY, 0);
    if (fd >= 0 || errno != ENOENT || !make)
        return fd;
    const char *last;
    int above = open_parent(root, so_far, &last, true);
    if (above < 0)
        return -1;
    if (mkdirat(above, last, 0755) < 0 && errno != EEXIST) {
        int error = errno;
        close(above);
        errno = error;
        return -1;
    }
    close(above);
    return open_beneath(root, so_far, O_PATH | O_DIRECTORY, 0);
}

void without_trailing_slashes(char *path)
{
    for (size_t length = strlen(path); length > 1 && path[length - 1] == '/';)
        path[--length] = 0;
}

/* ---- entries ---- */

bool write_all(const void *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t put = write(1, (const char *)bytes + done, length - done);
        if (put < 0 && errno != EINTR)
            return false;
        done += put > 0 ? (size_t)put : 0;
    }
    return true;
}

bool read_all(void *to, size_t length)
{
    for (size_t have = 0; have < length;) {
        ssize_t got = read(0, (char *)to + have, length - have);
        if (got == 0 || (got < 0 && errno != EINTR))
            return false;
        have += got > 0 ? (size_t)got : 0;
    }
    return true;
}

bool write_entry(const struct entry *entry, const char *name, const char *link)
{
    uint8_t bytes[ENTRY_SIZE + PATH_MAX * 2] = {0};
    size_t name_length = strlen(name), link_length = strlen(link);
    bytes[0] = (uint8_t)entry->type;
    bytes[1] = entry->content;
    put_number(bytes + 2, name_length, 2);
    put_number(bytes + 4, link_length, 2);
    put_number(bytes + 8, entry->mode, 4);
    put_number(bytes + 12, entry->user, 4);
    put_number(bytes + 16, entry->group, 4);
    put_number(bytes + 20, entry->size, 8);
    put_number(bytes + 28, (uint64_t)entry->modified, 8);
    memcpy(bytes + ENTRY_SIZE, name, name_length);
    memcpy(bytes + ENTRY_SIZE + name_length, link, link_length);
    return write_all(bytes, ENTRY_SIZE + name_length + link_length);
}

bool write_end(void)
{
    return write_entry(&(struct entry){.type = '.'}, "", "");
}

bool read_entry(struct entry *entry, char name[PATH_MAX])
{
    uint8_t bytes[ENTRY_SIZE];
    if (!read_all(bytes, sizeof bytes))
        return complain("(entries)", EPIPE);
    *entry = (struct entry){
        .type = (char)bytes[0],
        .content = bytes[1] == 1,
        .name_length = (uint16_t)get_number(bytes + 2, 2),
        .link_length = (uint16_t)get_number(bytes + 4, 2),
        .mode = (uint32_t)get_number(bytes + 8, 4),
        .size = get_number(bytes + 20, 8),
        .modified = (int64_t)get_number(bytes + 28, 8),
    };
    if (bytes[1] > 1 || entry->name_length >= PATH_MAX || entry->link_length)
        return complain("(entries)", EBADMSG);
    if (!read_all(name, entry->name_length))
        return complain("(entries)", EPIPE);
    name[entry->name_length] = 0;
    if (strlen(name) != entry->name_length)
        return complain("(entries)", EBADMSG);
    return true;
}

static char type_letter(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG: return '-';
    case S_IFDIR: return 'd';
    case S_IFLNK: return 'l';
    case S_IFIFO: return 'p';
    case S_IFSOCK: return 's';
    case S_IFCHR: return 'c';
    default: return 'b';
    }
}

struct entry describe(const struct stat *facts)
{
    return (struct entry){
        .type = type_letter(facts->st_mode),
        .mode = facts->st_mode & 07777,
        .user = facts->st_uid,
        .group = facts->st_gid,
        .size = (uint64_t)facts->st_size,
        .modified = facts->st_mtim.tv_sec * 1000000000ll + facts->st_mtim.tv_nsec,
    };
}
