/* Looking for what belongs to others: the host's files, the agent's, earlier programs'. */
#include "probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

static const int no_such_file[] = {EPERM,  EACCES,  ENOSYS, ENOENT, EROFS, ENXIO, ESRCH,
                                   EINVAL, ENOTDIR, EIO,    ENODEV, EBUSY, EXDEV, 0};

/* A file that can be opened but has nothing to say counts as refused. */
static long read_something(const void *path) {
    char buffer[64];
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t got = read(fd, buffer, sizeof buffer);
    if (got == 0) errno = ENOENT;
    return got > 0 ? 0 : -1;
}

static long list_something(const void *path) {
    DIR *folder = opendir(path);
    if (!folder) return -1;
    for (struct dirent *entry; (entry = readdir(folder));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..")) return 0;
    errno = ENOENT;
    return -1;
}

/* Opening is enough: nothing is written, in case that it works. */
static long open_to_write(const void *path) {
    struct stat status;
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0) return -1;
    if (!S_ISCHR(status.st_mode) || status.st_rdev != makedev(1, 3)) return 0;
    errno = EACCES; /* masked: what was opened is /dev/null */
    return -1;
}

/* Its owner may open it; the kernel refuses what is written. */
static long map_identifiers(const void *path) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -1 : (long)write(fd, "0 0 1\n", 6);
}

static long follow(const void *path) {
    char target[4096];
    return (long)readlink(path, target, sizeof target);
}

/* Any process but our own family: its environment, memory, descriptors. */
static long spy_on_others(const void *file) {
    DIR *all = opendir("/proc");
    if (!all) return -1;
    for (struct dirent *entry; (entry = readdir(all));) {
        char path[128];
        long pid = atol(entry->d_name);
        if (pid <= 0 || pid == getpid() || pid == getppid()) continue;
        struct stat status;
        snprintf(path, sizeof path, "/proc/%ld/status", pid);
        if (stat(path, &status) == 0 && status.st_uid == getuid()) continue; /* same learner */
        snprintf(path, sizeof path, "/proc/%ld/%s", pid, (const char *)file);
        if (read_something(path) == 0) return 0;
    }
    closedir(all);
    errno = EACCES;
    return -1;
}

