/* The conformance verbs: what well-behaved programs do. Their output is specified in probe.c. */
#include "probe.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCK = 4096, BUFFER = 65536 };

extern char **environ;

static int echo(int argc, char **argv) {
    char line[BUFFER];
    size_t length = 0;
    for (int i = 1; i < argc; i++) {
        size_t size = strlen(argv[i]);
        if (length + size + 2 > sizeof line) return 64;
        if (i > 1) line[length++] = ' ';
        memcpy(line + length, argv[i], size);
        length += size;
    }
    line[length++] = '\n';
    write_all(1, line, length);
    return 0;
}

static int arguments(int argc, char **argv) {
    for (int i = 1; i < argc; i++) write_all(1, argv[i], strlen(argv[i]) + 1);
    return 0;
}

static int environment(int argc, char **argv) {
    (void)argc, (void)argv;
    for (char **entry = environ; *entry; entry++) write_all(1, *entry, strlen(*entry) + 1);
    return 0;
}

static int who(int argc, char **argv) {
    (void)argc, (void)argv;
    gid_t groups[64];
    char list[512] = "", directory[4096];
    int count = getgroups(64, groups), length = 0;
    for (int i = 0; i < count; i++)
        if (groups[i] != getegid() && length < (int)sizeof list - 16)
            length += snprintf(list + length, 16, "%s%u", length ? "," : "", groups[i]);
    if (!getcwd(directory, sizeof directory)) fail("getcwd");
    say("uid=%u gid=%u groups=%s cwd=%s\n", geteuid(), getegid(), length ? list : "-", directory);
    return 0;
}

static int exit_with(int argc, char **argv) {
    (void)argc;
    return atoi(argv[1]);
}

static int end_by_signal(int argc, char **argv) {
    (void)argc;
    int number = atoi(argv[1]);
    sigset_t set;
    signal(number, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    kill(getpid(), number);
    return 65;
}

static int sleep_a_while(int argc, char **argv) {
    (void)argc;
    nap(atof(argv[1]));
    return 0;
}

static int prompt(int argc, char **argv) {
    (void)argc;
    write_all(1, argv[1], strlen(argv[1]));
    nap(atof(argv[2]));
    return 0;
}

static int spin(int argc, char **argv) {
    (void)argc;
    burn(atof(argv[1]));
    return 0;
}

static int alloc(int argc, char **argv) {
    (void)argc;
    size_t size = (size_t)atol(argv[1]) << 20;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) fail("mmap");
    for (size_t at = 0; at < size; at += BLOCK) ((volatile char *)memory)[at] = 1;
    say("touched %s\n", argv[1]);
    nap(atof(argv[2]));
    return 0;
}

static int cat(int argc, char **argv) {
    (void)argc, (void)argv;
    static char buffer[BUFFER];
    for (;;) {
        ssize_t got = read(0, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail("standard input");
        if (got == 0) return 0;
        write_all(1, buffer, (size_t)got);
    }
}

static int count(int argc, char **argv) {
    (void)argc, (void)argv;
    static unsigned char buffer[BUFFER];
    static uint32_t table[256];
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++)
            table[i] = table[i] & 1 ? table[i] >> 1 ^ 0xedb88320u : table[i] >> 1;
    }
    uint32_t crc = 0xffffffffu;
    unsigned long long bytes = 0;
    for (ssize_t got; (got = read(0, buffer, sizeof buffer)) > 0; bytes += (size_t)got)
        for (ssize_t i = 0; i < got; i++) crc = table[(crc ^ buffer[i]) & 255] ^ crc >> 8;
    say("bytes=%llu crc32=%08x\n", bytes, crc ^ 0xffffffffu);
    return 0;
}

static int shut(int argc, char **argv) {
    (void)argc;
    close(0);
    say("shut\n");
    nap(atof(argv[1]));
    return 0;
}

