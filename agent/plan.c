/* Plans: what is to be made, mounted, masked and limited for one sandbox, as a list of steps.
 *
 * A plan is a list of words that end with a zero byte. The first word of a step is its name, and how
 * many more there are follows from that (the tables of steps). Nothing is looked up in PATH, no
 * configuration is read, and nothing is decided here: that is the driver's to say. Steps are taken
 * in their order; the last ones give up what a sandbox may not have. The programs that follow plans
 * (lean.c, guest.c) add steps of their own, and say where it is told what went wrong. What is shown in
 * a sandbox is in stage.c, who it is, and in which namespaces, in become.c. */
#define _GNU_SOURCE
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WORDS_MOST = 4096 };

static char *words[WORDS_MOST];
static int word_count;

_Noreturn void fail(const char *step, const char *about)
{
    char text[512];
    int number = errno;
    int length = snprintf(text, sizeof text, "%d %s %s: %s", number, step, about, strerror(number));
    complain(text, length < (int)sizeof text ? (size_t)length : sizeof text - 1);
    _exit(1);
}

void check(bool done, const char *step, const char *about)
{
    if (!done)
        fail(step, about);
}

void require(bool valid, const char *what, const char *about)
{
    errno = EINVAL;
    check(valid, what, about);
}

unsigned long number(const char *word)
{
    char *end;
    unsigned long value = strtoul(word, &end, 10);
    require(*word && !*end, "not a number:", word);
    return value;
}

void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    int failure = errno;
    if (fd >= 0)
        close(fd);
    errno = failure;
    check(done, "write", path);
}

/* Bytes come as hexadecimal digits: a word can't have a zero byte. */
size_t read_digits(const char *at, uint8_t *content, size_t most)
{
    size_t length = 0;
    for (; at[0] && at[1] && length < most; at += 2) {
        char digits[3] = {at[0], at[1]};
        content[length++] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return length;
}

/* ---- steps on the host ---- */

/* "0" is whoever writes it. */
static void step_enter(char **with) { write_file(with[0], "0"); }

static void step_put(char **with) { write_file(with[0], with[1]); }

/* A control group, with a mode, or a file (mode 0) of the one before, to `with`: its path or name,
 * mode, user. What is not there is left out: not every kernel has all of them. */
static void step_hand(char **with)
{
    static int group = -1;
    mode_t mode = (mode_t)number(with[1]);
    uid_t user = (uid_t)number(with[2]);
    bool done = true;
    if (mode) {
        if (group >= 0)
            close(group);
        group = open(with[0], O_PATH | O_DIRECTORY | O_CLOEXEC);
        done = group >= 0 && fchmodat(group, ".", mode, 0) == 0 &&
               fchownat(group, ".", user, user, 0) == 0;
    } else if (group >= 0) {
        done = fchownat(group, with[0], user, user, 0) == 0;
    }
    check(done || errno == ENOENT, "hand over", with[0]);
}

/* ---- plans ---- */

static const struct step host_steps[] = {
    {"hand", 3, step_hand}, {"enter", 1, step_enter}, {"put", 2, step_put}, {0},
};

static const struct step *step_of(const char *name)
{
    const struct step *const all[] = {host_steps, stage_steps, namespace_steps, own_steps};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (const struct step *each = all[i]; each->name; each++)
            if (!strcmp(name, each->name))
                return each;
    require(false, "no such step:", name);
    return NULL;
}

static void split_words(char *plan, ssize_t length)
{
    require(length > 0 && plan[length - 1] == 0, "read", "the plan");
    word_count = 0;
    for (char *at = plan; at < plan + length; at += strlen(at) + 1) {
        require(word_count < WORDS_MOST - 1, "too many words in", "the plan");
        words[word_count++] = at;
    }
    words[word_count] = NULL;
}

static _Noreturn void become_agent(char **command)
{
    static char *const environment[] = {"HOME=/", NULL};
    umask(022);
    unsigned after = (unsigned)(GIVEN_GROUPS + groups_given());
    check(syscall(SYS_close_range, 3u, GIVEN_LISTENER - 1u, CLOSE_RANGE_CLOEXEC) == 0 &&
          syscall(SYS_close_range, after, ~0u, CLOSE_RANGE_CLOEXEC) == 0, "close", "files");
    execve(command[0], command, environment);
    fail("run", command[0]);
}

void follow_steps(char *plan, ssize_t length)
{
    split_words(plan, length);
    for (int at = 0; at < word_count;) {
        if (!strcmp(words[at], "run") && at + 1 < word_count)
            become_agent(words + at + 1);
        const struct step *step = step_of(words[at++]);
        require(at + step->words <= word_count, "too few words for", step->name);
        step->take(words + at);
        at += step->words;
    }
}

/* The last step of all names the agent, with its arguments. */
_Noreturn void follow_plan(char *plan, ssize_t length)
{
    follow_steps(plan, length);
    require(false, "nothing to", "run");
    _exit(1);
}
