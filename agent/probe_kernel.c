/* System calls that no learner needs, each with arguments that would work if it were allowed. */
#include "probe.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* Calls that libraries may not know yet; these numbers are the same on every architecture. */
#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_fsopen 430
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef SYS_quotactl_fd
#define SYS_quotactl_fd 443
#endif
#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425
#endif

struct call {
    const char *name;
    long number;
    uintptr_t arguments[6];
};

static long make_call(const void *context) {
    const struct call *call = context;
    const uintptr_t *a = call->arguments;
    return syscall(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static void make_calls(const struct call *calls) {
    for (; calls->name; calls++) attempt(calls->name, make_call, calls);
}

#define TEXT(string) ((uintptr_t)(string))

static void namespaces(void) {
    static struct clone_args user = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    static struct clone_args mounts = {.flags = CLONE_NEWNS, .exit_signal = SIGCHLD};
    const struct call calls[] = {
        {"unshare-user", SYS_unshare, {CLONE_NEWUSER}},
        {"unshare-user-and-mount", SYS_unshare, {CLONE_NEWUSER | CLONE_NEWNS}},
        {"unshare-user-and-net", SYS_unshare, {CLONE_NEWUSER | CLONE_NEWNET}},
        {"unshare-mount", SYS_unshare, {CLONE_NEWNS}},
        {"unshare-pid", SYS_unshare, {CLONE_NEWPID}},
        {"unshare-net", SYS_unshare, {CLONE_NEWNET}},
        {"unshare-ipc", SYS_unshare, {CLONE_NEWIPC}},
        {"unshare-uts", SYS_unshare, {CLONE_NEWUTS}},
        {"unshare-cgroup", SYS_unshare, {0x02000000}},
        {"unshare-time", SYS_unshare, {0x00000080}},
        {"clone-user", SYS_clone, {CLONE_NEWUSER | SIGCHLD}},
        {"clone-mount", SYS_clone, {CLONE_NEWNS | SIGCHLD}},
        {"clone-pid", SYS_clone, {CLONE_NEWPID | SIGCHLD}},
        {"clone3-user", SYS_clone3, {(uintptr_t)&user, sizeof user}},
        {"clone3-mount", SYS_clone3, {(uintptr_t)&mounts, sizeof mounts}},
        {NULL, 0, {0}},
    };
    make_calls(calls);
}

static void mounts(void) {
    static uint64_t attributes[4] = {0, 1 /* read-only off */, 0, 0};
    const struct call calls[] = {
        {"mount-tmpfs", SYS_mount, {TEXT("none"), TEXT("/tmp"), TEXT("tmpfs"), 0, 0}},
        {"mount-proc", SYS_mount, {TEXT("none"), TEXT("/tmp"), TEXT("proc"), 0, 0}},
        {"mount-sysfs", SYS_mount, {TEXT("none"), TEXT("/tmp"), TEXT("sysfs"), 0, 0}},
        {"mount-cgroup", SYS_mount, {TEXT("none"), TEXT("/tmp"), TEXT("cgroup2"), 0, 0}},
        {"mount-cgroup1", SYS_mount,
         {TEXT("none"), TEXT("/tmp"), TEXT("cgroup"), 0, TEXT("memory")}},
        {"mount-bind", SYS_mount, {TEXT("/"), TEXT("/tmp"), 0, 4096 /* MS_BIND */, 0}},
        {"mount-remount-rw", SYS_mount, {0, TEXT("/"), 0, 32 /* MS_REMOUNT */, 0}},
        {"mount-remount-bind-rw", SYS_mount, {0, TEXT("/"), 0, 32 | 4096, 0}},
        {"mount-suid-exec", SYS_mount, {0, TEXT("/tmp"), 0, 32 | 4096, 0}},
        {"mount-propagation", SYS_mount, {0, TEXT("/"), 0, 1 << 20 /* MS_SHARED */, 0}},
        {"mount-overlay", SYS_mount,
         {TEXT("none"), TEXT("/tmp"), TEXT("overlay"), 0,
          TEXT("lowerdir=/,upperdir=/workspace,workdir=/tmp")}},
        {"mount-fuse", SYS_mount, {TEXT("none"), TEXT("/tmp"), TEXT("fuse"), 0, TEXT("fd=0")}},
        {"mount-devpts", SYS_mount, {TEXT("none"), TEXT("/tmp"), TEXT("devpts"), 0, 0}},
        {"mount-mqueue", SYS_mount, {TEXT("none"), TEXT("/tmp"), TEXT("mqueue"), 0, 0}},
        {"mount-binfmt", SYS_mount, {TEXT("none"), TEXT("/tmp"), TEXT("binfmt_misc"), 0, 0}},
        {"umount-proc", SYS_umount2, {TEXT("/proc"), 2 /* MNT_DETACH */}},
        {"umount-tmp", SYS_umount2, {TEXT("/tmp"), 2}},
        {"umount-dev", SYS_umount2, {TEXT("/dev"), 2}},
        {"fsopen", SYS_fsopen, {TEXT("tmpfs"), 0}},
        {"open-tree-clone", SYS_open_tree, {(uintptr_t)AT_FDCWD, TEXT("/"), 1 | 0x8000}},
        {"mount-setattr", SYS_mount_setattr,
         {(uintptr_t)AT_FDCWD, TEXT("/"), 0x8000, (uintptr_t)attributes, sizeof attributes}},
        {"pivot-root", SYS_pivot_root, {TEXT("/tmp"), TEXT("/tmp")}},
        {"chroot", SYS_chroot, {TEXT("/tmp")}},
        {"swapon", SYS_swapon, {TEXT("/tmp/swap"), 0}},
        {"swapoff", SYS_swapoff, {TEXT("/tmp/swap")}},
        {"quotactl", SYS_quotactl, {0x800001u << 8, TEXT("/dev/null"), 0, 0}},
        {"quotactl-fd", SYS_quotactl_fd, {0, 0x800001u << 8, 0, 0}},
        {"mknod-device", SYS_mknodat,
         {(uintptr_t)AT_FDCWD, TEXT("/tmp/kmem"), S_IFCHR | 0666, 1 << 8 | 2}},
        {"mknod-block", SYS_mknodat,
         {(uintptr_t)AT_FDCWD, TEXT("/tmp/disk"), S_IFBLK | 0666, 8 << 8}},
        {NULL, 0, {0}},
    };
    make_calls(calls);
}

static void kernel_itself(void) {
    static union bpf_attr map = {
        .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    static struct perf_event_attr perf = {.type = PERF_TYPE_SOFTWARE,
                                          .size = sizeof perf,
                                          .config = PERF_COUNT_SW_CPU_CLOCK,
                                          .exclude_kernel = 1};
    static uint8_t ring[120];
    static char buffer[4096];
    const struct call calls[] = {
        {"bpf", SYS_bpf, {BPF_MAP_CREATE, (uintptr_t)&map, sizeof map}},
        {"perf-event-open", SYS_perf_event_open, {(uintptr_t)&perf, 0, (uintptr_t)-1, (uintptr_t)-1, 0}},
        {"userfaultfd", SYS_userfaultfd, {O_CLOEXEC}},
        {"userfaultfd-user-mode", SYS_userfaultfd, {O_CLOEXEC | 1}},
        {"io-uring-setup", SYS_io_uring_setup, {8, (uintptr_t)ring}},
        {"io-uring-enter", SYS_io_uring_setup + 1, {(uintptr_t)-1, 0, 0, 0, 0, 0}},
        {"io-uring-register", SYS_io_uring_setup + 2, {(uintptr_t)-1, 0, 0, 0}},
        {"keyctl", SYS_keyctl, {0 /* KEYCTL_GET_KEYRING_ID */, (uintptr_t)-3, 1}},
        {"keyctl-persistent", SYS_keyctl, {22, (uintptr_t)-1, (uintptr_t)-3}},
        {"add-key", SYS_add_key, {TEXT("user"), TEXT("probe"), TEXT("x"), 1, (uintptr_t)-3}},
        {"request-key", SYS_request_key, {TEXT("user"), TEXT("probe"), 0, (uintptr_t)-3}},
        {"kexec-load", SYS_kexec_load, {0, 0, 0, 0}},
#ifdef SYS_kexec_file_load
        {"kexec-file-load", SYS_kexec_file_load, {(uintptr_t)-1, (uintptr_t)-1, 0, 0, 0}},
#endif
        {"init-module", SYS_init_module, {TEXT(""), 0, TEXT("")}},
        {"finit-module", SYS_finit_module, {0, TEXT(""), 0}},
        {"delete-module", SYS_delete_module, {TEXT("probe"), O_NONBLOCK}},
        /* turns off Ctrl-Alt-Del: the one harmless command, should it be allowed */
        {"reboot", SYS_reboot, {0xfee1dead, 672274793, 0, 0}},
        {"acct", SYS_acct, {0}},
        {"syslog-read", SYS_syslog, {3, (uintptr_t)buffer, sizeof buffer}},
        {"syslog-clear", SYS_syslog, {5, 0, 0}},
        {"sethostname", SYS_sethostname, {TEXT("probe"), 5}},
        {"setdomainname", SYS_setdomainname, {TEXT("probe"), 5}},
        {"vhangup", SYS_vhangup, {0}},
        {"fanotify", SYS_fanotify_init, {0, O_RDONLY}},
        {"lookup-dcookie", SYS_lookup_dcookie, {0, (uintptr_t)buffer, sizeof buffer}},
#ifdef SYS_iopl
        {"iopl", SYS_iopl, {3}},
        {"ioperm", SYS_ioperm, {0x80, 1, 1}},
        {"modify-ldt", SYS_modify_ldt, {0, (uintptr_t)buffer, 16}},
#endif
#ifdef SYS__sysctl
        {"sysctl", SYS__sysctl, {(uintptr_t)buffer}},
#endif
#ifdef SYS_uselib
        {"uselib", SYS_uselib, {TEXT("/tmp/lib")}},
#endif
#ifdef SYS_nfsservctl
        {"nfsservctl", SYS_nfsservctl, {0, 0, 0}},
#endif
        {"move-pages-init", SYS_move_pages, {1, 0, 0, 0, 0, 0}},
        {"migrate-pages-init", SYS_migrate_pages, {1, 8, (uintptr_t)buffer, (uintptr_t)buffer}},
        {"kcmp-init", SYS_kcmp, {1, 1, 0, 0, 0}},
        {NULL, 0, {0}},
    };
    make_calls(calls);
}

/* Those that need a little more than one call ---------------------------------------------------- */

static long trace_init(const void *unused) {
    (void)unused;
    return ptrace(PTRACE_SEIZE, 1, NULL, NULL);
}

static char elsewhere[64];

static long read_init(const void *unused) {
    struct iovec here = {elsewhere, sizeof elsewhere}, there = {elsewhere, sizeof elsewhere};
    (void)unused;
    return process_vm_readv(1, &here, 1, &there, 1, 0);
}

static long write_init(const void *unused) {
    struct iovec here = {elsewhere, sizeof elsewhere}, there = {elsewhere, sizeof elsewhere};
    (void)unused;
    return process_vm_writev(1, &here, 1, &there, 1, 0);
}

static long take_descriptor_of_init(const void *unused) {
    (void)unused;
    long init = syscall(SYS_pidfd_open, 1, 0);
    if (init < 0) return -1;
    for (long fd = 0; fd < 64; fd++)
        if (syscall(SYS_pidfd_getfd, init, fd, 0) >= 0) return 0;
    return -1;
}

static long open_by_handle(const void *unused) {
    /* struct file_handle: 8 bytes, of the type "inode and generation": 2, the root of an ext4 */
    static uint32_t handle[4] = {8, 1, 2, 0};
    (void)unused;
    return syscall(SYS_open_by_handle_at, AT_FDCWD, handle, O_RDONLY);
}

static long enter_namespace(const void *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -1 : (long)syscall(SYS_setns, fd, 0);
}

static long map_page_zero(const void *unused) {
    (void)unused;
    syscall(SYS_personality, MMAP_PAGE_ZERO);
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                      -1, 0);
    return page == MAP_FAILED ? -1 : 0;
}

static long grow_pipe(const void *unused) {
    int ends[2];
    (void)unused;
    if (pipe2(ends, 0) < 0) return -1;
    return fcntl(ends[1], F_SETPIPE_SZ, 1 << 26);
}

static long lock_memory(const void *unused) {
    (void)unused;
    size_t size = (size_t)512 << 20;
    void *area = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED) return -1;
    return mlock(area, size);
}

static long map_huge_page(const void *unused) {
    (void)unused;
    void *page = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    return page == MAP_FAILED ? -1 : 0;
}

static int syscalls(int argc, char **argv) {
    static const int no_space[] = {EPERM, EACCES, ENOSYS, ENOMEM, EAGAIN, EINVAL, 0};
    static const int no_process[] = {EPERM, EACCES, ENOSYS, ESRCH, 0};
    static const int no_file[] = {EPERM, EACCES, ENOSYS, ENOENT, 0};
    (void)argc, (void)argv;
    namespaces();
    mounts();
    kernel_itself();
    attempt_for("ptrace-init", trace_init, NULL, no_process);
    attempt_for("process-vm-readv-init", read_init, NULL, no_process);
    attempt_for("process-vm-writev-init", write_init, NULL, no_process);
    attempt_for("pidfd-getfd-init", take_descriptor_of_init, NULL, no_process);
    attempt("open-by-handle", open_by_handle, NULL);
    attempt_for("setns-mount-of-init", enter_namespace, "/proc/1/ns/mnt", no_file);
    attempt_for("setns-user-of-init", enter_namespace, "/proc/1/ns/user", no_file);
    attempt_for("setns-pid-of-init", enter_namespace, "/proc/1/ns/pid", no_file);
    attempt("map-page-zero", map_page_zero, NULL);
    attempt("pipe-of-64-mib", grow_pipe, NULL);
    attempt_for("mlock-512-mib", lock_memory, NULL, no_space);
    attempt_for("huge-page", map_huge_page, NULL, no_space);
    return end_of_attempts();
}

/* Other architectures --------------------------------------------------------------------------- */

#ifdef __x86_64__
struct foreign { int number, first, second, third; };

/* 32-bit calls by the old gate: a filter that knows only 64-bit numbers would let them pass. */
static long call_i386(const void *context) {
    const struct foreign *call = context;
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"((long)call->number), "b"((long)call->first), "c"((long)call->second),
                       "d"((long)call->third)
                     : "memory", "r8", "r9", "r10", "r11");
    if ((int)result >= 0) return result;
    errno = -(int)result;
    return -1;
}

