/* What is shown in a sandbox: steps that make and mount it, on a stage and then in its place. */
#define _GNU_SOURCE
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/* Of sys/mount.h, which can't be had together with linux/mount.h. */
int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);
#ifndef MNT_DETACH
#define MNT_DETACH 2
#endif

enum { HELD_MOST = 16, BACKLOG = 16 };

static int root = -1;    /* of the sandbox, as long as it is not yet ours */
static int group_count;  /* of descriptors that the agent inherits, from GIVEN_GROUPS on */
static int devices = -1; /* the host's folder of them, which the stage covers */
static int held[HELD_MOST];
static int held_count, held_given;

static void own(const char *path, const char *user, const char *group)
{
    check(chown(path, (uid_t)number(user), (gid_t)number(group)) == 0, "give away", path);
}

/* A place below a folder, where an image's links lead to places of its own and never out of it. */
static int find(int folder, const char *path)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    int place;
    do /* the kernel asks to try again when somebody has mounted something, wherever, meanwhile */
        place = (int)syscall(SYS_openat2, folder, path, &how, sizeof how);
    while (place < 0 && errno == EAGAIN);
    check(place >= 0, "find", path);
    return place;
}

static const char *path_of(int place)
{
    static char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", place);
    return path;
}

static void show(const char *source, const char *target)
{
    check(mount(source, target, NULL, MS_BIND, NULL) == 0, "show", target);
}

static void change_flags(const char *target, unsigned long flags)
{
    check(mount("none", target, NULL, MS_REMOUNT | MS_BIND | flags, NULL) == 0, "change", target);
}

/* By a mount that has nothing above it, once the stage is gone. One that never was anywhere would
 * have the kernel wait for all processors when the agent ends, once for each group. */
static void step_groups(char **with)
{
    int wanted = GIVEN_GROUPS + group_count++;
    show(with[0], with[1]);
    int fd = open(with[1], O_PATH | O_DIRECTORY);
    check(fd >= 0 && dup2(fd, wanted) == wanted, "open", with[0]);
    if (fd != wanted)
        close(fd);
}

/* What is unmounted on the host goes away here, too; nothing comes back. */
static void step_apart(char **with)
{
    (void)with;
    check(mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) == 0, "keep apart", "mounts");
}

static void step_tmpfs(char **with)
{
    check(mount("sandbox", with[0], "tmpfs", number(with[1]), with[2]) == 0, "mount", with[0]);
}

static void step_memory(char **with)
{
    char options[256];
    snprintf(options, sizeof options, "%s,noswap", with[2]); /* which Linux 6.4 knows, for root */
    if (mount("sandbox", with[0], "tmpfs", number(with[1]), options) < 0 && errno == EINVAL)
        step_tmpfs(with);
}

static void step_overlay(char **with)
{
    check(mount("sandbox", with[0], "overlay", number(with[1]), with[2]) == 0, "overlay", with[0]);
}

static void step_mount(char **with)
{
    check(mount(with[1], with[0], with[1], number(with[2]), with[3]) == 0, "mount", with[0]);
}

static void step_directory(char **with)
{
    check(mkdir(with[0], (mode_t)number(with[1])) == 0, "make", with[0]); /* there is no umask yet */
    if (strcmp(with[2], "0") || strcmp(with[3], "0"))
        own(with[0], with[2], with[3]);
}

static void step_file(char **with)
{
    int fd = open(with[0], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    check(fd >= 0, "make", with[0]);
    close(fd);
}

static void step_link(char **with)
{
    check(symlink(with[1], with[0]) == 0, "make", with[0]);
}

static void step_node(char **with)
{
    dev_t device = makedev((unsigned)number(with[1]), (unsigned)number(with[2]));
    check(mknod(with[0], S_IFCHR | 0666, device) == 0, "make", with[0]);
}

static void step_take(char **with)
{
    int fd = held_count < HELD_MOST ? open(with[0], O_PATH | O_NOFOLLOW | O_CLOEXEC) : -1;
    check(fd >= 0, "take", with[0]);
    held[held_count++] = fd;
}

static void step_give(char **with)
{
    require(held_given < held_count, "nothing to give", with[0]);
    step_file(with);
    show(path_of(held[held_given]), with[0]);
    close(held[held_given++]);
}

/* A device of the host's, at the same place as ever: links are for the server to follow. */
static void step_reveal(char **with)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    int place = (int)syscall(SYS_openat2, devices, with[0], &how, sizeof how);
    check(place >= 0, "find the device", with[0]);
    show(path_of(place), with[1]);
    close(place);
}

static void step_show(char **with) { show(with[0], with[1]); }

