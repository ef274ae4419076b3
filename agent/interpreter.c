/* An interpreter that waits for a program: pre-imported, as the host has asked for with PREPARE.
 *
 * It is a prepared process that has been given a program early: Python, with interpreter.py, which
 * imports what it is told to and reads the next request from the same socket as this one. So it is
 * in its slot's groups, runs as the learner with no more rights than the program will have, and is
 * used once: random numbers, hash seeds and all else are as fresh as in any new process.
 *
 * It waits only while no program runs. Whoever runs as the same user could stop it, or change its
 * memory; so it goes as soon as anything else starts, and is never there together with it. */
#define _GNU_SOURCE
#include "agent.h"

#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

enum { WANTED_MOST = 16384, FAILURES_MOST = 3, MISSES_MOST = 3, CPU_CLOCK_OF_PROCESS = 2 };
static const uint64_t MILLISECOND = 1000000ull, SECOND = 1000000000ull;
/* What is over in less is a row of programs, which the start of an interpreter would disturb. */
static const uint64_t PAUSE = 20 * MILLISECOND, START_MOST = 60 * SECOND;

static const char PROGRAM[] =
#include "interpreter.inc"
    ;
/* The only frame below the program's own. What is the program's is not in its dictionary. */
static const char FIRST[] =
    "n={}\n"
    "exec(__import__('posix').read(3,65536),n)\n"
    "c,m=n['wait']()\n"
    "try:exec(c,m)\n"
    "except SystemExit:raise\n"
    "except BaseException:n['leave_out'](n['sys'].excepthook);raise\n"
    "#                                                             "; /* room for arguments in `ps` */

struct word { const uint8_t *at; size_t length; };

struct asked {
    struct word words[3]; /* the first arguments */
    uint64_t user, group, open_files, builtin;
    bool has_group, broken;
    int arguments;
};

static uint8_t wanted[WANTED_MOST];
static size_t wanted_length;
static int failures; /* interpreters that ended before they were ready */
static int missed;   /* programs since the last one that an interpreter could have become */
static uint64_t idle_since;

static struct asked read_asked(const uint8_t *payload, size_t length)
{
    struct reader reader = {payload, payload + length, false};
    struct asked asked = {0};
    struct field field;
    bool fits = true;
    while (next_field(&reader, &field)) {
        if (field.tag == F_ARGUMENT) {
            if (asked.arguments < 3)
                asked.words[asked.arguments] = (struct word){field.value, field.length};
            asked.arguments++;
        } else if (field.tag == F_USER) {
            fits &= field_number(&field, &asked.user);
        } else if (field.tag == F_GROUP) {
            fits &= asked.has_group = field_number(&field, &asked.group);
        } else if (field.tag == F_OPEN_FILES) {
            fits &= field_number(&field, &asked.open_files);
        } else if (field.tag == F_BUILTIN) {
            fits &= field_number(&field, &asked.builtin);
        }
    }
    if (!asked.has_group)
        asked.group = asked.user;
    asked.broken = reader.broken || !fits || asked.arguments == 0;
    return asked;
}

static bool is(struct word word, const char *text)
{
    return word.length == strlen(text) && !memcmp(word.at, text, word.length);
}

/* The next word of a line; what is behind it stays in the line. */
static struct word cut_word(struct word *line)
{
    while (line->length && *line->at == ' ')
        line->at++, line->length--;
    const uint8_t *space = memchr(line->at, ' ', line->length);
    struct word word = {line->at, space ? (size_t)(space - line->at) : line->length};
    line->at += word.length;
    line->length -= word.length;
    return word;
}

/* The program and the file that it is to run, in a line for bash, too: whether that is as simple as
 * it looks, the interpreter finds out. */
static void name_program(const struct asked *asked, struct word *program, struct word *file)
{
    struct word line = asked->words[2];
    bool bash = asked->arguments == 3 && is(asked->words[0], "/bin/bash") &&
                is(asked->words[1], "-c");
    *program = bash ? cut_word(&line) : asked->words[0];
    *file = bash ? cut_word(&line) : asked->words[1];
}

