/* Plans: what is to be made, mounted, masked and limited for one sandbox, as a list of steps.
 *
 * A plan is a list of words that end with a zero byte. The first word of a step is its name, and how
 * many more there are follows from that (`steps` below). Nothing is looked up in PATH, no
 * configuration is read, and nothing is decided here: that is the driver's to say. Steps are taken
 * in their order; the last ones give up what a sandbox may not have. The programs that follow plans
 * (lean.c, guest.c) add steps of their own, and say where it is told what went wrong. */
#define _GNU_SOURCE
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of sys/mount.h, which can't be had together with linux/mount.h. */
int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);
#ifndef MNT_DETACH
#define MNT_DETACH 2
#endif

enum { WORDS_MOST = 4096, FILTER_MOST = 4096, CAPABILITIES_MOST = 64, HELD_MOST = 16, BACKLOG = 16 };

static struct sock_filter filter[FILTER_MOST];
static struct sock_fprog program = {.filter = filter};

static char *words[WORDS_MOST];
static int word_count;

static int root = -1;   /* of the sandbox, as long as it is not yet ours */
static int users = -1;  /* the sandbox's user namespace */
static int group_count; /* of descriptors that the agent inherits, from GIVEN_GROUPS on */
static int devices = -1; /* the host's folder of them, which the stage covers */
static int held[HELD_MOST];
static int held_count, held_given;

_Noreturn void fail(const char *step, const char *about)
{
    char text[512];
    int number = errno;
    int length = snprintf(text, sizeof text, "%d %s %s: %s", number, step, about, strerror(number));
    complain(text, length < (int)sizeof text ? (size_t)length : sizeof text - 1);
    _exit(1);
}

void check(bool done, const char *step, const char *about)
{
    if (!done)
        fail(step, about);
}

void require(bool valid, const char *what, const char *about)
{
    errno = EINVAL;
    check(valid, what, about);
}

unsigned long number(const char *word)
{
    char *end;
    unsigned long value = strtoul(word, &end, 10);
    require(*word && !*end, "not a number:", word);
    return value;
}

/* ---- files ---- */

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    int failure = errno;
    if (fd >= 0)
        close(fd);
    errno = failure;
    check(done, "write", path);
}

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

/* ---- steps on the host ---- */

/* "0" is whoever writes it. */
static void step_enter(char **with) { write_file(with[0], "0"); }

static void step_put(char **with) { write_file(with[0], with[1]); }

/* A control group, with a mode, or a file (mode 0) of the one before, to `with`: its path or name,
 * mode, user. What is not there is left out: not every kernel has all of them. */
