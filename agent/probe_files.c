/* Files, descriptors and output that are meant to catch whoever reads them. */
#include "probe.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static void put_text(const char *path, const char *text, mode_t mode) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return;
    write_all(fd, text, strlen(text));
    fchmod(fd, mode);
    close(fd);
}

static void make_unix_socket(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) fail(path);
    close(fd);
}

static int trap_files(int argc, char **argv) {
    static const struct { const char *name, *target; } links[] = {
        {"shadow", "/etc/shadow"},      {"environ", "/proc/self/environ"},
        {"up", "../../../../../etc"},   {"zero", "/dev/zero"},
        {"random", "/dev/urandom"},     {"loop", "loop"},
        {"root", "/"},                  {"self-fd", "/proc/self/fd"},
        {"init-root", "/proc/1/root"},  {"nowhere", "/not/there"},
        {"agent", "/.assay"},           {"tty", "/dev/tty"},
    };
    char name[256];
    (void)argc;
    if (mkdir(argv[1], 0755) < 0 && errno != EEXIST) fail(argv[1]);
    if (chdir(argv[1]) < 0) fail(argv[1]);
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        if (symlink(links[i].target, links[i].name) < 0) fail(links[i].name);
    if (mkfifo("fifo", 0666) < 0) fail("fifo");
    make_unix_socket("socket");
    put_text("new\nline", "1", 0644);
    put_text("\033]0;title\007", "2", 0644);
    put_text("\xff\xfe\x80", "3", 0644);
    put_text("-rf", "4", 0644);
    put_text("hidden", "5", 0000);
    put_text("set-user-id", "6", 06755);
    memset(name, 'n', 255);
    name[255] = 0;
    put_text(name, "7", 0644);
    mkdir("locked", 0755);
    put_text("locked/inside", "8", 0644);
    chmod("locked", 0000);
    setxattr("-rf", "user.note", "x", 1, 0);
    say("trapped\n");
    return 0;
}

static int swap(int argc, char **argv) {
    (void)argc;
    if (chdir(argv[1]) < 0) fail(argv[1]);
    mkdir("a", 0755);
    put_text("a/passwd", "mine", 0644);
    if (symlink(argv[2], "b") < 0) fail("b");
    say("swapping\n");
    for (;;) syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE);
    return 0;
}

static int lease(int argc, char **argv) {
    (void)argc;
    ignore_signals();
    int fd = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) fail(argv[1]);
    if (fcntl(fd, F_SETLEASE, F_WRLCK) < 0) say("refused %s\n", errno_name(errno));
    else say("leased\n");
    sleep_for_ever();
}

static int change_mode(int argc, char **argv) {
    (void)argc;
    if (chmod(argv[2], (mode_t)strtoul(argv[1], NULL, 8)) < 0) fail(argv[2]);
    return 0;
}

static int churn(int argc, char **argv) {
    (void)argc;
    int fd = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) fail(argv[1]);
    say("churning\n");
    for (long i = 0;; i++)
        if (ftruncate(fd, i % 3 * (1 << 19)) < 0) nap(0.001);
    return 0;
}

/* Traces for the next one ----------------------------------------------------------------------------- */

static const char *const places[] = {
    "/tmp/mark", "/var/tmp/mark", "/dev/shm/mark", "/workspace/mark", "/workspace/.bashrc",
    "/workspace/.profile", "/workspace/.gitconfig", "/workspace/.ssh/authorized_keys",
    "/workspace/.local/lib/python3/site-packages/sitecustomize.py", "/workspace/sitecustomize.py",
    "/workspace/.config/mark", "/tmp/.X11-unix/mark", "/var/lock/mark", "/run/lock/mark",
    "/run/mark", "/dev/mqueue/mark", "/run/user/10001/mark", "/.assay/mark", "/dev/mark",
    "/etc/mark", "/mark",
};

static void make_parents(const char *path) {
    char parent[256];
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(parent, sizeof parent, "%.*s", (int)(slash - path), path);
        mkdir(parent, 0755);
    }
}

static int mark(int argc, char **argv) {
    (void)argc;
    int made = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        make_parents(places[i]);
        int fd = open(places[i], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (fd < 0) continue;
        made += write(fd, argv[1], strlen(argv[1])) > 0;
        close(fd);
    }
    say("marked=%d\n", made);
    return 0;
}

static int marks(int argc, char **argv) {
    (void)argc;
    int found = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char text[256] = "";
        int fd = open(places[i], O_RDONLY | O_CLOEXEC);
        if (fd < 0) continue;
        if (read(fd, text, sizeof text - 1) > 0 && strcmp(text, argv[1]) == 0) {
            say("found %s\n", places[i]);
            found++;
        }
        close(fd);
    }
    say("marks=%d\n", found);
    return 0;
}

/* Descriptors ---------------------------------------------------------------------------------------- */

static int descriptors(int argc, char **argv) {
    (void)argc, (void)argv;
    for (int fd = 0; fd < 4096; fd++) {
        char path[64], target[512] = "?";
        if (fcntl(fd, F_GETFD) < 0) continue;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t size = readlink(path, target, sizeof target - 1);
        if (size > 0) target[size] = 0;
        say("fd=%d %s\n", fd, target);
    }
    return 0;
}

static int abstract_address(const char *name, struct sockaddr_un *address, socklen_t *size) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    strncpy(address->sun_path + 1, name, sizeof address->sun_path - 2);
    *size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
    return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

