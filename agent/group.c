/* What the kernel keeps together: which processes belong to an execution, what they used, and how
 * all of them are killed.
 *
 * The driver shows the agent one folder for each cgroup hierarchy that it may use. Where a folder
 * can measure or kill, every slot has a group of its own in it, made once and used again (a group
 * that is removed lives on in the kernel for as long as a page of it does); the others are joined
 * as they are. Joining costs milliseconds after a pause, so it happens before the request.
 *
 * Without such folders, walk.c finds the processes. */
#define _GNU_SOURCE
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { KILLS_BY_PROCESS = 3, HIERARCHIES_MOST = 12, NAME_MOST = 48, MARKER_BASE = 60000,
       PIDS_MOST = 4096, RIGHT_LOOKS = 20000, DYING_MOST = 64, PEAK_WORTH_RENEWING = 1 << 20,
       KILLS_UNTIL_FORGIVEN = 20, SHARES_PERIOD = 100000000 /* ns */ };

/* What is there is looked for once, in the group that is shown: no group below it has more. */
static struct hierarchy { int folder; bool kills, counts_time, counts_memory; }
    hierarchies[HIERARCHIES_MOST];
static int hierarchy_count;
static bool can_kill, can_measure;
static bool peak_stays; /* the kernel can't set a group's peak back: version 2 before Linux 6.12 */
static int dying;       /* groups that were removed while files were charged to them */
static int whole = -1;  /* counts who is killed in all of the sandbox, where no groups are given */
static int share = -1;  /* the file that says how much of the processors all programs get */

struct slot slots[SLOTS];

static bool has(int folder, const char *file)
{
    return faccessat(folder, file, F_OK, 0) == 0;
}

/* Of several files of one meaning, the first that is there. */
static void open_file(int *fd, int folder, const char *file, int flags)
{
    if (*fd < 0)
        *fd = openat(folder, file, flags | O_CLOEXEC);
}

/* A group of its own for each slot pays where something is read from it or killed by it. The
 * root group of a cgroup2 tree lacks these files, so a driver shows a group below it. */
static bool slotted(const struct hierarchy *hierarchy)
{
    return hierarchy->kills || hierarchy->counts_time || hierarchy->counts_memory;
}

/* On version 2, groups can be made ready only once process 1 is in its own, so it may already run by
 * then. The right to put processes into this one is what the driver gives last. */
