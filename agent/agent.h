/* The agent: process 1 of a sandbox. docs/agent-protocol.md says what it speaks.
 *
 *   main.c        arguments, socket, event loop, clock
 *   connection.c  who may talk, and what they ask for
 *   outbox.c      what goes out to them
 *   prepare.c     keepers, and the process that waits for a request
 *   interpreter.c an interpreter that waits for a program; interpreter.py is what it does
 *   execution.c   the life of an execution: start, limits, end
 *   streams.c     its output, input and terminal
 *   child.c       what a new process does until it is the program; the keepers
 *   group.c       the kernel's groups: membership, measurements, killing everything
 *   walk.c        the same where there are no groups
 *   ipc.c         what programs share that is no process
 *   builtin.c     files (files.h) and ports, run as executions
 *   bridge.c      joins an exec session to the agent's socket
 */
#ifndef AGENT_H
#define AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#define PROTOCOL_VERSION 1
#define AGENT_RELEASE "0.1.0"

enum {
    HEADER_SIZE = 12,
    PAYLOAD_MOST = 65536,
    EXECUTIONS_MOST = 64,
    SLOTS = EXECUTIONS_MOST + 2, /* two more: the prepared process, and the interpreter */
    OUTPUT_RING = 1 << 20,
    INPUT_RING = 256 << 10,
    SEGMENTS_MOST = 4096,
    SECRET_SIZE = 32,
};

enum frame_type {
    HELLO = 1, READY, REFUSED, PING, PONG,
    EXEC = 16, EXIT, RELEASE, SIGNAL, RESIZE, CANCEL, ATTACH, FAILED, PREPARE, WAITS,
    OUTPUT = 32, ACK, INPUT, END, WINDOW,
};

enum field_tag {
    F_VERSION = 1, F_SECRET, F_EPOCH, F_RELEASE, F_CAPABILITY, F_EXECUTION, F_CODE, F_MESSAGE,
    F_HIGHEST,
    F_ARGUMENT = 16, F_ENVIRONMENT, F_DIRECTORY, F_USER, F_GROUP, F_TERMINAL, F_SEPARATE_STDERR,
    F_STDIN, F_WALL, F_CPU, F_OUTPUT, F_OPEN_FILES, F_BUILTIN, F_LAST,
    F_EXIT_CODE = 32, F_SIGNAL, F_REASON, F_ERRNO, F_STEP, F_WALL_USED, F_CPU_USED, F_PEAK_MEMORY,
    F_OUTPUT_USED, F_OOM_KILLS,
};

enum reason { NO_REASON, BY_WALL, BY_CPU, BY_OUTPUT, BY_CANCEL };
enum source { FROM_AGENT = 1, FROM_KERNEL };
enum scope { OF_EXECUTION = 1, OF_SANDBOX };

/* ---- wire.c: numbers and fields ---- */

struct reader { const uint8_t *at, *end; bool broken; };
struct field { uint8_t tag; uint32_t length; const uint8_t *value; };
struct writer { uint8_t *at, *end; };

uint64_t get_number(const uint8_t *from, int bytes);
void put_number(uint8_t *to, uint64_t value, int bytes);
bool next_field(struct reader *reader, struct field *field);
bool field_number(const struct field *field, uint64_t *value);
void put_field(struct writer *writer, uint8_t tag, const void *value, size_t length);
void put_field_number(struct writer *writer, uint8_t tag, uint64_t value);
void put_field_text(struct writer *writer, uint8_t tag, const char *text);
void put_measurement(struct writer *writer, uint8_t tag, uint64_t value, enum source source,
                     enum scope scope);

/* ---- group.c: what the kernel keeps together ---- */

struct usage { uint64_t cpu_ns, peak_bytes, oom_kills; bool cpu, peak, oom; };

struct slot {
    bool open, taken;       /* its files are open; a prepared or running process is in it */
    pid_t keeper;           /* a process that stays in the groups, and makes others in them; or 0 */
    int keeper_fd;          /* where it is asked to; without one, where it will say its number */
    uint64_t keeper_died;
    bool stale;             /* its groups remember an execution's peak of memory */
    unsigned renewed;       /* how often they were replaced */
    int kill, freezer, processes, cpu, peak, oom; /* files of the groups, or -1 */
};

struct execution;

/* Descriptors that `lean` hands on to the agent. */
enum { GIVEN_LISTENER = 100, GIVEN_GROUPS = 101 };

