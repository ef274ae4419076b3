/* run_student: a program in a sandbox of its own, with the standard streams of this one.
 *
 * The host does it; frames go to it and come from it over a socket and a relay. A frame is a letter,
 * 4 bytes of length, and that many bytes (FRAME_MOST at most):
 *
 *   to the host     Q fields of the request, each with 4 bytes of its length
 *                   I standard input      E its end      S number of a signal, in one byte
 *   from the host   O standard output     e standard error
 *                   C so many more bytes of standard input may be sent, in 4 bytes
 *                   X exit status in one byte, then what is to be said of it
 */
#define _GNU_SOURCE
#include "grading.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 5, PIPE_WRITE = 4096, TRIES = 8000 };

static void put_length(uint8_t *to, size_t length)
{
    for (int i = 0; i < 4; i++, length >>= 8)
        to[i] = (uint8_t)length;
}

static size_t get_length(const uint8_t *from)
{
    return (size_t)from[0] | (size_t)from[1] << 8 | (size_t)from[2] << 16 | (size_t)from[3] << 24;
}

static bool send_frame(int to, char type, const void *bytes, size_t length)
{
    uint8_t header[HEADER] = {(uint8_t)type};
    put_length(header + 1, length);
    return write_out(to, header, HEADER) && write_out(to, bytes, length);
}

static bool receive(int from, void *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t got = read(from, (char *)bytes + done, length - done);
        if (got == 0 || (got < 0 && errno != EINTR))
            return false;
        done += got > 0 ? (size_t)got : 0;
    }
    return true;
}

/* ---- finding a relay ---- */