static int look(int argc, char **argv) {
    static const char *const readable[] = {
        "/proc/1/environ", "/proc/1/cmdline", "/proc/1/maps", "/proc/1/mem", "/proc/1/auxv",
        "/proc/1/stack", "/proc/1/syscall", "/proc/1/io", "/proc/1/mountinfo", "/proc/1/cgroup",
        "/proc/kcore", "/proc/kmsg", "/proc/keys", "/proc/key-users",
        "/proc/sched_debug", "/proc/timer_list", "/proc/timer_stats", "/proc/latency_stats",
        "/proc/slabinfo", "/proc/pagetypeinfo", "/proc/kpageflags", "/proc/kpagecount",
        "/proc/vmallocinfo", "/proc/scsi/scsi", "/dev/mem", "/dev/kmsg",
        "/dev/port", "/dev/vda", "/dev/sda", "/dev/loop0", "/dev/kvm", "/dev/fuse", "/dev/net/tun",
        "/dev/console", "/dev/tty0", "/dev/hvc0", "/dev/vsock", "/dev/cpu/0/msr", "/dev/rtc0",
        "/dev/btrfs-control", "/dev/mapper/control", "/dev/uinput", "/dev/vhost-net",
        "/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/root/.ssh/id_rsa",
        "/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock",
        "/var/lib/docker", "/var/run/secrets/kubernetes.io/serviceaccount/token",
        "/sys/class/dmi/id/product_uuid", "/sys/class/dmi/id/product_serial",
    };
    static const char *const listed[] = {
        "/sys/firmware", "/sys/kernel/debug", "/proc/1/root", "/proc/1/cwd", "/proc/1/fd",
        "/proc/1/fdinfo", "/proc/1/map_files", "/proc/1/task/1/fd", "/proc/scsi", "/proc/acpi",
        "/.assay/control", "/.assay/cgroup/memory", "/.assay/cgroup/unified", "/var/lib/assay",
        "/run/assay",
    };
    static const char *const writable[] = {
        "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname", "/proc/sys/kernel/pid_max",
        "/proc/sys/kernel/panic", "/proc/sys/kernel/sysrq", "/proc/sys/kernel/ns_last_pid",
        "/proc/sys/kernel/shmmax", "/proc/sys/kernel/msgmax", "/proc/sys/kernel/sem",
        "/proc/sys/vm/drop_caches", "/proc/sys/vm/overcommit_memory", "/proc/sys/vm/panic_on_oom",
        "/proc/sys/fs/file-max", "/proc/sys/fs/binfmt_misc/register", "/proc/sys/fs/suid_dumpable",
        "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/ping_group_range",
        "/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/net/core/somaxconn",
        "/proc/sys/user/max_user_namespaces", "/proc/irq/0/smp_affinity",
        "/proc/irq/default_smp_affinity", "/proc/mtrr", "/proc/acpi/wakeup", "/proc/bus/pci/00",
        "/proc/1/oom_score_adj", "/proc/1/comm", "/proc/1/clear_refs", "/proc/1/uid_map",
        "/proc/1/gid_map", "/proc/1/setgroups", "/proc/1/coredump_filter",
        "/proc/timer_list", "/proc/latency_stats", "/dev/mem", "/dev/kmsg", "/dev/vda",
        "/sys/kernel/uevent_helper", "/sys/power/state", "/sys/fs/cgroup/cgroup.procs",
        "/sys/fs/cgroup/release_agent", "/sys/fs/cgroup/memory/release_agent",
        "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/cgroup.kill",
        "/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
    };
    static const char *const links[] = {"/proc/1/exe", "/proc/1/root", "/proc/1/cwd",
                                        "/proc/1/ns/mnt", "/proc/1/fd/0", "/proc/1/fd/3"};
    char name[128];
    (void)argc, (void)argv;
    for (size_t i = 0; i < sizeof readable / sizeof *readable; i++) {
        snprintf(name, sizeof name, "read:%s", readable[i]);
        attempt_for(name, read_something, readable[i], no_such_file);
    }
    for (size_t i = 0; i < sizeof listed / sizeof *listed; i++) {
        snprintf(name, sizeof name, "list:%s", listed[i]);
        attempt_for(name, list_something, listed[i], no_such_file);
    }
    for (size_t i = 0; i < sizeof writable / sizeof *writable; i++) {
        snprintf(name, sizeof name, "write:%s", writable[i]);
        attempt_for(name, open_to_write, writable[i], no_such_file);
    }
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        snprintf(name, sizeof name, "link:%s", links[i]);
        attempt_for(name, follow, links[i], no_such_file);
    }
    attempt_for("write:/proc/self/uid_map", map_identifiers, "/proc/self/uid_map", no_such_file);
    attempt_for("write:/proc/self/gid_map", map_identifiers, "/proc/self/gid_map", no_such_file);
    attempt_for("environ-of-others", spy_on_others, "environ", no_such_file);
    attempt_for("cmdline-of-others", spy_on_others, "cmdline", no_such_file);
    attempt_for("memory-of-others", spy_on_others, "mem", no_such_file);
    attempt_for("maps-of-others", spy_on_others, "maps", no_such_file);
    return end_of_attempts();
}

/* The agent's folder ------------------------------------------------------------------------------ */

#define FOLDER "/.assay"

static long make_file(const void *path) { return open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600); }
static long rename_folder(const void *to) { return rename(FOLDER, to); }

/* `action` on everything in the agent's folder but the control groups, and on a few guesses, until
 * one works. */
static long for_each_in(const char *folder, long (*action)(const char *path), int *problem) {
    DIR *open_folder = opendir(folder);
    if (!open_folder) return -1;
    for (struct dirent *entry; (entry = readdir(open_folder));) {
        char path[1024];
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, "cgroup") == 0) continue;
        snprintf(path, sizeof path, "%.500s/%.400s", folder, entry->d_name);
        if (action(path) >= 0) {
            say("through %s\n", path);
            return 0;
        }
        if (errno != ENOENT) *problem = errno;
        if (for_each_in(path, action, problem) == 0) return 0;
    }
    closedir(open_folder);
    return -1;
}