static long call_x32(const void *context) {
    const struct foreign *call = context;
    return syscall(0x40000000L | call->number, call->first, call->second, call->third);
}
#else
struct foreign { int number, first, second, third; };
static long call_i386(const void *context) { (void)context; return ABSENT; }
static long call_x32(const void *context) { (void)context; return ABSENT; }
#endif

static int foreign(int argc, char **argv) {
    static const struct foreign unshare_i386 = {310, CLONE_NEWUSER, 0, 0},
                                keyctl_i386 = {288, 0, -3, 1}, uring_i386 = {425, 8, 0, 0},
                                unshare_x32 = {272, CLONE_NEWUSER, 0, 0},
                                keyctl_x32 = {250, 0, -3, 1}, ptrace_x32 = {521, 16, 1, 0},
                                uring_x32 = {425, 8, 0, 0}, clone_i386 = {120, 0x10000011, 0, 0};
    (void)argc, (void)argv;
    attempt("i386-unshare", call_i386, &unshare_i386);
    attempt("i386-clone-user", call_i386, &clone_i386);
    attempt("i386-keyctl", call_i386, &keyctl_i386);
    attempt("i386-io-uring", call_i386, &uring_i386);
    attempt("x32-unshare", call_x32, &unshare_x32);
    attempt("x32-keyctl", call_x32, &keyctl_x32);
    attempt("x32-ptrace", call_x32, &ptrace_x32);
    attempt("x32-io-uring", call_x32, &uring_x32);
    return end_of_attempts();
}