static int flood(int argc, char **argv) {
    (void)argc;
    char block[BLOCK];
    int out = strcmp(argv[1], "err") != 0, err = strcmp(argv[1], "out") != 0;
    unsigned long long left = strtoull(argv[2], NULL, 10);
    for (int i = 16; i < BLOCK - 1; i++) block[i] = (char)('A' + (i * 7 + i / 26) % 26);
    block[BLOCK - 1] = '\n';
    for (unsigned long long number = 0; left > 0; number++) {
        char header[24];
        snprintf(header, sizeof header, "%015llx\n", number);
        memcpy(block, header, 16);
        size_t size = left < BLOCK ? (size_t)left : BLOCK;
        if (out) write_all(1, block, size);
        if (err) write_all(2, block, size);
        left -= size;
    }
    return 0;
}

static int drip(int argc, char **argv) {
    (void)argc;
    int fd = strcmp(argv[1], "err") == 0 ? 2 : 1;
    unsigned long long count = strtoull(argv[2], NULL, 10);
    for (unsigned long long number = 0; number < count; number++) {
        char record[24];
        snprintf(record, sizeof record, "%015llx\n", number);
        write_all(fd, record, 16);
        nap(atof(argv[3]) * 1e-3);
    }
    return 0;
}

static int interleave(int argc, char **argv) {
    (void)argc;
    int count = atoi(argv[1]);
    for (int i = 0; i < count; i++) {
        char line[32];
        write_all(1, line, (size_t)snprintf(line, sizeof line, "out %d\n", i));
        nap(atof(argv[2]) * 1e-3);
        write_all(2, line, (size_t)snprintf(line, sizeof line, "err %d\n", i));
        nap(atof(argv[2]) * 1e-3);
    }
    return 0;
}

static struct winsize window_size(void) {
    struct winsize size = {0};
    ioctl(0, TIOCGWINSZ, &size);
    return size;
}

static int tty(int argc, char **argv) {
    (void)argc, (void)argv;
    struct winsize size = window_size();
    say("stdin=%d stdout=%d stderr=%d rows=%u columns=%u\n", isatty(0), isatty(1), isatty(2),
        size.ws_row, size.ws_col);
    return 0;
}

static volatile sig_atomic_t resized;

static void on_resize(int number) {
    (void)number;
    resized = 1;
}

static int report_size(int argc, char **argv) {
    (void)argc, (void)argv;
    sigset_t blocked, open;
    struct sigaction action = {.sa_handler = on_resize};
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGWINCH);
    sigprocmask(SIG_BLOCK, &blocked, &open);
    sigdelset(&open, SIGWINCH);
    sigaction(SIGWINCH, &action, NULL);
    for (resized = 1;;) {
        char ignored[256];
        if (resized) {
            resized = 0;
            say("rows=%u columns=%u\n", window_size().ws_row, window_size().ws_col);
        }
        struct pollfd input = {.fd = 0, .events = POLLIN};
        if (ppoll(&input, 1, NULL, &open) > 0 && read(0, ignored, sizeof ignored) <= 0) return 0;
    }
}

