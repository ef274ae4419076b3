/* Executions without groups of the kernel's: their processes are found by walking /proc.
 *
 * A supplementary group id, which a learner can't give back, marks the processes of an execution. */
#define _GNU_SOURCE
#include "agent.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIDS_MOST = 4096 };

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
        if (executions[i].state == PREPARED && executions[i].pid == pid)
            return false;
    return true;
}

static int walk(struct execution *execution, pid_t *pids)
{
    int count = 0, running = 0;
    for (int i = 0; i < SLOTS; i++)
        running += executions[i].state == RUNNING || executions[i].state == ENDING;
    walker = execution;
    walker_alone = running <= 1;
    DIR *folder = opendir("/proc");
    for (struct dirent *entry; folder && count < PIDS_MOST && (entry = readdir(folder));) {
        pid_t pid = atoi(entry->d_name);
        if (pid > 1 && pid != getpid() && belongs(pid))
            pids[count++] = pid;
    }
    if (folder)
        closedir(folder);
    return count;
}

/* Stopped processes make no children: once two walks find the same ones, these are all. */
void walk_kill(struct execution *execution)
{
    static pid_t pids[PIDS_MOST];
    for (int rounds = 0, before = -1, count; rounds < 100; rounds++, before = count) {
        count = walk(execution, pids);
        for (int i = 0; i < count; i++)
            kill(pids[i], SIGSTOP);
        if (count == before)
            break;
    }
    for (int i = walk(execution, pids) - 1; i >= 0; i--)
        kill(pids[i], SIGKILL);
}

/* kill(-1) reaches all processes of a user in one step, so that not even a chain of forks wins;
 * but only where nobody else has this user id. */
bool walk_kill_all(struct execution *execution)
{
    if (getpid() != 1 || !can_change_user || execution->user == 0)
        return false;
    for (int i = 0; i < SLOTS; i++)
        if (&executions[i] != execution && executions[i].user == execution->user &&
            (executions[i].state == RUNNING || executions[i].state == ENDING))
            return false;
    pid_t helper = fork();
    if (helper == 0) {
        uid_t user = execution->user;
        if (!setgroups(0, NULL) && !setresgid(user, user, user) && !setresuid(user, user, user))
            kill(-1, SIGKILL);
        _exit(0);
    }
    return helper > 0;
}

uint64_t walk_cpu(struct execution *execution)
{
    static pid_t pids[PIDS_MOST];
    uint64_t ticks = 0;
    for (int i = walk(execution, pids) - 1; i >= 0; i--) {
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
    return ticks * (1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK));
}

bool walk_finds_none(struct execution *execution)
{
    static pid_t pids[PIDS_MOST];
    return walk(execution, pids) == 0;
}