static int dial(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, GRADING_RELAYS "/%.32s", name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (void *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Each relay serves one, who knows by its first byte that it is them: others try the next one. */
static int find_relay(void)
{
    struct timespec pause = {.tv_nsec = 2000000};
    for (int i = 0; i < TRIES; i++) {
        DIR *folder = opendir(GRADING_RELAYS);
        if (!folder)
            return -1;
        for (struct dirent *each; (each = readdir(folder));) {
            char hello;
            int fd = each->d_name[0] == '.' ? -1 : dial(each->d_name);
            if (fd >= 0 && receive(fd, &hello, 1) && hello == 'H') {
                closedir(folder);
                return fd;
            }
            if (fd >= 0)
                close(fd);
        }
        closedir(folder);
        nanosleep(&pause, NULL);
        if (pause.tv_nsec < 50000000)
            pause.tv_nsec += pause.tv_nsec / 4;
    }
    return -1;
}

/* ---- carrying streams ---- */

struct carried {
    int host, signals;
    bool input_open;
    size_t credit;         /* so much input may be sent: the host reads at once what it allowed, so
                              that nothing here ever waits behind what a program does not read */
    uint8_t frame[HEADER + FRAME_MOST];
    size_t have;           /* bytes of the frame that came */
    size_t written;        /* of its content, so many have been written */
    int status;            /* -1: not known yet */
};

static bool frame_is_whole(const struct carried *c)
{
    return c->have >= HEADER && c->have == HEADER + get_length(c->frame + 1);
}

/* Reads more of a frame. False when the host is gone, or says what nobody understands. */
static bool read_frame(struct carried *c)
{
    size_t wanted = HEADER;
    if (c->have >= HEADER)
        wanted += get_length(c->frame + 1);
    if (wanted > sizeof c->frame)
        return false;
    ssize_t got = read(c->host, c->frame + c->have, wanted - c->have);
    if (got <= 0)
        return got < 0 && errno == EINTR;
    c->have += (size_t)got;
    return c->have < HEADER || get_length(c->frame + 1) <= FRAME_MOST;
}

/* What is whole is handled: an end at once, output in pieces that a pipe with room surely takes. */
static void handle(struct carried *c, bool can_write)
{
    size_t length = get_length(c->frame + 1);
    if (c->frame[0] == 'X' && length >= 1) {
        write_out(2, c->frame + HEADER + 1, length - 1);
        c->status = c->frame[HEADER];
    } else if (c->frame[0] == 'C' && length == 4) {
        c->credit += get_length(c->frame + HEADER);
    } else if (c->frame[0] == 'O' || c->frame[0] == 'e') {
        size_t left = length - c->written;
        if (!can_write)
            return;
        ssize_t put = write(c->frame[0] == 'O' ? 1 : 2, c->frame + HEADER + c->written,
                            left < PIPE_WRITE ? left : PIPE_WRITE);
        if (put < 0 && errno != EINTR && errno != EAGAIN)
            put = (ssize_t)left;  /* nobody reads it */
        c->written += put > 0 ? (size_t)put : 0;
        if (c->written < length)
            return;
    }
    c->have = c->written = 0;
}

static bool read_input(struct carried *c)
{
    char piece[FRAME_MOST];
    ssize_t got = read(0, piece, c->credit < sizeof piece ? c->credit : sizeof piece);
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return true;
    c->input_open = got > 0;
    c->credit -= got > 0 ? (size_t)got : 0;
    return got > 0 ? send_frame(c->host, 'I', piece, (size_t)got) : send_frame(c->host, 'E', "", 0);
}

static bool forward_signal(struct carried *c)
{
    struct signalfd_siginfo told;
    if (read(c->signals, &told, sizeof told) != sizeof told)
        return true;
    uint8_t number = (uint8_t)told.ssi_signo;
    return send_frame(c->host, 'S', &number, 1);
}

static int carry(struct carried *c)
{
    while (c->status < 0) {
        bool whole = frame_is_whole(c);
        bool is_output = whole && (c->frame[0] == 'O' || c->frame[0] == 'e');
        if (whole && !is_output) {
            handle(c, false);
            continue;
        }
        struct pollfd waits[] = {
            {.fd = whole ? -1 : c->host, .events = POLLIN},
            {.fd = c->input_open && c->credit ? 0 : -1, .events = POLLIN},
            {.fd = is_output ? (c->frame[0] == 'O' ? 1 : 2) : -1, .events = POLLOUT},
            {.fd = c->signals, .events = POLLIN},
        };
        if (poll(waits, 4, -1) < 0 && errno != EINTR)
            return EXIT_PROXY;
        if (waits[2].revents)
            handle(c, true);
        bool good = (!waits[0].revents || read_frame(c)) && (!waits[3].revents || forward_signal(c))
                 && (!waits[1].revents || !c->input_open || read_input(c));
        if (!good && c->status < 0) {
            /* What the host said last may be there still. */
            while (!frame_is_whole(c) && read_frame(c))
                ;
            if (frame_is_whole(c) && c->frame[0] == 'X')
                continue;
            complain("run_student: the student's sandbox is out of reach");
            return EXIT_PROXY;
        }
    }
    return c->status;
}

static void add_field(struct text *to, const char *words)
{
    uint8_t length[4];
    put_length(length, strlen(words));
    add(to, length, sizeof length);
    add_text(to, words);
}

/* Those that end or stop nobody by themselves, and can be caught. */
static int caught_signals(void)
{
    sigset_t all;
    sigfillset(&all);
    const int left[] = {SIGCHLD, SIGPIPE, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS,
                        SIGTRAP, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH, SIGURG};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++)
        sigdelset(&all, left[i]);
    sigprocmask(SIG_BLOCK, &all, NULL);
    return signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
}

static const struct option options[] = {
    {"container", required_argument, NULL, 'c'}, {"time", required_argument, NULL, 't'},
    {"hard-time", required_argument, NULL, 'h'}, {"memory", required_argument, NULL, 'm'},
    {"share-network", no_argument, NULL, 'n'}, {"run-as-root", no_argument, NULL, 'r'},
    {"teardown-script", required_argument, NULL, 'd'}, {"working-dir", required_argument, NULL, 'w'},
    {0}};

static bool is_number(const char *text)
{
    char *end;
    return strtoll(text, &end, 10) >= 0 && !*end && *text;
}

/* The fields of a request: container, time, hard time, memory, network, folder, teardown; and then
 * the words of the command, one line that the host takes apart as a shell would its words. */
static bool request(struct text *to, int count, char **words)
{
    const char *container = "", *time = "0", *hard = "0", *memory = "0", *network = "", *after = "";
    char here[4096] = "";
    const char *folder = getcwd(here, sizeof here) ? here : "/";
    for (int c; (c = getopt_long(count, words, "+", options, NULL)) != -1;)
        switch (c) {
        case 'c': container = optarg; break;
        case 't': time = optarg; break;
        case 'h': hard = optarg; break;
        case 'm': memory = optarg; break;
        case 'n': network = "share"; break;
        case 'd': after = optarg; break;
        case 'w': folder = optarg; break;
        case 'r':
            complain("run_student: --run-as-root: no student's program runs as root here");
            exit(EXIT_UNAVAILABLE);
        default: return false;
        }
    if (!is_number(time) || !is_number(hard) || !is_number(memory))
        return false;
    const char *fields[] = {container, time, hard, memory, network, folder, after};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        add_field(to, fields[i]);
    struct text line = {0};
    add(&line, "", 0);
    for (int i = optind; i < count; i++) {
        add_text(&line, i > optind ? " " : "");
        add_text(&line, words[i]);
    }
    add_field(to, line.failed ? "" : line.at);
    return !to->failed && to->length <= FRAME_MOST;
}

int run_student(int count, char **words)
{
    struct text asked = {0};
    static struct carried c = {.input_open = true, .status = -1};
    if (!request(&asked, count, words)) {
        complain("usage: run_student [--container NAME] [--time S] [--hard-time S] [--memory MB]"
                 " [--share-network] [--teardown-script COMMAND] COMMAND...");
        return EXIT_PROXY;
    }
    signal(SIGPIPE, SIG_IGN);
    c.signals = caught_signals();
    c.host = find_relay();
    if (c.host < 0) {
        complain("run_student: not available here");
        return EXIT_UNAVAILABLE;
    }
    if (!send_frame(c.host, 'Q', asked.at, asked.length)) {
        complain("run_student: the student's sandbox is out of reach");
        return EXIT_PROXY;
    }
    return carry(&c);
}

int ssh_student(int count, char **words)
{
    (void)count, (void)words;
    note_fault("ssh_student: nobody can log in to a sandbox of Assay");
    return EXIT_UNAVAILABLE;
}

/* ---- the relay: what the host starts, once for each student's program ---- */

static int listen_at(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, GRADING_RELAYS "/%.32s", name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (void *)&address, sizeof address) < 0 || listen(fd, 16) < 0)
        return -1;
    return fd;
}

/* Copies what there is from one to the other; false at the end. */
static bool pass_on(int from, int to)
{
    char piece[FRAME_MOST];
    ssize_t got = read(from, piece, sizeof piece);
    if (got < 0)
        return errno == EINTR || errno == EAGAIN;
    return got > 0 && write_out(to, piece, (size_t)got);
}

/* Both directions at once, each in a process of its own: neither waits for the other. */
static int pass_both(int client)
{
    pid_t back = fork();
    if (back < 0)
        return 1;
    if (back == 0) {
        while (pass_on(0, client))
            ;
        shutdown(client, SHUT_WR);
        _exit(0);
    }
    while (pass_on(client, 1))
        ;
    return 0;
}

int relay(int count, char **words)
{
    char path[128];
    int listening = count == 2 ? listen_at(words[1]) : -1;
    if (listening < 0)
        return complain("relay: %s", strerror(errno));
    signal(SIGPIPE, SIG_IGN);
    int client = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    snprintf(path, sizeof path, GRADING_RELAYS "/%.32s", words[1]);
    unlink(path);
    close(listening);  /* who else has come is let go, and tries another one */
    if (client < 0 || !write_out(client, "H", 1))
        return complain("relay: nobody came");
    return pass_both(client);
}
