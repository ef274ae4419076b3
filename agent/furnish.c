/* Prepares a container for its agent, before that is started: for orchestrators that show empty folders
 * of their own choice, and give every container a network. It has rights that the agent has not. */
#define _GNU_SOURCE
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEEPEST = 64 };

static int failed(const char *path)
{
    say("furnish: %s: %s", path, strerror(errno));
    return 1;
}

/* ---- the network ---- */

static bool interface_down(int socket_fd, const char *name)
{
    struct ifreq request = {0};
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (ioctl(socket_fd, SIOCGIFFLAGS, &request) < 0)
        return false;
    if ((request.ifr_flags & IFF_UP) == 0 || (request.ifr_flags & IFF_LOOPBACK) != 0)
        return true;
    request.ifr_flags &= (short)~IFF_UP;
    return ioctl(socket_fd, SIOCSIFFLAGS, &request) == 0 &&
           ioctl(socket_fd, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP) == 0;
}

/* Nobody in this network can get out any more: to raise an interface takes a right that only the
 * container of this program has. */
static int go_offline(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct if_nameindex *all = if_nameindex();
    if (fd < 0 || all == NULL)
        return failed("the network");
    int result = 0;
    for (struct if_nameindex *each = all; each->if_index != 0 && result == 0; each++)
        if (!interface_down(fd, each->if_name))
            result = failed(each->if_name);
    if_freenameindex(all);
    close(fd);
    return result;
}

/* ---- folders ---- */

static bool copy_folder(int from, int to, int depth);

static bool copy_bytes(int from, int to)
{
    static char bytes[65536];
    ssize_t got;
    while ((got = read(from, bytes, sizeof bytes)) > 0)
        for (ssize_t done = 0, put; done < got; done += put)
            if ((put = write(to, bytes + done, (size_t)(got - done))) < 0)
                return false;
    return got == 0;
}

/* Owner last: then it may be somebody else's. No set-user-id bits: nothing here has a use for them. */
static bool dress(int fd, const struct stat *like)
{
    struct timespec times[2] = {like->st_atim, like->st_mtim};
    return fchmod(fd, like->st_mode & 01777) == 0 && futimens(fd, times) == 0 &&
           fchown(fd, like->st_uid, like->st_gid) == 0;
}

static bool copy_link(int from, int to, const char *name, const struct stat *found)
{
    char target[4096];
    ssize_t length = readlinkat(from, name, target, sizeof target - 1);
    if (length < 0)
        return false;
    target[length] = 0;
    return symlinkat(target, to, name) == 0 &&
           fchownat(to, name, found->st_uid, found->st_gid, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool copy_inner(int from, int to, const struct stat *found, int depth)
{
    bool done = from >= 0 && to >= 0 &&
                (S_ISDIR(found->st_mode) ? copy_folder(from, to, depth) : copy_bytes(from, to)) &&
                dress(to, found);
    int reason = errno;
    close(from);
    close(to);
    errno = reason;
    return done;
}

static bool copy_entry(int from, int to, const char *name, int depth)
{
    struct stat found;
    if (fstatat(from, name, &found, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    if (S_ISLNK(found.st_mode))
        return copy_link(from, to, name, &found);
    if (S_ISREG(found.st_mode))
        return copy_inner(openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC),
                          openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), &found,
                          depth);
    if (!S_ISDIR(found.st_mode)) /* a socket, or a device: an image has no use for either here */
        return true;
    if (depth == DEEPEST) {
        errno = ELOOP;
        return false;
    }
    if (mkdirat(to, name, 0700) < 0)
        return false;
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    return copy_inner(openat(from, name, flags), openat(to, name, flags), &found, depth + 1);
}

static bool copy_folder(int from, int to, int depth)
{
    DIR *folder = fdopendir(dup(from));
    if (folder == NULL)
        return false;
    bool done = true;
    struct dirent *entry;
    while (done && (errno = 0, entry = readdir(folder)) != NULL)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            done = copy_entry(from, to, entry->d_name, depth);
    done &= errno == 0 || entry != NULL;
    int reason = errno;
    closedir(folder);
    errno = reason;
    return done;
}

/* What a folder of the image holds, in one that can be written. */
static int fill(const char *from_path, const char *to_path)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    int from = open(from_path, flags), to = open(to_path, flags);
    bool done = from >= 0 && to >= 0 && copy_folder(from, to, 0);
    int result = done ? 0 : failed(from_path);
    close(from);
    close(to);
    return result;
}

static int place(const char *path, const char *user, const char *group, const char *mode)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool done = fd >= 0 && fchmod(fd, (mode_t)strtoul(mode, NULL, 8)) == 0 &&
                fchown(fd, (uid_t)strtoul(user, NULL, 10), (gid_t)strtoul(group, NULL, 10)) == 0;
    int result = done ? 0 : failed(path);
    close(fd);
    return result;
}

/* Does what the words say, one after the other; 2 for those that it does not know. */
int furnish_run(int count, char **words)
{
    int result = 0;
    while (count > 0 && result == 0) {
        int used = 1;
        if (!strcmp(words[0], "--offline"))
            result = go_offline();
        else if (!strcmp(words[0], "--fill") && count >= 3)
            result = fill(words[1], words[2]), used = 3;
        else if (!strcmp(words[0], "--place") && count >= 5)
            result = place(words[1], words[2], words[3], words[4]), used = 5;
        else
            result = 2;
        words += used;
        count -= used;
    }
    return result;
}
