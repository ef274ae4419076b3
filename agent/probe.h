/*
 * What the files of the probe share, and the list of the hostile verbs.
 *
 * Verdicts. A verb that tries something forbidden prints one line for each attempt:
 *
 *   blocked NAME ERRNO     refused, as it should be (the errno's name, or SIGSYS, or TIMEOUT)
 *   ALLOWED NAME [TEXT]    it worked, or was refused for a reason that is none
 *   absent NAME            does not exist on this architecture
 *   end COUNT              the last line: so many attempts were made
 *
 * probe_processes.c
 *   bomb KIND [leave]      fills the table of processes without end; KIND: fork, thread, vfork,
 *                          clone (random flags), exec (each generation runs the program anew),
 *                          orphan (every parent dies at once); "leave": the first process exits
 *                          with 0 after 200 ms, the bomb goes on
 *   hop N                  leaves N chains of processes, each of which forks and exits without end,
 *                          so that no process identifier is valid for long
 *   ghost KIND FILE        leaves one descendant that is hard to find or to kill, and that adds a
 *                          byte to FILE every 5 ms: subreaper, clone-parent, leader-dead (its first
 *                          thread has exited), named (its name looks like the end of its stat line),
 *                          undumpable (its files in /proc belong to root), vfork (waits in the
 *                          kernel for its child), thread (in a thread), deep (50 generations down),
 *                          respawn (a watcher starts it again), stopped (SIGSTOP after the
 *                          first byte), stopped-deep (a stopped parent of a running child), moved (has left its
 *                          control groups, which the sandbox's root may do)
 *   zombies N              N children that nobody waits for; "zombies=N\n"; exits 0
 *   orphans N              N grandchildren, one after the other, that die as orphans: "orphans=N\n";
 *                          fails unless process 1 collects them
 *   stop                   stops itself
 *   leader-dead            its first thread exits, a second one sleeps for ever
 *   fork-spin N            N children burn CPU for ever, the parent sleeps
 *   orphan-spin            an orphan burns CPU for ever, the first process sleeps
 *   short-children         burns CPU in children of 5 ms each, SIGCHLD ignored, for ever
 *   threads-spin N         N threads burn CPU for ever
 *
 * probe_rights.c
 *   kill-loop NUMBER       sends this signal to everybody without end; "killing\n" before
 *   kill-all               verdicts: every signal to process 1, and its priority, limits, affinity;
 *                          then SIGKILL to everybody: "killed ERRNO\n" before
 *   privileges             verdicts: set-user-id copies, capabilities, ids, scheduler, limits
 *   processes              "pid=N uid=U name=NAME\n" for every process that can be seen
 *
 * probe_resources.c
 *   eat MIB                touches memory in steps of a MiB, for ever when MIB is 0: "eaten N\n"
 *   eat-child CODE         a child eats until it is killed; then exits with CODE
 *   eat-many               processes eat until they are killed, and are replaced, without end
 *   reserve GIB            maps so much without touching it: "reserved\n"
 *   recurse                until the stack ends
 *   hoard KIND             takes what the kernel gives, in as many processes as it can have, and
 *                          keeps it: "hoarded total=N processes=N last=ERRNO\n", then sleeps. KIND:
 *                          files, pipes, sockets, rights, epoll, timers, memfd, inotify, shm, mqueue,
 *                          pty, aio, pagetables, mappings, locks, dentries, posix-timers, signals,
 *                          shmfile, locked, tcp, udp
 *   try KIND               "one ok\n", or "one ERRNO\n": whether a single one of KIND can be had
 *   fill DIR [keep]        a file in DIR until it is full: "bytes=N error=ERRNO\n"; removed unless keep
 *   inodes DIR [MOST]      empty files in DIR until no more: "inodes=N error=ERRNO\n"; kept
 *   sparse FILE GIB        a file of that size without content
 *   nest DIR N             N folders in one another, names of 200 bytes
 *
 * probe_storms.c
 *   storm KIND             eight processes make a call without end that costs more than its caller:
 *                          sync, membarrier, sockets, threads, mappings, files, signals, yield,
 *                          packets
 *
 * probe_kernel.c
 *   syscalls               verdicts: system calls that no learner needs
 *   foreign                verdicts: calls of other architectures (i386, x32)
 *   clock                  verdicts: setting any clock
 *   terminals              verdicts: opening every terminal in /dev/pts
 *   terminal               verdicts: injecting input into a terminal and the like; needs one
 *   filters                verdicts: attaching filters to sockets and to system calls
 *
 * probe_look.c
 *   look                   verdicts: reading and writing what belongs to the host or to the agent
 *   agent                  verdicts: reaching, replacing or reading the agent through its folder
 *   usurp                  listens in place of the agent's socket: "usurped\n" or "blocked usurp
 *                          ERRNO\n"; then "received N bytes\n" for each who connects
 *   find-secret HEX        verdict: searching for bytes (given inverted) wherever it can read
 *   devices                the names in /dev, one a line
 *   mounts                 "blocked|ALLOWED TYPE FLAGS PLACE" for every mount: a writable root, or a mount
 *                          that lacks nosuid or nodev, is ALLOWED
 *   root-write             verdicts: writing anywhere in the root file system
 *
 * probe_files.c
 *   trap-files DIR         makes links, FIFOs, sockets, odd names and modes to catch a reader
 *   swap DIR TARGET        exchanges DIR/a between a folder and a link to TARGET without end
 *   lease FILE             takes a lease on the file, so that whoever opens it waits for us
 *   chmod MODE FILE        changes the mode (octal)
 *   churn FILE             truncates and extends FILE between 0 and 1 MiB without end
 *   mark TEXT              leaves TEXT in every place that it can write: "marked=N\n"
 *   marks TEXT             looks for it: "found PLACE\n" for each, "marks=N\n"
 *   descriptors            "fd=N target\n" for every descriptor that it was started with
 *   give-stdout NAME       sends its standard output over the abstract socket NAME, exits 0
 *   take-stdout NAME MS    takes it, "taken\n", writes to it every MS milliseconds: for ever
 *   crash                  dies of SIGSEGV; a core would be written to the working directory
 *   garbage SEED BYTES     random bytes (xorshift32) on standard output
 *   mutter                 alternates single bytes between the two outputs for ever
 *   hold-locks FILE        locks the file in three ways: "locked\n", then sleeps
 *   see-locks FILE         "flock=X posix=X description=X\n", X is free or held
 *   watch DIR              "watching\n" (or "blocked watch ERRNO\n"); "noticed=1\n" as soon as the
 *                          kernel tells of a use of a file in it, or "noticed=0\n" after 2 seconds
 *   close-all              closes every descriptor, then sleeps for ever
 *   random                 hex of getrandom, AT_RANDOM, and an address of the stack
 *
 * probe_network.c
 *   egress [ADDRESS…]      verdicts: TCP, UDP, ICMP, DNS, IPv6, metadata, and TCP to ADDRESSes
 *   sockets                verdicts: socket families that no learner needs, raw and packet sockets
 *   loopback               "loopback ok\n" when a connection to itself works
 *   interfaces             the names of the network interfaces, one a line
 *   listen-abstract NAME   listens on an abstract UNIX socket; "listening\n"; for ever
 *   dial-abstract NAME     verdict: connecting to it
 */
