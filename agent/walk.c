/* Executions without groups of the kernel's: their processes are found by walking /proc.
 *
 * A supplementary group id, which a learner can't give back, marks the processes of an execution. */
#define _GNU_SOURCE
#include "agent.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIDS_MOST = 4096, LISTED_MOST = 32768, LOOKS_MOST = 100,
       NOBODYS_UID = 65535 }; /* the last of a sandbox; no learner is it */

static struct execution *walker;
static bool walker_alone;

static bool marked(const char *status, gid_t marker)
{
    const char *groups = strstr(status, "\nGroups:");
    if (!groups)
        return false;
    const char *line_end = strchr(groups + 1, '\n');
    for (char *at = (char *)groups + 8; at < line_end;) {
        char *next;
        unsigned long group = strtoul(at, &next, 10);
        if (next == at)
            break;
        if (group == marker)
            return true;
        at = next;
    }
    return false;
}

/* Whether a living process is one of the walker's. Without the right to mark them: all others in
 * the agent's own process namespace, or else those of the same session. */
static bool belongs(pid_t pid)
{
    char path[64], status[4096];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, status, sizeof status - 1);
    if (fd >= 0)
        close(fd);
    if (length <= 0)
        return false;
    status[length] = 0;
    /* A process whose first thread has ended looks like a zombie while other threads go on. */
    const char *state = strstr(status, "\nState:\t"), *threads = strstr(status, "\nThreads:\t");
    if (!state || !threads || ((state[8] == 'Z' || state[8] == 'X') && atoi(threads + 10) < 2))
        return false;
    if (can_change_user)
        return marked(status, group_marker(walker->slot));
    if (!walker_alone || getpid() != 1)
        return getsid(pid) == walker->pid;
    for (int i = 0; i < SLOTS; i++)
        if ((executions[i].state == PREPARED || executions[i].state == WAITING) &&
            executions[i].pid == pid)
            return false;
    return true;
}

/* The numbers of all processes, in rising order; -1 when nobody can say. */
static int list_processes(pid_t *pids)
{
    int count = 0;
    DIR *folder = opendir("/proc");
    if (!folder)
        return -1;
    for (struct dirent *entry; count < LISTED_MOST && (entry = readdir(folder));) {
        pid_t pid = atoi(entry->d_name);
        if (pid > 1 && pid != getpid())
            pids[count++] = pid;
    }
    closedir(folder);
    return count;
}

static int by_number(const void *one, const void *other)
{
    pid_t a = *(const pid_t *)one, b = *(const pid_t *)other;
    return (a > b) - (a < b);
}

/* Looking at processes takes time, in which those in the list can end and leave children that are
 * not. So it is done once no list has anything new: who is in the last was looked at before. */
static int look_through(pid_t *pids, int most)
{
    static pid_t lists[2][LISTED_MOST];
    int count = 0, earlier = 0;
    for (int look = 0; look < LOOKS_MOST; look++) {
        pid_t *now = lists[look % 2], *before = lists[(look + 1) % 2];
        int listed = list_processes(now);
        bool news = false;
        if (listed < 0)
            return count ? count : -1;
        for (int i = 0; i < listed && count < most; i++) {
            if (bsearch(&now[i], before, (size_t)earlier, sizeof *now, by_number))
                continue;
            news = true;
            if (belongs(now[i]))
                pids[count++] = now[i];
        }
        if (!news || count == most)
            break;
        earlier = listed;
    }
    return count;
}

/* Up to `most` processes of an execution; -1 when nobody can say. */
static int walk(struct execution *execution, pid_t *pids, int most)
{
    int running = 0;
    for (int i = 0; i < SLOTS; i++)
        running += executions[i].state == RUNNING || executions[i].state == ENDING;
    walker = execution;
    walker_alone = running <= 1;
    return look_through(pids, most);
}

/* Stopped processes make no children: once two walks find the same ones, these are all. */
void walk_kill(struct execution *execution)
{
    static pid_t pids[PIDS_MOST];
    for (int rounds = 0, before = -1, count; rounds < 100; rounds++, before = count) {
        count = walk(execution, pids, PIDS_MOST);
        for (int i = 0; i < count; i++)
            kill(pids[i], SIGSTOP);
        if (count == before)
            break;
    }
    for (int i = walk(execution, pids, PIDS_MOST) - 1; i >= 0; i--)
        kill(pids[i], SIGKILL);
}

/* Whether no other execution has this user, so that all of the user's processes are this one's. */
static bool only_of_user(const struct execution *execution)
{
    for (int i = 0; i < SLOTS; i++)
        if (&executions[i] != execution && executions[i].user == execution->user &&
            (executions[i].state == RUNNING || executions[i].state == ENDING))
            return false;
    return true;
}

/* kill(-1) reaches all processes of a user in one step, so that not even a chain of forks wins;
 * but not its caller, nor process 1. (gVisor's takes several steps: there it takes a few rounds.)
 * The agent calls it itself: a child that did would be late now and then, and kill the next
 * execution. It acts as the user without becoming one who the user could send signals to. */
bool walk_kill_all(struct execution *execution)
{
    uid_t user = execution->user;
    if (getpid() != 1 || !can_change_user || user == 0 || !only_of_user(execution))
        return false;
    if (setresuid(NOBODYS_UID, user, 0) < 0)
        return false;
    kill(-1, SIGKILL);
    if (setresuid(0, 0, 0) < 0)
        _exit(1); /* nothing works from here on; and nobody lives on without process 1 */
    return true;
}

uint64_t walk_cpu(struct execution *execution)
{
    static pid_t pids[PIDS_MOST];
    uint64_t ticks = 0;
    for (int i = walk(execution, pids, PIDS_MOST) - 1; i >= 0; i--) {
        char path[64], stat[1024];
        snprintf(path, sizeof path, "/proc/%d/stat", pids[i]);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t length = fd < 0 ? -1 : read(fd, stat, sizeof stat - 1);
        if (fd >= 0)
            close(fd);
        stat[length > 0 ? length : 0] = 0;
        char *at = strrchr(stat, ')');
        unsigned long user = 0, system = 0, children_user = 0, children_system = 0;
        if (at && sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %lu %lu",
                         &user, &system, &children_user, &children_system) == 4)
            ticks += user + system + children_user + children_system;
    }
    uint64_t used = ticks * (1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK));
    return used > execution->prior_cpu_ns ? used - execution->prior_cpu_ns : 0;
}

bool walk_finds_none(struct execution *execution)
{
    pid_t found;
    return walk(execution, &found, 1) == 0;
}