static bool ends_in(struct word file, const char *end)
{
    size_t length = strlen(end);
    return file.length > length && !memcmp(file.at + file.length - length, end, length);
}

/* Moodle's CodeRunner calls each Python program __tester__.python3. */
static bool may_be_source(struct word file)
{
    return file.length > 0 && file.at[0] != '-' &&
           (ends_in(file, ".py") || ends_in(file, ".python3"));
}

/* A name without a slash may be that of the interpreter, too: it looks in PATH itself. */
static bool may_name(struct word name, struct word path)
{
    if (name.length > path.length || name.length == 0)
        return false;
    size_t skip = path.length - name.length;
    return (skip == 0 || path.at[skip - 1] == '/') &&
           !memcmp(name.at, path.at + skip, name.length) &&
           (skip == 0 || !memchr(name.at, '/', name.length));
}

static bool fits_request(const uint8_t *payload, size_t length)
{
    struct asked asked = read_asked(payload, length), own = read_asked(wanted, wanted_length);
    struct word program, file;
    name_program(&asked, &program, &file);
    return !asked.broken && asked.user == own.user && asked.group == own.group &&
           asked.open_files == own.open_files && may_name(program, own.words[0]) &&
           may_be_source(file);
}

/* ---- its end ---- */

static void dismiss(struct execution *e)
{
    e->state = DISMISSED;
    close_watched(&e->control, &e->control_watched);
    e->started = now_ns();
}

/* Nobody waits for the end: what it may have started, too, is killed when it is late. */
static void send_away(struct execution *e)
{
    kill(e->pid, SIGKILL);
    dismiss(e);
}

/* True when nothing is left of it. */
static bool bury(struct execution *e, uint64_t now)
{
    if (!group_empty(e)) {
        if (now - e->started > 10 * MILLISECOND) {
            e->started = now;
            group_kill(e);
        }
        return false;
    }
    forget(e);
    return true;
}

void interpreter_ended(struct execution *e)
{
    failures += !e->ready;
    if (failures == FAILURES_MOST)
        say("the interpreter that was to wait for programs ends too early; there will be none");
    dismiss(e); /* its number may be another's now */
}

/* ---- its start ---- */

static void put_start(struct writer *writer)
{
    struct reader reader = {wanted, wanted + wanted_length, false};
    struct field field;
    for (bool first = true; next_field(&reader, &field);) {
        bool home = field.length >= 5 && !memcmp(field.value, "HOME=", 5);
        if (field.tag == F_ARGUMENT || field.tag == F_USER || field.tag == F_GROUP ||
            field.tag == F_OPEN_FILES || (field.tag == F_ENVIRONMENT && !home))
            put_field(writer, field.tag, field.value, field.length);
        if (field.tag == F_ARGUMENT && first) {
            put_field_text(writer, F_ARGUMENT, "-c");
            put_field_text(writer, F_ARGUMENT, FIRST);
            first = false;
        }
    }
    /* Python would run what it finds in the learner's HOME and folder, before anyone has asked. */
    put_field_text(writer, F_ENVIRONMENT, "HOME=/nonexistent");
    put_field_text(writer, F_DIRECTORY, "/");
}

static bool send_start(struct execution *e)
{
    static uint8_t payload[WANTED_MOST + sizeof FIRST + 128];
    struct writer writer = {payload, payload + sizeof payload};
    put_start(&writer);
    size_t length = (size_t)(writer.at - payload);
    struct start_header header = {(uint32_t)length, -1, START_INTERPRETER | START_KEEPER};
    return send(e->control, &header, sizeof header, MSG_NOSIGNAL) == sizeof header &&
           send(e->control, payload, length, MSG_NOSIGNAL) == (ssize_t)length &&
           send(e->control, PROGRAM, sizeof PROGRAM - 1, MSG_NOSIGNAL) == sizeof PROGRAM - 1;
}

