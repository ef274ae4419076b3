/* Calls that are cheap to make and dear for the whole machine, made by many and without end. */
#include "probe.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAKERS = 8, PIECE = 1 << 20 };

static void sync_disks(void) { sync(); }

/* An interrupt on every processor of the machine. */
static void interrupt_all(void) { syscall(SYS_membarrier, 1 /* GLOBAL */, 0, 0); }

static void open_and_close(void) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0) return;
    close(ends[0]);
    close(ends[1]);
}

static void *end_at_once(void *unused) { return unused; }

static void start_and_end(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, end_at_once, NULL) == 0) pthread_join(thread, NULL);
}

static void map_and_unmap(void) {
    char *piece = mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (piece == MAP_FAILED) return;
    memset(piece, 1, PIECE);
    mprotect(piece, PIECE, PROT_READ);
    munmap(piece, PIECE);
}

static void make_and_remove(void) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/storm-%d", getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) close(fd);
    unlink(path);
}

static void signal_oneself(void) { kill(getpid(), SIGURG); }

static void yield_processor(void) { syscall(SYS_sched_yield); }

/* Packets on the own loopback: their handling is nobody's CPU time. */
static void send_to_oneself(void) {
    static int fd = -1;
    static char packet[32768];
    static struct sockaddr_in address = {.sin_family = AF_INET};
    if (fd < 0) {
        fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(9);
    }
    if (sendto(fd, packet, sizeof packet, 0, (struct sockaddr *)&address, sizeof address) < 0) return;
}

static int storm(int argc, char **argv) {
    static const struct { const char *name; void (*once)(void); } kinds[] = {
        {"sync", sync_disks},       {"membarrier", interrupt_all}, {"sockets", open_and_close},
        {"threads", start_and_end}, {"mappings", map_and_unmap},   {"files", make_and_remove},
        {"signals", signal_oneself}, {"yield", yield_processor},   {"packets", send_to_oneself},
    };
    (void)argc;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].name, argv[1]) != 0) continue;
        for (int maker = 1; maker < MAKERS && fork() > 0; maker++) continue;
        for (;;) kinds[i].once();
    }
    return 64;
}

const struct verb storm_verbs[] = {
    {"storm", 1, storm},
    {NULL, 0, NULL},
};
