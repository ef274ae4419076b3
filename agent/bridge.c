/* Joins standard input and output to the agent's socket, for engines that offer an exec session
 * and no socket; and brings the secret where no file can be put. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stddef.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { LOOKS_MOST = 2000, /* 5 ms apart */
       BRIDGES_UID = 65533 }; /* no learner, nor who walk.c is when it kills all of one */

/* Moves what is there from one descriptor to the other; false at the end of either. */
static bool carry(int from, int to)
{
    static char bytes[65536];
    ssize_t got = read(from, bytes, sizeof bytes);
    if (got < 0 && (errno == EINTR || errno == EAGAIN))
        return true;
    for (ssize_t done = 0; done < got;) {
        ssize_t put = write(to, bytes + done, (size_t)(got - done));
        if (put < 0 && errno != EINTR)
            return false;
        done += put > 0 ? put : 0;
    }
    return got > 0;
}

/* Until both directions have ended. The end of `input` is passed on as a half-close. */
int join_streams(int input, int output, int connection)
{
    struct pollfd ready[2] = {{.fd = input, .events = POLLIN}, {.fd = connection, .events = POLLIN}};
    while (ready[1].fd >= 0) {
        if (poll(ready, 2, -1) < 0 && errno != EINTR)
            return 1;
        if (ready[1].revents && !carry(connection, output))
            ready[1].fd = -1;
        if (ready[0].fd >= 0 && ready[0].revents && !carry(input, connection)) {
            shutdown(connection, SHUT_WR);
            ready[0].fd = -1;
        }
    }
    return 0;
}

/* The address of a path, or of a name that is in no file system: @NAME. 0 with errno for none. */
socklen_t socket_address(const char *path, struct sockaddr_un *address)
{
    size_t length = strlen(path);
    if (length >= sizeof address->sun_path) {
        errno = ENAMETOOLONG;
        return 0;
    }
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, length);
    if (path[0] != '@')
        return sizeof *address;
    address->sun_path[0] = 0;
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
}

/* The sandbox's root could put a socket of its own in the place of the agent's, which is process 1's:
 * the kernel says who listens. gVisor's does not; there the socket has a name that nobody else can
 * take as long as the agent lives. (Whom an engine puts into a container has no parent there.) */
static bool is_agents(int connection)
{
    struct ucred listener;
    socklen_t size = sizeof listener;
    return getppid() != 0 ||
           (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &listener, &size) == 0 &&
            listener.pid == 1);
}

/* A connection to a socket, or -1 with the reason in errno. */
static int connected_to(const char *socket_path)
{
    struct sockaddr_un address;
    socklen_t length = socket_address(socket_path, &address);
    if (length == 0)
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, length) == 0) {
        if (socket_path[0] == '@' || is_agents(fd))
            return fd;
        errno = EACCES;
    }
    int reason = errno;
    close(fd);
    errno = reason;
    return -1;
}

static int failed(const char *path)
{
    say("bridge: %s: %s", path, strerror(errno));
    return 1;
}

/* No learner may end it, and nobody look into it, not even the sandbox's root. */
static bool become_nobodys(void)
{
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    return geteuid() != 0 || (setgroups(0, NULL) == 0 &&
                              setresgid(BRIDGES_UID, BRIDGES_UID, BRIDGES_UID) == 0 &&
                              setresuid(BRIDGES_UID, BRIDGES_UID, BRIDGES_UID) == 0);
}

/* Whoever starts a sandbox may be faster than its agent. */
static bool come_again(void)
{
    static int looks;
    return looks++ < LOOKS_MOST && nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL) == 0;
}

static bool read_all(int from, uint8_t *to, size_t size)
{
    for (ssize_t got; size > 0; to += got, size -= (size_t)got) {
        got = read(from, to, size);
        if (got <= 0) {
            errno = got < 0 ? errno : EPIPE;
            return false;
        }
    }
    return true;
}

/* Brings the secret from standard input to the agent, which waits at its pipe. That is opened once
 * the secret is whole, so nothing else can come of a lost one. The connection to the agent that
 * listens then, or -1 when that was said to have failed. */
static int give(const char *pipe_path, const char *socket_path)
{
    uint8_t secret[SECRET_SIZE];
    int fd = -1;
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (!read_all(0, secret, sizeof secret))
        return -failed("the secret");
    while ((fd = open(pipe_path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW)) < 0) {
        int reason = errno;
        if (reason == ENOENT && (fd = connected_to(socket_path)) >= 0)
            return fd; /* who asks again has not heard what became of it the first time */
        if ((reason != ENOENT && reason != ENXIO) || !come_again())
            return -failed(pipe_path);
    }
    if (write(fd, secret, sizeof secret) != sizeof secret)
        return -failed(pipe_path);
    close(fd);
    explicit_bzero(secret, sizeof secret);
    while ((fd = connected_to(socket_path)) < 0)
        if ((errno != ENOENT && errno != ECONNREFUSED) || !come_again())
            return -failed(socket_path);
    return fd;
}

/* With `pipe_path` it brings the secret first, and says when it is connected: who starts it by an
 * exec session does not know otherwise that it runs. "": there is nothing to bring. */
int bridge_run(const char *socket_path, const char *pipe_path)
{
    static const char word[] = "joined\n";
    int fd = pipe_path && *pipe_path ? give(pipe_path, socket_path) : connected_to(socket_path);
    if (fd < 0 || !become_nobodys())
        return failed(socket_path);
    signal(SIGPIPE, SIG_IGN);
    if (pipe_path && write(1, word, sizeof word - 1) != (ssize_t)sizeof word - 1)
        return failed(socket_path);
    return join_streams(0, 1, fd);
}
