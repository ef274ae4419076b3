/* Files and ports. These run as executions of their own: with the user, in the groups and under
 * the limits of one, so that a file operation can do no more than a program could. */
#define _GNU_SOURCE
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ENTRY_SIZE = 40, COPY_SIZE = 1 << 17, DEPTH_MOST = 400, DELETE_DEPTH = 200,
       COMPLAINTS_MOST = 20 };

struct entry { char type; bool content; uint32_t mode, user, group; uint64_t size; int64_t modified;
               uint16_t name_length, link_length; };

static uint8_t buffer[COPY_SIZE];
static int complaints;

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

/* Returns false, so that a caller can pass the failure on in one line. */
static bool complain(const char *path, int error)
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

static int open_beneath(int root, const char *path, int flags, mode_t mode)
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

static int open_root(const char *path)
{
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        complain(path, errno);
    return fd;
}

/* Opens the folder that holds `path`, making what is missing of it, and points to the last name. */
static int open_parent(int root, const char *path, const char **name, bool make)
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

/* ---- entries ---- */

static bool write_all(const void *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t put = write(1, (const char *)bytes + done, length - done);
        if (put < 0 && errno != EINTR)
            return false;
        done += put > 0 ? (size_t)put : 0;
    }
    return true;
}

static bool read_all(void *to, size_t length)
{
    for (size_t have = 0; have < length;) {
        ssize_t got = read(0, (char *)to + have, length - have);
        if (got == 0 || (got < 0 && errno != EINTR))
            return false;
        have += got > 0 ? (size_t)got : 0;
    }
    return true;
}

static bool write_entry(const struct entry *entry, const char *name, const char *link)
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

static bool write_end(void)
{
    return write_entry(&(struct entry){.type = '.'}, "", "");
}

static bool read_entry(struct entry *entry, char name[PATH_MAX])
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

static struct entry describe(const struct stat *facts)
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

/* ---- list and get ---- */

struct visit { int depth; uint64_t count, bytes; bool content; };

static bool send_content(int fd, struct entry *entry, const char *path)
{
    entry->content = true;
    if (!write_entry(entry, path, ""))
        return false;
    for (uint64_t left = entry->size; left > 0;) {
        ssize_t got = read(fd, buffer, left < COPY_SIZE ? left : COPY_SIZE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0 || !write_all(buffer, (size_t)got)) /* the entry can't be finished any more */
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

static void without_trailing_slashes(char *path)
{
    for (size_t length = strlen(path); length > 1 && path[length - 1] == '/';)
        path[--length] = 0;
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

static bool list(char **arguments, int count)
{
    int root = count == 5 ? open_root(arguments[1]) : -1;
    if (root < 0)
        return false;
    struct visit visit = {.depth = atoi(arguments[3]), .count = strtoull(arguments[4], NULL, 10)};
    return visit_path(root, arguments[2], &visit) && write_end();
}

static bool get(char **arguments, int count)
{
    int root = count == 4 ? open_root(arguments[1]) : -1;
    if (root < 0)
        return false;
    struct visit visit = {.depth = DEPTH_MOST, .count = UINT64_MAX, .content = true,
                          .bytes = strtoull(arguments[3], NULL, 10)};
    return visit_path(root, arguments[2], &visit) && write_end();
}

/* ---- put ---- */

static bool skip_content(uint64_t length)
{
    while (length > 0) {
        size_t piece = length < COPY_SIZE ? (size_t)length : COPY_SIZE;
        if (!read_all(buffer, piece))
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
        ssize_t got = read(0, buffer, left < COPY_SIZE ? (size_t)left : COPY_SIZE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            unlinkat(parent, name, 0);
            return complain(path, EPIPE);
        }
        left -= (uint64_t)got;
        for (ssize_t done = 0, put; done < got && !error; done += put > 0 ? put : 0)
            if ((put = write(fd, buffer + done, (size_t)(got - done))) < 0 && errno != EINTR)
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

static bool put(char **arguments, int count)
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

/* ---- delete ---- */

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

static bool delete(char **arguments, int count)
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

/* ---- tunnel ---- */

static int connect_port(int port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port),
                              .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&v4, sizeof v4) == 0)
        return fd;
    int error = errno;
    close(fd);
    fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&v6, sizeof v6) == 0)
        return fd;
    close(fd);
    errno = error;
    return -1;
}

static bool tunnel(char **arguments, int count)
{
    int port = count == 2 ? atoi(arguments[1]) : 0;
    int fd = port > 0 && port < 65536 ? connect_port(port) : -1;
    if (fd < 0)
        return complain(count == 2 ? arguments[1] : "port", port ? errno : EINVAL);
    return join_streams(0, 1, fd) == 0;
}

int builtin_run(int count, char **arguments)
{
    static const struct { const char *name; bool (*run)(char **, int); } programs[] = {
        {"list", list}, {"get", get}, {"put", put}, {"delete", delete}, {"tunnel", tunnel},
    };
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++)
        if (!strcmp(arguments[0], programs[i].name)) {
            bool done = programs[i].run(arguments, count);
            if (!done && complaints == 0)
                complain(arguments[0], EINVAL);
            return !done;
        }
    complain(arguments[0], EINVAL);
    return 1;
}