static bool interpreter_start(uint64_t now)
{
    struct execution *e = prepared_now();
    if (!e)
        return false;
    if (!send_start(e)) {
        forget(e);
        return false;
    }
    e->state = WAITING;
    e->user = (uid_t)read_asked(wanted, wanted_length).user;
    e->started = now;
    e->control_watched = watch(e->control, WATCH_INTERPRETER, e->number, 0, EPOLLIN);
    return true;
}

/* ---- what others ask ---- */

bool interpreter_want(const uint8_t *payload, size_t length)
{
    struct asked asked = read_asked(payload, length);
    struct execution *e = in_state(WAITING);
    bool makes_sense = !asked.broken && asked.user != 0 && asked.user < UINT32_MAX &&
                       asked.words[0].length > 1 && asked.words[0].at[0] == '/';
    if (length > WANTED_MOST || (length > 0 && !makes_sense))
        return false;
    if (length == wanted_length && !memcmp(payload, wanted, length))
        return true;
    memcpy(wanted, payload, length);
    wanted_length = length;
    failures = missed = 0;
    idle_since = now_ns();
    if (e)
        send_away(e);
    return true;
}

/* It says one byte; and nothing more, unless it then can't become the program. */
void interpreter_event(int number)
{
    struct execution *e = &executions[number];
    char byte;
    if (e->state != WAITING || e->ready)
        return;
    ssize_t got = recv(e->control, &byte, 1, MSG_DONTWAIT);
    if (got < 0)
        return;
    unwatch(e->control); /* or it has ended, which its parent is told */
    e->control_watched = false;
    e->ready = got == 1;
    if (e->ready)
        connections_say_waits();
}

bool interpreter_waits(void)
{
    struct execution *e = in_state(WAITING);
    return e && e->ready;
}

/* The interpreter, when the request may be for it. Any other program sends it away; and where there
 * are only others, none is started in vain. */
struct execution *interpreter_for(const uint8_t *payload, size_t length)
{
    struct execution *e = in_state(WAITING);
    if (wanted_length == 0 || read_asked(payload, length).builtin)
        return NULL;
    bool fits = fits_request(payload, length);
    missed = fits ? 0 : missed + 1;
    if (!e)
        return NULL;
    interpreter_event(e->number);
    if (e->ready && fits) {
        failures = 0;
        return e;
    }
    send_away(e);
    return NULL;
}

uint64_t interpreter_cpu(const struct execution *e)
{
    struct timespec used;
    clockid_t clock = (clockid_t)(~(unsigned)e->pid << 3 | CPU_CLOCK_OF_PROCESS);
    if (clock_gettime(clock, &used) < 0)
        return 0;
    return (uint64_t)used.tv_sec * SECOND + (uint64_t)used.tv_nsec;
}

/* Returns when this is to be called again at the latest. */
uint64_t interpreter_tick(uint64_t now)
{
    static bool ran;
    bool runs = false, dismissed = false;
    for (int i = 0; i < SLOTS; i++) {
        runs |= executions[i].state >= RUNNING && executions[i].state < ENDED;
        dismissed |= executions[i].state == DISMISSED && !bury(&executions[i], now);
    }
    idle_since = ran && !runs ? now : idle_since;
    ran = runs;
    struct execution *e = in_state(WAITING);
    if (e && !e->ready && now - e->started >= START_MOST) {
        kill(e->pid, SIGKILL);
        interpreter_ended(e);
    }
    if (dismissed)
        return now + MILLISECOND;
    if (e)
        return e->ready ? UINT64_MAX : e->started + START_MOST;
    if (runs || !another_expected || wanted_length == 0 || failures >= FAILURES_MOST || missed >= MISSES_MOST)
        return UINT64_MAX;
    if (now < idle_since + PAUSE)
        return idle_since + PAUSE;
    return now + (interpreter_start(now) ? START_MOST : 100 * MILLISECOND);
}
