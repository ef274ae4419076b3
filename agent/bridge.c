/* Joins standard input and output to the agent's socket, for engines that offer an exec session
 * and no socket. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

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

int bridge_run(const char *socket_path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (strlen(socket_path) >= sizeof address.sun_path) {
        say("bridge: %s: the path is too long", socket_path);
        return 1;
    }
    strcpy(address.sun_path, socket_path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) {
        say("bridge: %s: %s", socket_path, strerror(errno));
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    return join_streams(0, 1, fd);
}