#ifndef PROBE_H
#define PROBE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <stddef.h>

typedef int verb_function(int argc, char **argv); /* argv[0] is the verb's name */

struct verb {
    const char *name;
    int least; /* arguments after the verb */
    verb_function *run;
};

extern const struct verb behaved_verbs[], process_verbs[], rights_verbs[], resource_verbs[],
    storm_verbs[], kernel_verbs[], look_verbs[], file_verbs[], network_verbs[];

/* One write of formatted text to standard output. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void write_all(int fd, const void *data, size_t size);
const char *errno_name(int number);
_Noreturn void fail(const char *what); /* the errno's name and `what` on standard error, exit 1 */
void nap(double seconds);
_Noreturn void sleep_for_ever(void);
void ignore_signals(void);
void burn(double cpu_seconds); /* for ever when negative */
/* Adds a byte to the file every 5 ms, for ever; never returns. */
_Noreturn void heartbeat(const char *file);
/* Waits until the file has a byte, at most 5 seconds. */
void await_heartbeat(const char *file);

/*
 * An attempt returns a negative number with errno set when it was refused, ABSENT, or anything
 * else when it worked. It runs in a process of its own and is given two seconds.
 */
enum { ABSENT = 1000000 };
typedef long attempt_function(const void *context);
void attempt(const char *name, attempt_function *function, const void *context);
/* The same, but only these errnos (ended by 0) count as refusals. */
void attempt_for(const char *name, attempt_function *function, const void *context,
                 const int *refusals);
int end_of_attempts(void); /* prints the last line, returns 0 */

#endif
