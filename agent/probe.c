/*
 * probe: one static program that does, well or badly, whatever the published suites ask for.
 *
 * `probe VERB ARGUMENTS…`. The suites upload it into a sandbox and run it there, so they need
 * nothing of the image. Verbs live in probe_*.c; this file holds what they share.
 *
 * THE CONFORMANCE VERBS. The conformance suite uses these and no others, so a driver without real
 * processes (the fake) has to model exactly this list. Output is exact: no buffering (each item is
 * one write), nothing on standard error unless said, exit code 0 unless said. Numbers are decimal,
 * SECONDS may have a fraction. A wrong use exits with 64 and says so on standard error.
 *
 *   echo ARG…              the arguments with one space between them, and a newline
 *   args ARG…              every argument followed by a NUL byte
 *   env                    every environment variable, NAME=value, followed by a NUL byte
 *   who                    "uid=U gid=G groups=LIST cwd=PATH\n": effective ids; LIST the supplementary
 *                          groups other than G with commas between them, or "-" for none
 *   exit CODE              nothing; exits with CODE
 *   signal NUMBER          nothing; ends by that signal (its default action)
 *   sleep SECONDS          nothing; exits after SECONDS on the clock
 *   prompt TEXT SECONDS    TEXT without a newline, at once; exits after SECONDS
 *   spin SECONDS           nothing; exits once it has used SECONDS of CPU time
 *   alloc MIB SECONDS      "touched MIB\n" once that many MiB are touched; exits after SECONDS more
 *   cat                    copies standard input to standard output, as it comes, until end-of-file
 *   count                  reads standard input to its end: "bytes=N crc32=XXXXXXXX\n" (zlib's CRC-32,
 *                          8 lower-case hex digits)
 *   shut SECONDS           closes standard input, "shut\n"; exits after SECONDS
 *   flood STREAM BYTES     BYTES of the pattern (below) to STREAM: "out", "err", or "both" (to each
 *                          one BYTES, alternately, 4,096 at a time)
 *   drip STREAM N MS       N records of 16 bytes: their number as 15 hex digits and a newline; one
 *                          write every MS milliseconds; STREAM "out" or "err"
 *   interleave N MS        N times: "out I\n" to standard output, MS milliseconds, "err I\n" to
 *                          standard error, MS milliseconds; I from 0
 *   tty                    "stdin=B stdout=B stderr=B rows=R columns=C\n": B is 1 for a terminal;
 *                          the size is 0 0 when standard input is none
 *   size                   "rows=R columns=C\n" of standard input at once, and again at every change;
 *                          exits at end-of-file (reads and ignores input)
 *   trap                   "ready\n", then "signal N\n" for every signal 1, 2, 15, 10 that comes; ends
 *                          with code 0 at signal 12 (USR2)
 *   ignore SECONDS         ignores every signal that can be ignored; "ready\n"; exits after SECONDS
 *   open-files             opens /dev/null until it can't: "opened=N error=NAME\n" (the errno's name);
 *                          N + 3 is the limit
 *   read FILE              the content of FILE; exits 1 with the errno's name on standard error if not
 *   write FILE TEXT        makes or replaces FILE with TEXT; as above if it can't
 *   stat FILE              "type=T mode=OOOO uid=U gid=G size=N\n" without following a link: T as
 *                          in the protocol's entries, mode 4 octal digits; as above if it can't
 *   link TARGET FILE       makes the symbolic link FILE that says TARGET; as above if it can't
 *   leave KIND FILE        starts one descendant that ignores every signal and adds a byte to FILE
 *                          every 5 ms; "left\n" once FILE has a byte; exits 0 and leaves it behind.
 *                          KIND: "child" (plain, keeps standard output open), "daemon" (setsid, two
 *                          forks, all descriptors closed), "group" (own process group)
 *   serve PORT             listens on 127.0.0.1:PORT, "listening\n"; sends back what every connection
 *                          sends, closes it at its end-of-file; until it is killed
 *   many N MS              starts N children, each of which exits after MS milliseconds, waits for
 *                          all: "reaped=N\n"
 *
 * THE PATTERN of `flood`: blocks of 4,096 bytes. A block starts with its number as 15 hex digits and
 * a newline; byte I of it (16 <= I < 4,095) is 'A' + (I * 7 + I / 26) % 26 (integer division); byte
 * 4,095 is a newline. The last block may be cut. With "both" each stream numbers its own blocks.
 *
 * THE TERMINAL is the kernel's with its default settings. The suite relies on: input is echoed;
 * output and echo turn "\n" into "\r\n"; input "\r" is a newline; "\003" sends signal 2 to the
 * program and echoes "^C"; "\004" at the start of a line is end-of-file; a changed size
 * is a SIGWINCH.
 *
 * Failures to start are the agent's: no such file 127 with ENOENT, a file without the executable bit
 * or a folder 126 with EACCES, a working directory that is not there 126 (or 127) with ENOENT.
 *
 * HOSTILE VERBS are listed in probe.h, with the file that holds each.
 */
#include "probe.h"

#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void write_all(int fd, const void *data, size_t size) {
    const char *at = data;
    while (size > 0) {
        ssize_t written = write(fd, at, size);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) _exit(74);
        at += written;
        size -= (size_t)written;
    }
}

void say(const char *format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    write_all(1, line, length < (int)sizeof line ? (size_t)length : sizeof line - 1);
}