static void step_hand(char **with)
{
    static int group = -1;
    mode_t mode = (mode_t)number(with[1]);
    uid_t user = (uid_t)number(with[2]);
    bool done = true;
    if (mode) {
        if (group >= 0)
            close(group);
        group = open(with[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
        done = group >= 0 && fchmodat(group, ".", mode, 0) == 0 &&
               fchownat(group, ".", user, user, 0) == 0;
    } else if (group >= 0) {
        done = fchownat(group, with[0], user, user, 0) == 0;
    }
    check(done || errno == ENOENT, "hand over", with[0]);
}

/* Of control groups: what we are in now is the top of what the sandbox can know of. */
static void step_top(char **with)
{
    (void)with;
    check(unshare(CLONE_NEWCGROUP) == 0, "see only", "own groups");
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

/* ---- steps on the stage ---- */

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
    struct mount_attr wanted = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)users};
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

/* Bytes come as hexadecimal digits: a word can't have a zero byte. */
static size_t read_digits(const char *at, uint8_t *content, size_t most)
{
    size_t length = 0;
    for (; at[0] && at[1] && length < most; at += 2) {
        char digits[3] = {at[0], at[1]};
        content[length++] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return length;
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

/* ---- steps in the namespaces ---- */

_Noreturn static int wait_for_the_end(void *nothing)
{
    (void)nothing;
    for (;;)
        pause();
}

/* A user namespace begins with a process, which waits until it is no longer needed; it shares our
 * memory, which would take longer to copy than all else here. `with`: where its own /proc is, and
 * the map of its ids. */
static void step_users(char **with)
{
    static _Alignas(16) char stack[4096];
    char path[128];
    pid_t first = clone(wait_for_the_end, stack + sizeof stack, CLONE_VM | CLONE_NEWUSER | SIGCHLD,
                        NULL);
    check(first > 0, "make", "a user namespace");
    static const char *const kinds[] = {"uid_map", "gid_map"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%d/%s", with[0], first, kinds[i]);
        write_file(path, with[1]);
    }
    snprintf(path, sizeof path, "%s/%d/ns/user", with[0], first);
    users = open(path, O_RDONLY | O_CLOEXEC);
    check(users >= 0, "open", path);
    check(kill(first, SIGKILL) == 0 && waitpid(first, NULL, 0) == first, "end", "its process");
}

/* One that somebody else has made, whose file is shown here. */
static void step_users_of(char **with)
{
    users = open(with[0], O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    check(users >= 0, "open", with[0]);
}

static void step_name(char **with)
{
    check(sethostname(with[0], strlen(with[0])) == 0, "take the name", with[0]);
}

static void step_loopback(char **with)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    (void)with;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    check(fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0, "bring up", "lo");
    close(fd);
}

static void step_core(char **with)
{
    rlim_t most = number(with[0]);
    check(setrlimit(RLIMIT_CORE, &(struct rlimit){most, most}) == 0, "limit", "core dumps");
}

/* Nothing of the server's session is left. */
static void step_session(char **with)
{
    (void)with;
    check(setsid() >= 0, "lead", "a session");
    (void)syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
}

/* The sandbox's own nothing, as the agent's standard input. */
static void step_input(char **with)
{
    int fd = open(with[0], O_RDONLY | O_CLOEXEC);
    check(fd >= 0 && dup2(fd, 0) == 0, "open", with[0]);
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

/* From here on we are nobody outside. */
static void step_become(char **with)
{
    (void)with;
    check(setns(users, CLONE_NEWUSER) == 0, "enter", "the user namespace");
    check(syscall(SYS_setgroups, 0, NULL) == 0 && syscall(SYS_setresgid, 0, 0, 0) == 0 &&
          syscall(SYS_setresuid, 0, 0, 0) == 0, "become", "the sandbox's root");
}

static void step_capabilities(char **with)
{
    unsigned long kept = number(with[0]);
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    for (int each = 0; each < CAPABILITIES_MOST; each++) {
        if (kept >> each & 1 || prctl(PR_CAPBSET_DROP, each, 0, 0, 0) == 0)
            continue;
        check(errno == EINVAL, "give up", "a capability");
        break; /* the kernel knows no more */
    }
    for (int half = 0; half < 2; half++)
        data[half].effective = data[half].permitted = (uint32_t)(kept >> 32 * half);
    check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0 &&
          syscall(SYS_capset, &head, data) == 0, "give up", "capabilities");
}

static void step_filter(char **with)
{
    (void)with;
    check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "give up", "new privileges");
    check(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0, "load", "the filter");
}

/* Another filter than everybody's. */
static void step_filter_of(char **with)
{
    size_t length = read_digits(with[0], (uint8_t *)filter, sizeof filter);
    require(length && length % sizeof *filter == 0, "not a filter:", "of this sandbox");
    program.len = (unsigned short)(length / sizeof *filter);
    step_filter(with);
}

/* ---- plans ---- */

static const struct step steps[] = {
    {"hand", 3, step_hand},           {"enter", 1, step_enter},       {"put", 2, step_put},
    {"top", 0, step_top},             {"groups", 2, step_groups},
    {"apart", 0, step_apart},         {"tmpfs", 3, step_tmpfs},
    {"memory", 3, step_memory},       {"overlay", 3, step_overlay},   {"mount", 4, step_mount},
    {"directory", 4, step_directory}, {"file", 1, step_file},         {"link", 2, step_link},
    {"node", 3, step_node},           {"take", 1, step_take},         {"give", 1, step_give},
    {"show", 2, step_show},           {"show_in", 3, step_show_in},   {"reveal", 2, step_reveal},
    {"show_owned", 4, step_show_owned}, {"flags", 2, step_flags},     {"cover", 2, step_cover},
    {"secret", 3, step_secret},       {"listen", 2, step_listen},     {"users", 2, step_users},
    {"users_of", 1, step_users_of},
    {"name", 1, step_name},           {"loopback", 0, step_loopback}, {"core", 1, step_core},
    {"session", 0, step_session},     {"input", 1, step_input},       {"root", 1, step_root},
    {"move", 2, step_move},           {"bind", 2, step_bind},         {"pivot", 0, step_pivot},
    {"cover_all", 0, step_cover_all},
    {"become", 0, step_become},       {"capabilities", 1, step_capabilities},
    {"filter", 0, step_filter},       {"filter_of", 1, step_filter_of},
};

static const struct step *step_of(const char *name)
{
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (!strcmp(name, steps[i].name))
            return &steps[i];
    for (size_t i = 0; i < own_step_count; i++)
        if (!strcmp(name, own_steps[i].name))
            return &own_steps[i];
    require(false, "no such step:", name);
    return NULL;
}

static void split_words(char *plan, ssize_t length)
{
    require(length > 0 && plan[length - 1] == 0, "read", "the plan");
    word_count = 0;
    for (char *at = plan; at < plan + length; at += strlen(at) + 1) {
        require(word_count < WORDS_MOST - 1, "too many words in", "the plan");
        words[word_count++] = at;
    }
    words[word_count] = NULL;
}

static _Noreturn void become_agent(char **command)
{
    static char *const environment[] = {"HOME=/", NULL};
    umask(022);
    unsigned after = (unsigned)(GIVEN_GROUPS + group_count);
    check(syscall(SYS_close_range, 3u, GIVEN_LISTENER - 1u, CLOSE_RANGE_CLOEXEC) == 0 &&
          syscall(SYS_close_range, after, ~0u, CLOSE_RANGE_CLOEXEC) == 0, "close", "files");
    execve(command[0], command, environment);
    fail("run", command[0]);
}

void follow_steps(char *plan, ssize_t length)
{
    split_words(plan, length);
    for (int at = 0; at < word_count;) {
        if (!strcmp(words[at], "run") && at + 1 < word_count)
            become_agent(words + at + 1);
        const struct step *step = step_of(words[at++]);
        require(at + step->words <= word_count, "too few words for", step->name);
        step->take(words + at);
        at += step->words;
    }
}

/* The last step of all names the agent, with its arguments. */
_Noreturn void follow_plan(char *plan, ssize_t length)
{
    follow_steps(plan, length);
    require(false, "nothing to", "run");
    _exit(1);
}

void hold_devices(void)
{
    devices = open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
    check(devices >= 0, "open", "/dev");
}

bool take_filter(const void *bytes, ssize_t length)
{
    if (length <= 0 || length > (ssize_t)sizeof filter || length % (ssize_t)sizeof *filter)
        return false;
    memcpy(filter, bytes, (size_t)length);
    program.len = (unsigned short)(length / (ssize_t)sizeof *filter);
    return true;
}