static long for_each_name(long (*action)(const char *path)) {
    static const char *const guesses[] = {"socket", "agent.sock", "secret", "control/socket",
                                          "control/secret", "control/agent.sock"};
    int problem = ENOENT;
    if (for_each_in(FOLDER, action, &problem) == 0) return 0;
    for (size_t i = 0; i < sizeof guesses / sizeof *guesses; i++) {
        char path[64];
        snprintf(path, sizeof path, FOLDER "/%s", guesses[i]);
        if (action(path) >= 0) return 0;
        if (errno != ENOENT) problem = errno;
    }
    errno = problem;
    return -1;
}

static long connect_to(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return fd < 0 ? -1 : connect(fd, (struct sockaddr *)&address, sizeof address);
}

static long move_away(const char *path) {
    return syscall(SYS_renameat2, AT_FDCWD, path, AT_FDCWD, FOLDER "/moved", 0);
}

static long chmod_it(const char *path) {
    struct stat status;
    if (lstat(path, &status) < 0) return -1;
    return chmod(path, 0777);
}

static long secret_in(const char *path) {
    struct stat status;
    if (stat(path, &status) == 0 && S_ISREG(status.st_mode) && strstr(path, "secret"))
        return read_something(path);
    errno = ENOENT;
    return -1;
}

static long connect_to_agent(const void *unused) { (void)unused; return for_each_name(connect_to); }
static long move_agents_files(const void *unused) { (void)unused; return for_each_name(move_away); }
static long chmod_agents_files(const void *unused) { (void)unused; return for_each_name(chmod_it); }
static long read_agents_secret(const void *unused) { (void)unused; return for_each_name(secret_in); }
static long remove_agents_file(const char *path) { return unlink(path); }
static long remove_agents_files(const void *unused) {
    (void)unused;
    return for_each_name(remove_agents_file);
}

/* The group with the limits is at the top of what the agent is shown of each hierarchy. */
static long for_each_group_file(const char *const *names, long (*action)(const char *path)) {
    char path[512];
    int problem = ENOENT;
    DIR *folder = opendir(FOLDER "/cgroup");
    if (!folder) return -1;
    for (struct dirent *entry; (entry = readdir(folder));)
        for (const char *const *name = names; *name; name++) {
            if (entry->d_name[0] == '.') continue;
            snprintf(path, sizeof path, FOLDER "/cgroup/%.200s/%s", entry->d_name, *name);
            if (action(path) >= 0) {
                say("through %s\n", path);
                return 0;
            }
            if (errno != ENOENT) problem = errno;
        }
    closedir(folder);
    errno = problem;
    return -1;
}

static long open_for_writing(const char *path) { return open(path, O_WRONLY | O_CLOEXEC); }

static long raise_limits(const void *unused) {
    static const char *const names[] = {
        "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max", "memory.swap.max",
        "memory.oom_control", "memory.swappiness", "memory.oom.group", "pids.max",
        "cpu.cfs_quota_us", "cpu.max", "cpu.shares", "cpu.weight", "cpuset.cpus", "devices.allow",
        "cgroup.freeze", "cgroup.type", "notify_on_release", "release_agent", NULL};
    (void)unused;
    return for_each_group_file(names, open_for_writing);
}

static long enter_group(const char *path) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -1 : (long)write(fd, "0", 1);
}

static long move_out(const void *unused) {
    static const char *const names[] = {"cgroup.procs", "tasks", "../cgroup.procs", NULL};
    (void)unused;
    return for_each_group_file(names, enter_group);
}

static long write_over_agent(const void *path) { return open(path, O_WRONLY | O_CLOEXEC); }