static int trap(int argc, char **argv) {
    (void)argc, (void)argv;
    static const int caught[] = {SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof caught / sizeof *caught; i++) sigaddset(&set, caught[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    say("ready\n");
    for (int number;;) {
        if (sigwait(&set, &number) != 0) continue;
        if (number == SIGUSR2) return 0;
        say("signal %d\n", number);
    }
}

static int ignore(int argc, char **argv) {
    (void)argc;
    ignore_signals();
    say("ready\n");
    nap(atof(argv[1]));
    return 0;
}

static int open_files(int argc, char **argv) {
    (void)argc, (void)argv;
    long opened = 0;
    while (open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0) opened++;
    say("opened=%ld error=%s\n", opened, errno_name(errno));
    return 0;
}

static int read_file(int argc, char **argv) {
    (void)argc;
    static char buffer[BUFFER];
    int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
    if (fd < 0) fail(argv[1]);
    for (ssize_t got; (got = read(fd, buffer, sizeof buffer)) != 0;) {
        if (got < 0) fail(argv[1]);
        write_all(1, buffer, (size_t)got);
    }
    return 0;
}

static int write_file(int argc, char **argv) {
    (void)argc;
    int fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    size_t size = strlen(argv[2]);
    if (fd < 0 || write(fd, argv[2], size) != (ssize_t)size) fail(argv[1]);
    return 0;
}

static int show_status(int argc, char **argv) {
    (void)argc;
    struct stat status;
    if (lstat(argv[1], &status) < 0) fail(argv[1]);
    const char type = S_ISREG(status.st_mode)    ? '-'
                      : S_ISDIR(status.st_mode)  ? 'd'
                      : S_ISLNK(status.st_mode)  ? 'l'
                      : S_ISFIFO(status.st_mode) ? 'p'
                      : S_ISSOCK(status.st_mode) ? 's'
                      : S_ISCHR(status.st_mode)  ? 'c'
                                                 : 'b';
    say("type=%c mode=%04o uid=%u gid=%u size=%lld\n", type, (unsigned)status.st_mode & 07777,
        status.st_uid, status.st_gid, (long long)status.st_size);
    return 0;
}

static int make_link(int argc, char **argv) {
    (void)argc;
    if (symlink(argv[1], argv[2]) < 0) fail(argv[2]);
    return 0;
}

static int leave(int argc, char **argv) {
    (void)argc;
    const char *kind = argv[1], *file = argv[2];
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) {
        ignore_signals();
        if (strcmp(kind, "group") == 0) setpgid(0, 0);
        if (strcmp(kind, "daemon") == 0) {
            setsid();
            if (fork() != 0) _exit(0);
            for (int fd = 0; fd < 1024; fd++) close(fd);
        }
        heartbeat(file);
    }
    await_heartbeat(file);
    say("left\n");
    return 0;
}

static void serve_connection(int connection) {
    char buffer[BUFFER];
    for (ssize_t got; (got = read(connection, buffer, sizeof buffer)) > 0;)
        write_all(connection, buffer, (size_t)got);
    _exit(0);
}

static int serve(int argc, char **argv) {
    (void)argc;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(argv[1])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0) fail("bind");
    if (listen(listener, 64) < 0) fail("listen");
    say("listening\n");
    for (;;) {
        int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (connection >= 0 && fork() == 0) serve_connection(connection);
        close(connection);
    }
}

static int many(int argc, char **argv) {
    (void)argc;
    int count = atoi(argv[1]), reaped = 0;
    for (int i = 0; i < count; i++) {
        pid_t child = fork();
        if (child < 0) fail("fork");
        if (child == 0) {
            nap(atof(argv[2]) * 1e-3);
            _exit(0);
        }
    }
    while (wait(NULL) > 0) reaped++;
    say("reaped=%d\n", reaped);
    return 0;
}

const struct verb behaved_verbs[] = {
    {"echo", 0, echo},
    {"args", 0, arguments},
    {"env", 0, environment},
    {"who", 0, who},
    {"exit", 1, exit_with},
    {"signal", 1, end_by_signal},
    {"sleep", 1, sleep_a_while},
    {"prompt", 2, prompt},
    {"spin", 1, spin},
    {"alloc", 2, alloc},
    {"cat", 0, cat},
    {"count", 0, count},
    {"shut", 1, shut},
    {"flood", 2, flood},
    {"drip", 3, drip},
    {"interleave", 2, interleave},
    {"tty", 0, tty},
    {"size", 0, report_size},
    {"trap", 0, trap},
    {"ignore", 1, ignore},
    {"open-files", 0, open_files},
    {"read", 1, read_file},
    {"write", 2, write_file},
    {"stat", 1, show_status},
    {"link", 2, make_link},
    {"leave", 2, leave},
    {"serve", 1, serve},
    {"many", 2, many},
    {NULL, 0, NULL},
};