/* Clocks: each is set to what it is, so that nothing happens if it is allowed -------------------- */

static long set_clock(const void *clock) {
    struct timespec now;
    clock_gettime(*(const clockid_t *)clock, &now);
    return (long)syscall(SYS_clock_settime, *(const clockid_t *)clock, &now);
}

static long set_time_of_day(const void *unused) {
    (void)unused;
    struct timeval now;
    gettimeofday(&now, NULL);
    return (long)syscall(SYS_settimeofday, &now, NULL);
}

static long adjust_clock(const void *unused) {
    struct timex change = {.modes = ADJ_OFFSET};
    (void)unused;
    return (long)syscall(SYS_adjtimex, &change);
}

static long wake_machine(const void *unused) {
    (void)unused;
    return (long)syscall(SYS_timerfd_create, 9 /* CLOCK_BOOTTIME_ALARM */, 0);
}

static int set_clocks(int argc, char **argv) {
    static const clockid_t real = CLOCK_REALTIME;
    (void)argc, (void)argv;
    attempt("clock-settime", set_clock, &real);
    attempt("settimeofday", set_time_of_day, NULL);
    attempt("adjtimex", adjust_clock, NULL);
    attempt("wake-alarm", wake_machine, NULL);
    return end_of_attempts();
}

/* Terminals -------------------------------------------------------------------------------------- */