const char *errno_name(int number) {
#define NAME(E) if (number == E) return #E;
    NAME(EPERM) NAME(ENOENT) NAME(ESRCH) NAME(EINTR) NAME(EIO) NAME(ENXIO) NAME(E2BIG)
    NAME(ENOEXEC) NAME(EBADF) NAME(ECHILD) NAME(EAGAIN) NAME(ENOMEM) NAME(EACCES) NAME(EFAULT)
    NAME(EBUSY) NAME(EEXIST) NAME(EXDEV) NAME(ENODEV) NAME(ENOTDIR) NAME(EISDIR) NAME(EINVAL)
    NAME(ENFILE) NAME(EMFILE) NAME(ENOTTY) NAME(ETXTBSY) NAME(EFBIG) NAME(ENOSPC) NAME(ESPIPE)
    NAME(EROFS) NAME(EMLINK) NAME(EPIPE) NAME(EDOM) NAME(ERANGE) NAME(EDEADLK) NAME(ENAMETOOLONG)
    NAME(ENOSYS) NAME(ENOTEMPTY) NAME(ELOOP) NAME(EOVERFLOW) NAME(EUSERS) NAME(ENOTSOCK)
    NAME(EPROTOTYPE) NAME(ENOPROTOOPT) NAME(EPROTONOSUPPORT) NAME(ESOCKTNOSUPPORT)
    NAME(EOPNOTSUPP) NAME(EPFNOSUPPORT) NAME(EAFNOSUPPORT) NAME(EADDRINUSE) NAME(EADDRNOTAVAIL)
    NAME(ENETDOWN) NAME(ENETUNREACH) NAME(ECONNABORTED) NAME(ECONNRESET) NAME(ENOBUFS)
    NAME(ENOTCONN) NAME(ETOOMANYREFS) NAME(ETIMEDOUT) NAME(ECONNREFUSED) NAME(EHOSTUNREACH)
    NAME(EINPROGRESS) NAME(EDQUOT) NAME(EMSGSIZE) NAME(ENOKEY) NAME(EBADFD) NAME(ENODATA)
#undef NAME
    static char text[16];
    snprintf(text, sizeof text, "E%d", number);
    return text;
}

_Noreturn void fail(const char *what) {
    char line[512];
    int length = snprintf(line, sizeof line, "%s %s\n", errno_name(errno), what);
    write_all(2, line, length < (int)sizeof line ? (size_t)length : sizeof line - 1);
    _exit(1);
}

void nap(double seconds) {
    struct timespec left = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&left, &left) < 0 && errno == EINTR) continue;
}

_Noreturn void sleep_for_ever(void) {
    for (;;) pause();
}

void ignore_signals(void) {
    for (int number = 1; number < 65; number++) signal(number, SIG_IGN);
}

void burn(double cpu_seconds) {
    struct timespec used;
    do {
        for (volatile int i = 0; i < 20000; i++) continue;
        if (cpu_seconds < 0) continue;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    } while (cpu_seconds < 0 || (double)used.tv_sec + (double)used.tv_nsec * 1e-9 < cpu_seconds);
}

_Noreturn void heartbeat(const char *file) {
    for (;;) {
        int fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (fd >= 0) {
            if (write(fd, "x", 1) < 0) { /* full: the next beat may find room */ }
            close(fd);
        }
        nap(0.005);
    }
}

void await_heartbeat(const char *file) {
    struct stat status;
    for (int i = 0; i < 5000 && (stat(file, &status) < 0 || status.st_size == 0); i++) nap(0.001);
}

/* Attempts ------------------------------------------------------------------------------------ */

static int attempts;

static void attempt_within(const char *name, attempt_function *function, const void *context,
                           const int *refusals) {
    int answer[2], number = 0;
    attempts++;
    if (pipe2(answer, O_CLOEXEC) < 0) fail("pipe2");
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) {
        errno = 0;
        long result = function(context);
        number = result == ABSENT ? -ABSENT : result < 0 ? errno : -1;
        write_all(answer[1], &number, sizeof number);
        _exit(0);
    }
    close(answer[1]);
    struct pollfd wait_for = {.fd = answer[0], .events = POLLIN};
    int ready = poll(&wait_for, 1, 2000);
    ssize_t got = ready > 0 ? read(answer[0], &number, sizeof number) : 0;
    close(answer[0]);
    int status = 0;
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    if (ready == 0) {
        say("blocked %s TIMEOUT\n", name);
    } else if (got != sizeof number) {
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) say("blocked %s SIGSYS\n", name);
        else say("ALLOWED %s (died, status %d)\n", name, status);
    } else if (number == -ABSENT) {
        say("absent %s\n", name);
    } else if (number == -1) {
        say("ALLOWED %s\n", name);
    } else {
        int refused = 0;
        for (; *refusals; refusals++) refused |= *refusals == number;
        if (refused) say("blocked %s %s\n", name, errno_name(number));
        else say("ALLOWED %s (%s)\n", name, errno_name(number));
    }
}

void attempt(const char *name, attempt_function *function, const void *context) {
    static const int refusals[] = {EPERM, EACCES, ENOSYS, 0};
    attempt_within(name, function, context, refusals);
}

void attempt_for(const char *name, attempt_function *function, const void *context,
                 const int *refusals) {
    attempt_within(name, function, context, refusals);
}

int end_of_attempts(void) {
    say("end %d\n", attempts);
    return 0;
}

/* Main ---------------------------------------------------------------------------------------- */

int main(int argc, char **argv) {
    const struct verb *const tables[] = {behaved_verbs, process_verbs, rights_verbs,
                                         resource_verbs, storm_verbs, kernel_verbs, look_verbs,
                                         file_verbs, network_verbs};
    if (argc > 1)
        for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
            for (const struct verb *verb = tables[i]; verb->name; verb++)
                if (strcmp(verb->name, argv[1]) == 0 && argc - 2 >= verb->least)
                    return verb->run(argc - 1, argv + 1);
    static const char usage[] = "usage: probe VERB ARGUMENTS... (see probe.c)\n";
    write_all(2, usage, sizeof usage - 1);
    return 64;
}