static int meet_agent(int argc, char **argv) {
    static const int refusals[] = {EPERM, EACCES, ENOSYS, ENOENT, EROFS, EBUSY, EXDEV, ETXTBSY,
                                   ECONNREFUSED, ENXIO, ELOOP, ENOTSOCK, 0};
    (void)argc, (void)argv;
    attempt_for("read-secret", read_agents_secret, NULL, refusals);
    attempt_for("raise-limits", raise_limits, NULL, refusals);
    attempt_for("write-over-agent", write_over_agent, FOLDER "/agent", refusals);
    attempt_for("write-over-running-agent", write_over_agent, "/proc/1/exe", refusals);
    attempt_for("rename-folder", rename_folder, "/workspace/assay", refusals);
    attempt_for("rename-folder-beside", rename_folder, "/.assay-old", refusals);
    attempt_for("make-file-in-folder", make_file, FOLDER "/planted", refusals);
    /* The sandbox's root has the agent's own rights over its socket and over the groups below the
     * limits: it may harm itself by them, and gains nothing (see `usurp`, and ghost `moved`). */
    if (getuid() != 0) {
        attempt_for("connect-to-agent", connect_to_agent, NULL, refusals);
        attempt_for("leave-control-group", move_out, NULL, refusals);
        attempt_for("make-file-beside-socket", make_file, FOLDER "/control/planted", refusals);
        attempt_for("move-files", move_agents_files, NULL, refusals);
        attempt_for("chmod-files", chmod_agents_files, NULL, refusals);
        attempt_for("remove-files", remove_agents_files, NULL, refusals);
    }
    return end_of_attempts();
}

/* Puts itself in the agent's place and listens there. */
static int impostor = -1;

static long take_place(const char *path) {
    struct stat status;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (lstat(path, &status) < 0) return -1;
    if (!S_ISSOCK(status.st_mode)) {
        errno = ENOENT;
        return -1;
    }
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    impostor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (unlink(path) < 0 || bind(impostor, (struct sockaddr *)&address, sizeof address) < 0) return -1;
    chmod(path, 0777);
    return listen(impostor, 8);
}

static int usurp(int argc, char **argv) {
    (void)argc, (void)argv;
    if (for_each_name(take_place) < 0) {
        say("blocked usurp %s\n", errno_name(errno));
        sleep_for_ever();
    }
    say("usurped\n");
    for (;;) {
        unsigned char bytes[256];
        int connection = accept(impostor, NULL, NULL);
        ssize_t got = read(connection, bytes, sizeof bytes);
        say("received %zd bytes\n", got);
        close(connection);
    }
}

/* Looks for the inverse of its argument in a file, so that it does not find itself. */
static int file_holds(const char *path, const unsigned char *inverse, size_t size) {
    static unsigned char data[1 << 20];
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t got = read(fd, data, sizeof data);
    close(fd);
    for (ssize_t at = 0; at + (ssize_t)size <= got; at++) {
        size_t same = 0;
        while (same < size && (unsigned char)~data[at + (ssize_t)same] == inverse[same]) same++;
        if (same == size) return 1;
    }
    return 0;
}

static int search_folder(const char *path, const unsigned char *inverse, size_t size, int depth) {
    DIR *folder = opendir(path);
    if (!folder) return 0;
    int found = 0;
    for (struct dirent *entry; !found && (entry = readdir(folder));) {
        char below[4096];
        struct stat status;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        if (lstat(below, &status) < 0) continue;
        if (S_ISREG(status.st_mode)) found = file_holds(below, inverse, size);
        else if (S_ISDIR(status.st_mode) && depth > 0)
            found = search_folder(below, inverse, size, depth - 1);
    }
    closedir(folder);
    if (found) say("in %s\n", path);
    return found;
}

static unsigned char hidden[64];
static size_t hidden_size;

static long search(const void *unused) {
    static const char *const folders[] = {"/.assay", "/proc/1", "/proc", "/run", "/tmp",
                                          "/var/tmp", "/dev/shm", "/workspace", "/etc"};
    (void)unused;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (search_folder(folders[i], hidden, hidden_size, i < 2 ? 1 : 2)) return 0;
    errno = ENOENT;
    return -1;
}

