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
#include <unistd.h>

enum { IN_USE_MOST = 256, UNUSED_MOST = 32, TEXT_MOST = 16384 };

static struct { int network; pid_t user; } in_use[IN_USE_MOST];
static int in_use_count;
static int unused[UNUSED_MOST]; /* the longest first: the kernel takes a moment to forget sockets */
static int unused_count;
static int current = -1; /* the one that the next process is started in */
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

/* What the kernel counts for the network that this process is in. What it counts of TCP alone
 * ("netstat") changes with nothing that these don't show. Sockets come first, and of those only how
 * many: the rest of that file is the whole machine's. */
static ssize_t look(char *text)
{
    static const char *const files[] = {"dev", "snmp", "snmp6", "ip6_flowlabel"};
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

/* Above all other descriptors, so that who is to become a sandbox can let go of all at once. */
static int opened(void)
{
    int file = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    int kept = file < 0 ? -1 : fcntl(file, F_DUPFD_CLOEXEC, NETWORKS_FROM);
    if (file >= 0)
        close(file);
    return kept;
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

static int new_network(void)
{
    if (unshare(CLONE_NEWNET) < 0)
        return -1;
    if (length_as_new < 0)
        length_as_new = look(as_new);
    return opened();
}

static int longest_unused(void)
{
    int network = unused[0];
    memmove(unused, unused + 1, (size_t)--unused_count * sizeof *unused);
    return network;
}

bool enter_network(void)
{
    /* Who is not the machine's root could not come back to where this process was at first. */
    if (home < 0 && (home = new_network()) < 0)
        return false;
    while (unused_count > 0) {
        current = longest_unused();
        if (be_in(current) && nothing_happened())
            return true;
        let_go(current);
    }
    current = new_network();
    return current >= 0;
}

void leave_network(pid_t user)
{
    if (user > 0 && in_use_count < IN_USE_MOST) {
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
    if (unused_count < UNUSED_MOST)
        unused[unused_count++] = in_use[at].network;
    else
        let_go(in_use[at].network);
    in_use[at] = in_use[--in_use_count];
}