bool groups_find(const char *directory);
bool groups_inherit(int first, int count);
void groups_watch(void);
bool groups_found(void);
bool groups_can_kill(void);
bool groups_can_measure(void);
extern struct slot slots[SLOTS];
bool slot_open(struct slot *slot);
bool slot_join(const struct slot *slot); /* in the child */
void slot_leave(struct slot *slot);
void slot_learn_keeper(struct slot *slot);
void slot_reset(struct slot *slot);
void slot_usage(struct slot *slot, struct usage *usage);
void slot_facts(struct slot *slot, const struct usage *base, struct usage *used);
void slot_renew(struct slot *slot);
bool group_empty(struct execution *execution);
void group_kill(struct execution *execution);
uint64_t group_cpu(struct execution *execution);
gid_t group_marker(const struct slot *slot);

/* ---- walk.c, ipc.c ---- */

bool walk_finds_none(struct execution *execution);
void walk_kill(struct execution *execution);
bool walk_kill_all(struct execution *execution); /* false where it would reach others, too */
uint64_t walk_cpu(struct execution *execution);
void ipc_sweep(struct execution *execution);

/* ---- execution.c ---- */

enum state {
    FREE,     /* nothing there */
    PREPARED, /* a process waits in the slot for its program, or is about to */
    WAITING,  /* the process is an interpreter that waits for its program, or is about to */
    DISMISSED, /* an interpreter that is not wanted any more is being killed */
    RUNNING,  /* the program runs */
    ENDING,   /* it ended; others of its execution are being killed */
    DRAINING, /* all are gone; what is left in the pipes is read */
    ENDED,    /* the facts are there; the host has not released them */
};

struct segment { uint64_t end; uint8_t stream; };

struct output {
    uint8_t *ring;            /* mapped when the first byte comes */
    struct segment *segments; /* a ring of its own; where the stream changes */
    uint32_t first, count;
    uint64_t kept, read;      /* offsets: first byte kept, next byte to come */
};

struct input {
    uint8_t *ring;
    uint64_t written, received; /* offsets: next byte for the program, next byte from the host */
    uint64_t window;            /* last one told to the host */
    bool end, closed;
};

struct execution {
    enum state state;
    int number; /* the place in the table */
    uint32_t channel;
    pid_t pid;  /* 0 until the keeper's process has said it */
    uid_t user;
    bool may_kill_all; /* such as root's program: it may signal even what is prepared */
    struct slot *slot; /* until it ENDED */
    struct usage base;
    int control;                /* to the child until it is the program; then its error, if any */
    int stdin_fd, out[2];       /* ours; out[0] standard output or terminal, out[1] error */
    bool watching[2], stdin_watched;
    bool terminal, streamed_input;
    struct output output;
    struct input input;
    uint64_t wall_limit, cpu_limit, output_limit; /* 0: none */
    uint64_t output_used, started, ended, cpu_check;
    uint64_t look_again; /* when a terminal that nobody held is looked at next, or 0 */
    enum reason reason;
    int kills; /* how often its group was signalled */
    int status, start_errno;
    char start_step[16];
    struct usage used;
    uint64_t child_cpu_ns, child_peak_bytes; /* of the first process, from wait4 */
    uint64_t seen_cpu_ns; /* of all of them, when it was looked at last */
    bool ready, control_watched; /* an interpreter that has said so; or that will */
    uint64_t prior_cpu_ns; /* of an interpreter, before its program came */
    bool attached, window_due, exit_sent;
    uint64_t sent;
};

extern struct execution executions[SLOTS];

void executions_init(void);
void executions_tick(uint64_t now);
uint64_t executions_wakeup(void);
void executions_reap(void);
void executions_detach(void);
uint32_t executions_highest(void);
extern bool another_expected;           /* the host has not said that nothing comes after what runs */
struct execution *execution_find(uint32_t channel);
bool execution_prepare(void);           /* these two: false when it should be tried later */
int keepers_wanted(void);               /* below 0: there are more than needed */
bool keepers_adjust(uint64_t now);
const char *execution_start(uint32_t channel, const uint8_t *payload, size_t length);
void execution_event(int number, int stream, uint32_t events);
bool execution_input(struct execution *execution, uint64_t offset, const uint8_t *bytes,
                     size_t length);