static long inject(const void *unused) { (void)unused; return ioctl(0, TIOCSTI, "x"); }
static long take_console(const void *unused) { (void)unused; return ioctl(0, TIOCCONS, 0); }
static long paste(const void *unused) {
    char code = 3; /* TIOCL_PASTESEL */
    (void)unused;
    return ioctl(0, TIOCLINUX, &code);
}
static long steal_terminal(const void *unused) {
    (void)unused;
    setsid();
    return ioctl(0, TIOCSCTTY, 1);
}
static long load_discipline(const void *unused) {
    int other = 3; /* PPP: loads a module where that is allowed */
    (void)unused;
    return ioctl(0, TIOCSETD, &other);
}

static long open_terminal(const void *path) { return open(path, O_RDWR | O_NOCTTY | O_NONBLOCK); }

static int terminals(int argc, char **argv) {
    static const int refusals[] = {EPERM, EACCES, ENOENT, 0};
    (void)argc, (void)argv;
    for (int number = 0; number < 8; number++) {
        char path[32];
        snprintf(path, sizeof path, "/dev/pts/%d", number);
        attempt_for(path, open_terminal, path, refusals);
    }
    return end_of_attempts();
}

static int terminal(int argc, char **argv) {
    static const int refusals[] = {EPERM, EACCES, ENOSYS, EIO, ENOTTY, EINVAL, 0};
    (void)argc, (void)argv;
    attempt_for("tiocsti", inject, NULL, refusals);
    attempt_for("tioccons", take_console, NULL, refusals);
    attempt_for("tioclinux", paste, NULL, refusals);
    attempt_for("tiocsctty-steal", steal_terminal, NULL, refusals);
    attempt_for("line-discipline", load_discipline, NULL, refusals);
    return end_of_attempts();
}