static void step_show_in(char **with)
{
    int folder = open(with[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
    check(folder >= 0, "open", with[0]);
    int place = find(folder, with[1]);
    show(path_of(place), with[2]);
    close(place);
    close(folder);
}

static bool show_as_theirs(const char *source, const char *target)
{
    struct mount_attr wanted = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)user_namespace()};
    int tree = (int)syscall(SYS_open_tree, AT_FDCWD, source, OPEN_TREE_CLONE | O_CLOEXEC);
    bool done = tree >= 0 &&
                syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &wanted, sizeof wanted) == 0 &&
                syscall(SYS_move_mount, tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) == 0;
    int failure = errno;
    if (tree >= 0)
        close(tree);
    errno = failure;
    return done;
}

/* Not every kernel and file system can tell owners in another way; the server is told. */
static void step_show_owned(char **with)
{
    if (show_as_theirs(with[0], with[1]))
        return;
    check(errno == EINVAL || errno == ENOSYS || errno == EPERM || errno == EOPNOTSUPP, "show",
          with[1]);
    show(with[0], with[1]);
    complain("hidden", 6);
}

static void step_flags(char **with) { change_flags(with[0], number(with[1])); }

/* Over a part of the stage itself: a file or folder becomes a mount, whose flags can be its own. */
static void step_cover(char **with)
{
    show(with[0], with[0]);
    change_flags(with[0], number(with[1]));
}

static void step_secret(char **with)
{
    uint8_t content[256];
    int fd = open(with[0], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
    check(fd >= 0, "make", with[0]);
    size_t length = read_digits(with[2], content, sizeof content);
    check(write(fd, content, length) == (ssize_t)length, "write", with[0]);
    check(fchown(fd, (uid_t)number(with[1]), (gid_t)number(with[1])) == 0, "give away", with[0]);
    explicit_bzero(content, sizeof content);
    close(fd);
}

/* The agent finds its socket listening: who connects need not wait for it. */
static void step_listen(char **with)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    require(strlen(with[0]) < sizeof address.sun_path, "too long a path:", with[0]);
    strcpy(address.sun_path, with[0]);
    check(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
          listen(fd, BACKLOG) == 0 && chmod(with[0], 0600) == 0, "listen at", with[0]);
    own(with[0], with[1], with[1]);
    check(dup2(fd, GIVEN_LISTENER) == GIVEN_LISTENER, "listen at", with[0]);
    close(fd);
}

static void step_root(char **with)
{
    root = open(with[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
    check(root >= 0, "open", with[0]);
}

static void step_move(char **with)
{
    int place = find(root, with[1]);
    check(mount(with[0], path_of(place), NULL, MS_MOVE, NULL) == 0, "move to", with[1]);
    close(place);
}

/* With the flags that the source is mounted with. */
static void step_bind(char **with)
{
    int place = find(root, with[1]);
    check(mount(with[0], path_of(place), NULL, MS_BIND, NULL) == 0, "bind to", with[1]);
    close(place);
}

static void step_pivot(char **with)
{
    (void)with;
    check(fchdir(root) == 0 && syscall(SYS_pivot_root, ".", ".") == 0, "pivot to", "the root");
    check(umount2(".", MNT_DETACH) == 0 && chdir("/") == 0, "leave", "the host's root");
    close(root);
}

/* The same where we are on the kernel's initial RAM disk, which is below all and can't be left: it is
 * covered. */
static void step_cover_all(char **with)
{
    (void)with;
    check(fchdir(root) == 0 && mount(".", "/", NULL, MS_MOVE, NULL) == 0 && chroot(".") == 0 &&
          chdir("/") == 0, "go to", "the root");
    close(root);
}

const struct step stage_steps[] = {
    {"groups", 2, step_groups}, {"apart", 0, step_apart}, {"tmpfs", 3, step_tmpfs},
    {"memory", 3, step_memory}, {"overlay", 3, step_overlay}, {"mount", 4, step_mount},
    {"directory", 4, step_directory}, {"file", 1, step_file}, {"link", 2, step_link},
    {"node", 3, step_node}, {"take", 1, step_take}, {"give", 1, step_give},
    {"show", 2, step_show}, {"show_in", 3, step_show_in}, {"reveal", 2, step_reveal},
    {"show_owned", 4, step_show_owned}, {"flags", 2, step_flags}, {"cover", 2, step_cover},
    {"secret", 3, step_secret}, {"listen", 2, step_listen}, {"root", 1, step_root},
    {"move", 2, step_move}, {"bind", 2, step_bind}, {"pivot", 0, step_pivot},
    {"cover_all", 0, step_cover_all}, {0},
};

int groups_given(void)
{
    return group_count;
}

void hold_devices(void)
{
    devices = open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
    check(devices >= 0, "open", "/dev");
}