bool execution_end_input(struct execution *execution, uint64_t offset);
bool execution_acknowledge(struct execution *execution, uint64_t offset);
bool execution_attach(struct execution *execution, uint64_t offset);
bool execution_release(struct execution *execution);
void execution_signal(struct execution *execution, int number);
void execution_resize(struct execution *execution, int rows, int columns);
void execution_cancel(struct execution *execution);
size_t execution_facts(struct execution *execution, uint8_t *to, size_t size);
/* The longest run of unsent bytes of one stream that lies in one piece. */
size_t execution_unsent(struct execution *execution, const uint8_t **bytes, uint8_t *stream);

/* Between execution.c, prepare.c and streams.c. */
enum took { TOOK_BYTES, TOOK_NOTHING, TOOK_END, NO_ROOM };

void close_fd(int *fd);
void close_watched(int *fd, bool *watching);
void forget(struct execution *e);
void settle(struct execution *e);
void kill_for(struct execution *e, enum reason reason);
void keeper_ended(struct slot *slot);
struct execution *in_state(enum state state);
struct execution *prepared_now(void);
void dismiss_prepared(void);
enum took output_take(struct execution *e, int stream);
void output_event(struct execution *e, int stream);
void input_push(struct execution *e);
void input_broken(struct execution *e);
void hang_up(struct execution *e);
void look_again(struct execution *e);

/* ---- interpreter.c ---- */

bool interpreter_want(const uint8_t *payload, size_t length); /* false when it makes no sense */
struct execution *interpreter_for(const uint8_t *payload, size_t length);
void interpreter_ended(struct execution *e);
uint64_t interpreter_cpu(const struct execution *e);
uint64_t interpreter_tick(uint64_t now);
void interpreter_event(int number);
bool interpreter_waits(void);

/* ---- child.c ---- */

enum {
    START_INTERPRETER = 1, /* the program goes on reading from the control socket */
    START_KEEPER = 2,      /* leave a keeper in the groups first */
};
struct start_header {
    uint32_t length;
    int32_t terminal;
    uint32_t what;
};
struct start_failure { int32_t error; char step[16]; };

/* Descriptors that a new process is given: its control socket and its three streams. */
enum { GIVEN = 4 };

void keeper_run(int control, const struct slot *slot) __attribute__((noreturn));
enum { NO_KEEPER = -1, BY_KEEPER = -2 };
/* `keeper`: the socket of one that it may leave behind; or none, or it is one's work. */
void child_run(const struct slot *slot, const int given[GIVEN], int keeper)
    __attribute__((noreturn));

/* ---- builtin.c, bridge.c ---- */

int builtin_run(int count, char **arguments);
int bridge_run(const char *socket_path, const char *pipe_path);
socklen_t socket_address(const char *path, struct sockaddr_un *address);
int join_streams(int input, int output, int connection);

/* ---- furnish.c: what a container lacks before its agent is started ---- */

int furnish_run(int count, char **words);

/* ---- connection.c ---- */

void connections_forget_secret(void);
void connections_init(int listener, const uint8_t secret[SECRET_SIZE]);
void connections_accept(void);
void connection_event(int number, uint32_t events);
void connections_flush(void);
void connections_tick(uint64_t now);
uint64_t connections_wakeup(void);
bool connections_claimed(uint64_t *since);
void connections_say_waits(void);

/* ---- outbox.c: of the connection that is active ---- */

void outbox_clear(void);                /* when that is closed */
void outbox_ready(uint64_t epoch);
void outbox_waits(void);
void outbox_ping(void);
bool outbox_pong(const uint8_t *payload, size_t length); /* false when it is too long */
void outbox_failed(uint32_t channel, const char *code, const char *message); /* unless it is full */
bool outbox_has_answers(void);
bool outbox_is_full(void);              /* of answers */
bool outbox_is_amid(void);              /* something is on its way that has not been sent whole */
bool outbox_uses(const uint8_t *ring);
uint64_t outbox_spoke(void);            /* when anything went out at last */
bool outbox_send(int to, bool *broken); /* true when all went out and more may follow */

/* ---- filter.c ---- */

bool filter_load(const char *path);

/* ---- main.c ---- */

enum watch { WATCH_LISTENER, WATCH_SIGNALS, WATCH_CONNECTION, WATCH_OUTPUT, WATCH_INPUT,
             WATCH_INTERPRETER };

uint64_t now_ns(void);
bool watch(int fd, enum watch what, int number, int stream, uint32_t events);
void watch_change(int fd, enum watch what, int number, int stream, uint32_t events);
void unwatch(int fd);
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

extern uint64_t processes_most, data_most; /* limits of programs where no group has any; or 0 */
extern bool can_change_user; /* the agent runs as root with the right to become others */

#endif
