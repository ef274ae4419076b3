/* Network namespaces that are used again. To make one and take it down costs the kernel more than a
 * tenth of all else that a short-lived sandbox takes. It serves a second sandbox only if nothing at
 * all has happened in it: no packet, no refused one, no socket that is left, no label of a flow.
 * Nobody in a sandbox may change anything else of it, for it belongs to the host's root. */
#define _GNU_SOURCE
#include "lean.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { IN_USE_MOST = 256, UNUSED_MOST = 32, TEXT_MOST = 16384, REST = 100 /* milliseconds */ };

static struct { int network; pid_t user; } in_use[IN_USE_MOST];
static int in_use_count;
static struct { int network; uint64_t since; } unused[UNUSED_MOST]; /* the longest first */
static int unused_count;
static int current = -1; /* the one that the next process is started in, if it can be kept */
static int home = -1;    /* where this process is else, and nobody is besides */

static char as_new[TEXT_MOST]; /* what is counted in one where nothing has happened */
static ssize_t length_as_new = -1;

/* ---- whether anything has happened ---- */

/* How much of a file was read, at most so many bytes; none where this kernel has no such file. */
static ssize_t read_from(int folder, const char *name, char *text, size_t most)
{
    int file = openat(folder, name, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return errno == ENOENT ? 0 : -1;
    ssize_t length = 0, more;
    while ((size_t)length < most && (more = read(file, text + length, most - (size_t)length)) > 0)
        length += more;
    close(file);
    return length;
}

/* What the kernel counts for the network that this process is in. Sockets come first, and of those
 * only how many: the rest of that file is the whole machine's. */
static ssize_t look(char *text)
{
    static const char *const files[] = {"dev", "snmp", "snmp6", "netstat", "ip6_flowlabel"};
    static const char none[] = "sockets: used 0\n";
    int folder = open("/proc/thread-self/net", O_PATH | O_DIRECTORY | O_CLOEXEC);
    ssize_t length = read_from(folder, "sockstat", text, sizeof none - 1);
    if (length != sizeof none - 1 || memcmp(text, none, sizeof none - 1) != 0)
        length = -1;
    for (size_t i = 0; i < sizeof files / sizeof *files && length >= 0; i++) {
        ssize_t more = read_from(folder, files[i], text + length, TEXT_MOST - (size_t)length);
        length = more < 0 || length + more == TEXT_MOST ? -1 : length + more;
    }
    if (folder >= 0)
        close(folder);
    return length;
}

static bool nothing_happened(void)
{
    static char text[TEXT_MOST];
    return length_as_new > 0 && look(text) == length_as_new &&
           memcmp(text, as_new, (size_t)length_as_new) == 0;
}

/* ---- which is whose ---- */

static int opened(void)
{
    return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

/* Above all other descriptors, so that who is to become a sandbox can let go of all at once. */
static int kept(int network)
{
    int high = network < 0 ? -1 : fcntl(network, F_DUPFD_CLOEXEC, NETWORKS_FROM);
    if (network >= 0)
        close(network);
    return high;
}

static bool be_in(int network)
{
    return network >= 0 && setns(network, CLONE_NEWNET) == 0;
}

static void let_go(int network)
{
    if (network >= 0)
        close(network);
}

/* Nobody but a sandbox's own processes stays in its network. */
static void go_home(void)
{
    if (home >= 0 && !be_in(home))
        _exit(1); /* the server starts another one */
}

static bool in_new_network(void)
{
    if (unshare(CLONE_NEWNET) < 0)
        return false;
    if (length_as_new < 0)
        length_as_new = look(as_new);
    return true;
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

/* What a program has begun comes to its end first: sockets are counted a moment longer than they
 * live, and who joined a group is spoken of a few milliseconds later. */
static int longest_unused(void)
{
    if (unused_count == 0 || now() - unused[0].since < REST)
        return -1;
    int network = unused[0].network;
    memmove(unused, unused + 1, (size_t)--unused_count * sizeof *unused);
    return network;
}

bool enter_network(void)
{
    /* Who is not the machine's root could not come back to where this process was at first. */
    if (home < 0 && (!in_new_network() || (home = opened()) < 0))
        return false;
    while ((current = longest_unused()) >= 0) {
        if (be_in(current) && nothing_happened())
            return true;
        let_go(current);
    }
    if (!in_new_network())
        return false;
    current = kept(opened());
    return true;
}

void leave_network(pid_t user)
{
    if (user > 0 && current >= 0 && in_use_count < IN_USE_MOST) {
        in_use[in_use_count].network = current;
        in_use[in_use_count++].user = user;
    } else { /* of more than that nobody keeps account: they end with their users */
        let_go(current);
    }
    go_home();
}

void on_end_of_user(pid_t user)
{
    int at = 0;
    while (at < in_use_count && in_use[at].user != user)
        at++;
    if (at == in_use_count)
        return;
    if (unused_count < UNUSED_MOST) {
        unused[unused_count].network = in_use[at].network;
        unused[unused_count++].since = now();
    } else {
        let_go(in_use[at].network);
    }
    in_use[at] = in_use[--in_use_count];
}