static bool wait_for_right(int folder)
{
    for (int i = 0; faccessat(folder, "cgroup.procs", W_OK, 0) < 0; i++) {
        if (i == RIGHT_LOOKS || errno == ENOENT)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
    return true;
}

static bool add(int folder)
{
    if (hierarchy_count == HIERARCHIES_MOST || !wait_for_right(folder) ||
        fcntl(folder, F_SETFD, FD_CLOEXEC) < 0)
        return false;
    struct hierarchy found = {
        .folder = folder,
        .kills = has(folder, "cgroup.kill") || has(folder, "freezer.state"),
        .counts_time = has(folder, "cpuacct.usage"),
        .counts_memory = has(folder, "memory.max_usage_in_bytes") || has(folder, "memory.current"),
    };
    can_kill |= found.kills;
    can_measure |= slotted(&found);
    open_file(&share, folder, "cpu.cfs_quota_us", O_RDWR);
    open_file(&share, folder, "cpu.max", O_RDWR);
    hierarchies[hierarchy_count++] = found;
    return true;
}

/* The folders are kept open: once the agent listens, the driver may take them out of the sandbox's
 * sight, so that not even its root can leave a group. False when a group is shown but can't be
 * used: then nothing would hold the programs. */
bool groups_find(const char *directory)
{
    bool usable = true;
    DIR *folder = opendir(directory);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        if (entry->d_name[0] == '.')
            continue;
        int fd = openat(dirfd(folder), entry->d_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            usable &= errno == ENOTDIR || errno == ENOENT; /* a file, or a link to nothing */
        else if (has(fd, "cgroup.procs"))
            usable &= add(fd);
        else
            close_fd(&fd);
    }
    if (folder)
        closedir(folder);
    return usable;
}

/* The same of descriptors that were inherited: they are in no place where anybody could find them. */
bool groups_inherit(int first, int count)
{
    bool usable = true;
    for (int fd = first; fd < first + count; fd++)
        usable &= add(fd);
    return usable;
}

/* What an engine shows of its container's own group is to be read only. */
void groups_watch(void)
{
    if (hierarchy_count == 0) {
        open_file(&whole, AT_FDCWD, "/sys/fs/cgroup/memory/memory.oom_control", O_RDONLY);
        open_file(&whole, AT_FDCWD, "/sys/fs/cgroup/memory.events", O_RDONLY);
    }
}

bool groups_found(void)
{
    return hierarchy_count > 0;
}

bool groups_can_kill(void)
{
    return can_kill;
}

bool groups_can_measure(void)
{
    return can_measure;
}

gid_t group_marker(const struct slot *slot)
{
    return can_kill ? 0 : (gid_t)(MARKER_BASE + (slot - slots));
}

/* ---- slots ---- */

/* Relative to a hierarchy's folder. */
static void slot_name(char name[NAME_MOST], const struct slot *slot, const char *file)
{
    snprintf(name, NAME_MOST, "%d.%u%s", (int)(slot - slots), slot->renewed, file);
}

static int slot_folder(const struct hierarchy *hierarchy, const struct slot *slot)
{
    char name[NAME_MOST];
    slot_name(name, slot, "");
    return openat(hierarchy->folder, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static void slot_files(struct slot *slot, const struct hierarchy *hierarchy, int folder)
{
    if (hierarchy->kills) {
        open_file(&slot->kill, folder, "cgroup.kill", O_WRONLY);
        open_file(&slot->freezer, folder, "freezer.state", O_RDWR);
        open_file(&slot->processes, folder, "cgroup.procs", O_RDONLY);
    }
    if (hierarchy->counts_time)
        open_file(&slot->cpu, folder, "cpuacct.usage", O_RDONLY);
    if (!hierarchy->counts_memory)
        return;
    open_file(&slot->peak, folder, "memory.max_usage_in_bytes", O_RDWR);
    open_file(&slot->peak, folder, "memory.peak", O_RDWR);
    open_file(&slot->peak, folder, "memory.peak", O_RDONLY); /* before Linux 6.12 */
    open_file(&slot->oom, folder, "memory.oom_control", O_RDONLY);
    open_file(&slot->oom, folder, "memory.events", O_RDONLY);
}

/* Version 1 counts the memory of TCP and UDP apart, and only in groups that have a limit for it;
 * the one above is the driver's, and holds for all of them together. */
static void limit_sockets(int above, int folder)
{
    int from = -1, to = -1;
    char limit[32];
    open_file(&from, above, "memory.kmem.tcp.limit_in_bytes", O_RDONLY);
    open_file(&to, folder, "memory.kmem.tcp.limit_in_bytes", O_WRONLY);
    ssize_t length = from < 0 || to < 0 ? 0 : read(from, limit, sizeof limit);
    if (length > 0)
        (void)!write(to, limit, (size_t)length);
    close_fd(&from);
    close_fd(&to);
}

bool slot_open(struct slot *slot)
{
    if (slot->open)
        return true;
    slot->kill = slot->freezer = slot->processes = -1;
    slot->cpu = slot->peak = slot->oom = -1;
    for (int i = 0; i < hierarchy_count; i++) {
        char name[NAME_MOST];
        if (!slotted(&hierarchies[i]))
            continue;
        slot_name(name, slot, "");
        if (mkdirat(hierarchies[i].folder, name, 0700) < 0 && errno != EEXIST)
            return false;
        int folder = slot_folder(&hierarchies[i], slot);
        if (folder < 0)
            return false;
        if (hierarchies[i].counts_memory)
            limit_sockets(hierarchies[i].folder, folder);
        slot_files(slot, &hierarchies[i], folder);
        close_fd(&folder);
    }
    for (int i = 0; i < hierarchy_count && slot->cpu < 0; i++) { /* cgroup2 without cpuacct */
        char name[NAME_MOST];
        slot_name(name, slot, "/cpu.stat");
        open_file(&slot->cpu, hierarchies[i].folder, name, O_RDONLY);
    }
    if (slot->oom < 0 && whole >= 0)
        slot->oom = fcntl(whole, F_DUPFD_CLOEXEC, 0);
    slot->open = true;
    return true;
}

bool slot_join(const struct slot *slot)
{
    for (int i = 0; i < hierarchy_count; i++) {
        char name[NAME_MOST] = "cgroup.procs";
        if (slotted(&hierarchies[i]))
            slot_name(name, slot, "/cgroup.procs");
        int fd = openat(hierarchies[i].folder, name, O_WRONLY | O_CLOEXEC);
        bool joined = fd >= 0 && write(fd, "0", 1) == 1;
        if (fd >= 0)
            close(fd);
        if (!joined)
            return false;
    }
    return true;
}

/* A keeper's number is written before the program runs that was in the slot first. Nothing comes of
 * it when that process has left none. */
void slot_learn_keeper(struct slot *slot)
{
    pid_t pid;
    if (slot->keeper_fd < 0 || slot->keeper > 0)
        return;
    ssize_t got = recv(slot->keeper_fd, &pid, sizeof pid, MSG_DONTWAIT);
    /* It may have been killed, and waited for, while the first process was about to say that. */
    if (got == (ssize_t)sizeof pid && kill(pid, 0) == 0)
        slot->keeper = pid;
    else if (got >= 0)
        close_fd(&slot->keeper_fd);
}

void slot_leave(struct slot *slot)
{
    slot_learn_keeper(slot);
    if (slot->keeper == 0) /* nobody is there who would see this */
        close_fd(&slot->keeper_fd);
    slot->taken = false;
}

enum { TEXT_MOST = 2048 };

static bool read_text(int fd, char text[TEXT_MOST])
{
    ssize_t length = fd < 0 ? -1 : pread(fd, text, TEXT_MOST - 1, 0);
    if (length > 0)
        text[length] = 0;
    return length > 0;
}

/* The number after `name` in a text of such lines, or the text's only number without a name. */
static bool number_in(const char *text, const char *name, uint64_t *value)
{
    size_t length = strlen(name);
    while (length && (strncmp(text, name, length) || text[length] != ' ')) {
        text = strchr(text, '\n');
        if (!text++)
            return false;
    }
    *value = strtoull(text + length, NULL, 10);
    return true;
}

static bool read_number(int fd, const char *name, uint64_t *value)
{
    char text[TEXT_MOST];
    return read_text(fd, text) && number_in(text, name, value);
}

/* Version 1 has nothing but the number; version 2 has one of microseconds, with a name. */
static bool read_cpu(int fd, uint64_t *cpu_ns)
{
    char text[TEXT_MOST];
    if (!read_text(fd, text))
        return false;
    if (!number_in(text, "usage_usec", cpu_ns))
        return number_in(text, "", cpu_ns);
    *cpu_ns *= 1000;
    return true;
}

void slot_reset(struct slot *slot)
{
    if (slot->peak >= 0 && pwrite(slot->peak, "0", 1, 0) < 0)
        peak_stays = true;
}

void slot_usage(struct slot *slot, struct usage *usage)
{
    usage->cpu = read_cpu(slot->cpu, &usage->cpu_ns);
    usage->peak = read_number(slot->peak, "", &usage->peak_bytes);
    usage->oom = read_number(slot->oom, "oom_kill", &usage->oom_kills);
}

/* Where the peak can't be set back, it is this execution's if it has risen. Otherwise it says nothing
 * but that less was used, and what the first process is known to have used has to do. */
void slot_facts(struct slot *slot, const struct usage *base, struct usage *used)
{
    slot_usage(slot, used);
    if (!peak_stays || !used->peak)
        return;
    slot->stale = used->peak_bytes > PEAK_WORTH_RENEWING && dying < DYING_MOST;
    used->peak = used->peak_bytes > base->peak_bytes;
}

/* New groups for a slot that nobody is in. One that had files charged to it lives on in the kernel
 * for as long as they do, so there are not many of these. */
void slot_renew(struct slot *slot)
{
    int *files[] = {&slot->kill, &slot->freezer, &slot->processes, &slot->cpu, &slot->peak,
                    &slot->oom};
    uint64_t pages = 0;
    int counts = -1;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        close_fd(files[i]);
    for (int i = 0; i < hierarchy_count; i++) {
        char name[NAME_MOST];
        slot_name(name, slot, "/memory.stat");
        open_file(&counts, hierarchies[i].folder, name, O_RDONLY);
        dying += read_number(counts, "file", &pages) && pages > 0;
        close_fd(&counts);
        slot_name(name, slot, "");
        if (slotted(&hierarchies[i]))
            (void)!unlinkat(hierarchies[i].folder, name, AT_REMOVEDIR);
    }
    slot->open = slot->stale = false;
    slot->renewed++;
    slot->keeper_died = 0; /* not by accident: the next may come at once */
}

/* ---- what execution.c asks ---- */

/* Version 1 makes a list when a descriptor is first read, and shows that one until nobody has
 * asked for a second: for a new list it takes a new descriptor. */
static int open_processes(const struct slot *slot)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", slot->processes);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* Whether nobody is left in the group but the keeper. */
static bool only_keeper(struct slot *slot)
{
    char text[64];
    slot_learn_keeper(slot);
    int fd = open_processes(slot);
    ssize_t length = pread(fd, text, sizeof text - 1, 0);
    if (fd < 0)
        return false;
    close(fd);
    if (length <= 0)
        return true;
    text[length] = 0;
    char *end;
    return slot->keeper > 0 && strtol(text, &end, 10) == slot->keeper && !strcmp(end, "\n");
}

bool group_empty(struct execution *execution)
{
    if (execution->slot->processes >= 0)
        return only_keeper(execution->slot);
    return walk_finds_none(execution);
}

/* Signals each process of the group but the keeper. A process that this namespace can not see has
 * the number 0, which kill() takes for the caller's own group. */
static void kill_each(struct slot *slot)
{
    static char text[PIDS_MOST * 8];
    off_t offset = 0;
    slot_learn_keeper(slot);
    int fd = open_processes(slot);
    for (ssize_t length; (length = pread(fd, text, sizeof text - 1, offset)) > 0;) {
        text[length] = 0;
        char *last_line = strrchr(text, '\n');
        if (!last_line)
            break;
        offset += last_line + 1 - text;
        for (char *at = text; at < last_line; at = strchr(at, '\n') + 1) {
            pid_t pid = (pid_t)strtol(at, NULL, 10);
            if (pid > 1 && pid != slot->keeper)
                kill(pid, SIGKILL);
        }
    }
    close_fd(&fd);
}

/* What is frozen makes no children and can't run away; the signals act when it thaws. */
static void freeze_and_kill(struct slot *slot)
{
    (void)!pwrite(slot->freezer, "FROZEN", 6, 0);
    for (int i = 0; i < 50; i++) {
        char state[16] = {0};
        if (pread(slot->freezer, state, sizeof state - 1, 0) > 0 && !strncmp(state, "FROZEN", 6))
            break;
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    kill_each(slot);
    (void)!pwrite(slot->freezer, "THAWED", 6, 0);
}

/* What processes use inside the kernel beyond their share, such as by looking for memory where there
 * is none, they pay back before they go on, even to end: for seconds. Saying the share again
 * lets them off. At most once in its period, so that neighbours get twice their share at most. */
static void forgive(void)
{
    static uint64_t forgiven;
    char text[64];
    ssize_t length;
    if (share < 0 || now_ns() - forgiven < SHARES_PERIOD)
        return;
    forgiven = now_ns();
    if ((length = pread(share, text, sizeof text, 0)) > 0)
        (void)!pwrite(share, text, (size_t)length, 0);
}

void group_kill(struct execution *execution)
{
    struct slot *slot = execution->slot;
    if (execution->kills++ >= KILLS_UNTIL_FORGIVEN)
        forgive();
    if (slot->kill >= 0) {
        /* Most executions are few processes, which end at the first call. Only what outruns this
         * is killed with the group as a whole, and with it the keeper, who is slow to replace. */
        if (execution->kills > KILLS_BY_PROCESS)
            (void)!pwrite(slot->kill, "1", 1, 0);
        /* In any case: the kernel signals first threads only, and one that has ended loses the
         * signal, so that the others of its process would go on. */
        kill_each(slot);
    } else if (slot->freezer >= 0) {
        freeze_and_kill(slot);
    } else if (!walk_kill_all(execution)) {
        walk_kill(execution);
    }
}

uint64_t group_cpu(struct execution *execution)
{
    uint64_t cpu_ns;
    if (read_cpu(execution->slot->cpu, &cpu_ns))
        return cpu_ns - execution->base.cpu_ns;
    return walk_cpu(execution);
}
