/* What the agent's own sources see in place of the kernel when they are fuzzed: the clock, and
 * programs, which are played. Every source is compiled with this file before its first line. */
#ifndef WORLD_H
#define WORLD_H

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PROGRAMS_MOST = 80 };

/* A process that was asked for, and that an input of the fuzzer plays. */
struct program {
    pid_t pid;              /* 0: none */
    bool started, ended;    /* it has its request; its status waits for wait4 */
    int control, streams[3], status;
    int lingering;          /* how often its descendants must be killed before they are gone */
    bool terminal;
    uint64_t written[2], read;
};

extern struct program programs[PROGRAMS_MOST];
extern uint64_t world_time; /* nanoseconds */
extern int world_timeout;   /* what the agent would have waited, milliseconds */
extern int world_failures;  /* so many of the next pipes and forks fail */

void world_reset(void);
void world_programs(void); /* each takes its request, or ends because it will get none */
struct program *world_running(unsigned number);
void world_end(struct program *program, int status);
void world_write(struct program *program, int stream, size_t count);
size_t world_read(struct program *program, uint8_t *bytes, size_t most);
uint8_t world_byte(int stream, uint64_t position);

pid_t world_fork(void);
int world_kill(pid_t pid, int number);
pid_t world_wait4(pid_t pid, int *status, int options, struct rusage *usage);
int world_pipe2(int ends[2], int flags);
int world_socketpair(int domain, int type, int protocol, int ends[2]);
int world_accept4(int listener, struct sockaddr *address, socklen_t *length, int flags);
int world_clock(clockid_t clock, struct timespec *time);
int world_epoll_wait(int poller, struct epoll_event *events, int most, int timeout);
void must(bool condition, const char *what);
void make_folder(char path[], size_t size); /* beneath TMPDIR, which whoever runs this removes */

#define fork world_fork
#define kill world_kill
#define wait4 world_wait4
#define pipe2 world_pipe2
#define socketpair world_socketpair
#define accept4 world_accept4
#define clock_gettime world_clock
#define epoll_wait world_epoll_wait

#endif