union control { char space[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; };

static int give_stdout(int argc, char **argv) {
    struct sockaddr_un address;
    socklen_t size;
    union control control = {{0}};
    char byte = 0;
    struct iovec data = {&byte, 1};
    int fd = abstract_address(argv[1], &address, &size), given = 1;
    struct msghdr message = {.msg_name = &address, .msg_namelen = size, .msg_iov = &data,
                             .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    (void)argc;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &given, sizeof given);
    if (fd < 0 || sendmsg(fd, &message, 0) < 0) fail("sendmsg");
    say("given\n");
    return 0;
}

static int take_stdout(int argc, char **argv) {
    struct sockaddr_un address;
    socklen_t size;
    union control control = {{0}};
    char byte;
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    int fd = abstract_address(argv[1], &address, &size), taken = -1;
    (void)argc;
    signal(SIGPIPE, SIG_IGN);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) < 0) fail("bind");
    say("waiting\n");
    if (recvmsg(fd, &message, 0) < 0 || !CMSG_FIRSTHDR(&message)) fail("recvmsg");
    memcpy(&taken, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof taken);
    say("taken\n");
    for (;;) {
        if (write(taken, "late\n", 5) < 0) { /* the reader is gone, as it should be */ }
        nap(atof(argv[2]) * 1e-3);
    }
    return 0;
}

static int close_all(int argc, char **argv) {
    (void)argc, (void)argv;
    for (int fd = 0; fd < 4096; fd++) close(fd);
    sleep_for_ever();
}

/* Output ------------------------------------------------------------------------------------------------ */

static int crash(int argc, char **argv) {
    (void)argc, (void)argv;
    volatile int *volatile nowhere = NULL;
    *nowhere = 1;
    return 0;
}

static int garbage(int argc, char **argv) {
    static unsigned char piece[65536];
    uint32_t state = (uint32_t)strtoul(argv[1], NULL, 10);
    long long left = atoll(argv[2]);
    (void)argc;
    while (left > 0) {
        size_t size = left < (long long)sizeof piece ? (size_t)left : sizeof piece;
        for (size_t i = 0; i < size; i++) {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            piece[i] = (unsigned char)state;
        }
        write_all(1, piece, size);
        left -= (long long)size;
    }
    return 0;
}

static int mutter(int argc, char **argv) {
    (void)argc, (void)argv;
    for (;;) {
        write_all(1, "o", 1);
        write_all(2, "e", 1);
    }
    return 0;
}

static int show_random(int argc, char **argv) {
    unsigned char fresh[16];
    const unsigned char *given = (const unsigned char *)getauxval(AT_RANDOM);
    int local;
    (void)argc, (void)argv;
    if (getrandom(fresh, sizeof fresh, 0) != sizeof fresh) fail("getrandom");
    for (int i = 0; i < 16; i++) say("%02x", fresh[i]);
    say(" ");
    for (int i = 0; given && i < 16; i++) say("%02x", given[i]);
    say(" %p\n", (void *)&local);
    return 0;
}

/* What belongs to an inode: locks and watches ------------------------------------------------------ */

static int open_shared(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) fail(path);
    return fd;
}

static int hold_locks(int argc, char **argv) {
    struct flock reading = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 1};
    struct flock description = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 2, .l_len = 1};
    (void)argc;
    int fd = open_shared(argv[1]);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) fail("flock");
    if (fcntl(fd, F_SETLK, &reading) < 0) fail("F_SETLK");
    if (fcntl(fd, F_OFD_SETLK, &description) < 0) fail("F_OFD_SETLK");
    say("locked\n");
    sleep_for_ever();
}

static int see_locks(int argc, char **argv) {
    struct flock first = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    struct flock third = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2, .l_len = 1};
    (void)argc;
    int fd = open_shared(argv[1]), whole = flock(fd, LOCK_EX | LOCK_NB);
    if (whole < 0 && errno != EWOULDBLOCK) fail("flock");
    if (fcntl(fd, F_GETLK, &first) < 0 || fcntl(fd, F_GETLK, &third) < 0) fail("F_GETLK");
    say("flock=%s posix=%s description=%s\n", whole < 0 ? "held" : "free",
        first.l_type == F_UNLCK ? "free" : "held", third.l_type == F_UNLCK ? "free" : "held");
    return 0;
}

static volatile sig_atomic_t noticed;

static void notice(int number) {
    (void)number;
    noticed = 1;
}

static int watch(int argc, char **argv) {
    (void)argc;
    signal(SIGIO, notice);
    int fd = open_shared(argv[1]);
    if (fcntl(fd, F_NOTIFY, DN_ACCESS | DN_ATTRIB | DN_MODIFY | DN_MULTISHOT) < 0) {
        say("blocked watch %s\n", errno_name(errno));
        return 0;
    }
    say("watching\n");
    for (int i = 0; i < 40 && !noticed; i++) nap(0.05); /* a signal ends the nap */
    say("noticed=%d\n", (int)noticed);
    return 0;
}

const struct verb file_verbs[] = {
    {"trap-files", 1, trap_files},
    {"swap", 2, swap},
    {"churn", 1, churn},
    {"lease", 1, lease},
    {"chmod", 2, change_mode},
    {"mark", 1, mark},
    {"marks", 1, marks},
    {"descriptors", 0, descriptors},
    {"give-stdout", 1, give_stdout},
    {"take-stdout", 2, take_stdout},
    {"hold-locks", 1, hold_locks},
    {"see-locks", 1, see_locks},
    {"watch", 1, watch},
    {"close-all", 0, close_all},
    {"crash", 0, crash},
    {"garbage", 2, garbage},
    {"mutter", 0, mutter},
    {"random", 0, show_random},
    {NULL, 0, NULL},
};
