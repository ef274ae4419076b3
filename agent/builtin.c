/* Programs that the agent has in itself: operations on files, and a way to a port. They run as
 * executions do. */
#define _GNU_SOURCE
#include "files.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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
        {"list", files_list}, {"get", files_get}, {"put", files_put}, {"delete", files_delete},
        {"tunnel", tunnel},
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