static int find_secret(int argc, char **argv) {
    static const int refusals[] = {ENOENT, 0};
    (void)argc;
    for (const char *at = argv[1]; at[0] && at[1] && hidden_size < sizeof hidden; at += 2) {
        unsigned byte;
        if (sscanf(at, "%2x", &byte) != 1) return 64;
        hidden[hidden_size++] = (unsigned char)byte;
    }
    attempt_for("find-secret", search, NULL, refusals);
    return end_of_attempts();
}

static int devices(int argc, char **argv) {
    (void)argc, (void)argv;
    DIR *all = opendir("/dev");
    if (!all) fail("/dev");
    for (struct dirent *entry; (entry = readdir(all));)
        if (entry->d_name[0] != '.') say("%s\n", entry->d_name);
    closedir(all);
    return 0;
}

/* Mounts: what can be written, what can be executed -------------------------------------------------- */

static long link_hard(const void *path) { return link(path, "/workspace/hard-link"); }

static int root_write(int argc, char **argv) {
    static const char *const places[] = {"/planted", "/etc/planted", "/usr/planted",
                                         "/usr/bin/planted", "/usr/lib/planted", "/bin/planted",
                                         "/lib/planted", "/var/planted", "/var/lib/planted",
                                         "/run/planted", "/opt/planted", "/root/planted",
                                         "/proc/planted", "/dev/planted", "/.assay/planted",
                                         "/etc/ld.so.preload", "/etc/passwd", "/usr/bin/env",
                                         "/usr/bin/python3", "/usr/local/bin/python3"};
    static const char *const targets[] = {"/etc/passwd", "/usr/bin/env", "/.assay/agent", "/proc/1/exe",
                                          "/dev/null"};
    char name[128];
    (void)argc, (void)argv;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(name, sizeof name, "write:%s", places[i]);
        attempt_for(name, make_file, places[i], no_such_file);
    }
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        snprintf(name, sizeof name, "hard-link:%s", targets[i]);
        attempt_for(name, link_hard, targets[i], no_such_file);
    }
    return end_of_attempts();
}

/* File systems of the kernel's own, in which nobody can make a device or a set-user-id file. */
static int pseudo(const char *type) {
    static const char *const types[] = {"proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i], type) == 0) return 1;
    return 0;
}

static int mounts(int argc, char **argv) {
    char line[4096], point[1024], type[64];
    FILE *all = fopen("/proc/self/mountinfo", "re");
    (void)argc, (void)argv;
    if (!all) fail("/proc/self/mountinfo");
    while (fgets(line, sizeof line, all)) {
        struct statvfs status;
        struct stat what;
        const char *rest = strstr(line, " - ");
        if (sscanf(line, "%*d %*d %*s %*s %1023s", point) != 1 || !rest) continue;
        if (sscanf(rest, " - %63s", type) != 1) continue;
        if (statvfs(point, &status) < 0 || lstat(point, &what) < 0) continue;
        int flags = (int)status.f_flag, rights = 0;
        /* What a runtime puts over files of /proc is empty; /dev is where devices belong. */
        int bare = strncmp(point, "/proc/", 6) == 0 || strcmp(point, "/dev") == 0;
        if (!pseudo(type) && !bare && !S_ISCHR(what.st_mode)) rights = ~flags & (ST_NOSUID | ST_NODEV);
        if (strcmp(point, "/") == 0) rights |= ~flags & ST_RDONLY;
        say("%s %s %s%s%s %s\n", rights ? "ALLOWED" : "blocked", type,
            flags & ST_RDONLY ? "ro" : "rw", flags & ST_NOSUID ? ",nosuid" : "",
            flags & ST_NODEV ? ",nodev" : "", point);
    }
    fclose(all);
    return 0;
}

const struct verb look_verbs[] = {
    {"look", 0, look},
    {"agent", 0, meet_agent},
    {"usurp", 0, usurp},
    {"find-secret", 1, find_secret},
    {"devices", 0, devices},
    {"root-write", 0, root_write},
    {"mounts", 0, mounts},
    {NULL, 0, NULL},
};