/* Filters: programs that the kernel compiles into memory of the whole machine ---------------------- */

static struct sock_filter pass[] = {{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
static struct sock_fprog passing = {1, pass};

/* The kernel reads 32 bits of the level and the name: what is above them must not hide a filter. */
struct option { const char *name; int family, type; long level, number; };

static long attach_filter(const void *context) {
    const struct option *option = context;
    int fd = socket(option->family, option->type, 0), none = -1;
    if (fd < 0 && option->family == AF_INET6) fd = socket(AF_INET, option->type, 0);
    const void *value = &passing;
    size_t size = sizeof passing;
    if (fd < 0) _exit(64);
    if (option->number == SO_ATTACH_BPF) value = &none, size = sizeof none;
    return syscall(SYS_setsockopt, fd, option->level, option->number, value, size);
}

static long filter_calls(const void *unused) {
    (void)unused;
    return syscall(SYS_seccomp, 1 /* SECCOMP_SET_MODE_FILTER */, 0, &passing);
}

static long filter_by_prctl(const void *above) {
    return syscall(SYS_prctl, PR_SET_SECCOMP | *(const long *)above, 2 /* SECCOMP_MODE_FILTER */,
                   &passing, 0, 0);
}

static int filters(int argc, char **argv) {
    static const long none = 0, hidden = 1L << 32;
    static const struct option options[] = {
        {"socket-filter-udp", AF_INET, SOCK_DGRAM, SOL_SOCKET, SO_ATTACH_FILTER},
        {"socket-filter-tcp", AF_INET6, SOCK_STREAM, SOL_SOCKET, SO_ATTACH_FILTER},
        {"socket-filter-unix", AF_UNIX, SOCK_DGRAM, SOL_SOCKET, SO_ATTACH_FILTER},
        {"socket-filter-hidden-name", AF_UNIX, SOCK_DGRAM, SOL_SOCKET,
         SO_ATTACH_FILTER | 1L << 32},
        {"socket-filter-hidden-level", AF_UNIX, SOCK_DGRAM, SOL_SOCKET | 1L << 32,
         SO_ATTACH_FILTER},
        {"socket-bpf", AF_UNIX, SOCK_DGRAM, SOL_SOCKET, SO_ATTACH_BPF},
        {"reuseport-filter", AF_INET, SOCK_DGRAM, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF},
        {"reuseport-bpf", AF_INET, SOCK_DGRAM, SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF},
    };
    (void)argc, (void)argv;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        attempt(options[i].name, attach_filter, &options[i]);
    attempt("seccomp", filter_calls, NULL);
    attempt("prctl-seccomp", filter_by_prctl, &none);
    attempt("prctl-seccomp-hidden", filter_by_prctl, &hidden);
    return end_of_attempts();
}

const struct verb kernel_verbs[] = {
    {"syscalls", 0, syscalls},
    {"foreign", 0, foreign},
    {"clock", 0, set_clocks},
    {"terminals", 0, terminals},
    {"terminal", 0, terminal},
    {"filters", 0, filters},
    {NULL, 0, NULL},
};
