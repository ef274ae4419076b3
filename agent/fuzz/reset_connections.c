/* connection.c, and a way to begin again: an epoch only grows in the life of an agent. */
#include "../connection.c"

void reset_connections(void);

void reset_connections(void)
{
    active_close();
    for (int i = 0; i < WAITING_MOST; i++)
        if (waiting[i].fd >= 0)
            waiting_close(&waiting[i]);
    for (int fd; (fd = accept4(listener_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0;)
        close(fd);
    epoch = 0;
}
