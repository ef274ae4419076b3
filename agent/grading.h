/* The commands of a grader, in the sandbox where it runs; see docs/inginious.md.
 *
 * They hold nothing and ask nobody: what a grader says is appended to a journal, one write a
 * record, which the host reads once the grader has ended; what it asks of a learner's input lies in
 * files of their own. Only a student's program needs the host, by a socket that a relay listens on. */
#ifndef GRADING_H
#define GRADING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GRADING_FOLDER "/.grading"
#define GRADING_JOURNAL GRADING_FOLDER "/journal"
#define GRADING_INPUT GRADING_FOLDER "/input"
#define GRADING_RELAYS GRADING_FOLDER "/relays"

enum {
    RECORD_MOST = 1 << 20,   /* bytes of one record */
    JOURNAL_MOST = 1 << 24,  /* bytes of all of them; the host refuses more */
    TEXT_MOST = 1 << 26,     /* bytes that a command reads from its input or a file */
    FRAME_MOST = 1 << 16,    /* bytes in a frame between run_student and the host */
    EXIT_USAGE = 2, EXIT_UNAVAILABLE = 251, EXIT_PROXY = 254,
};

/* Bytes that grow; `failed` once memory or TEXT_MOST was not enough. */
struct text { char *at; size_t length, room; bool failed; };

void add(struct text *text, const void *bytes, size_t length);
void add_text(struct text *text, const char *words);
bool read_all(struct text *text, int fd);
bool read_file(struct text *text, const char *path);
bool write_out(int fd, const void *bytes, size_t length);
bool unescape(struct text *to, const char *from, size_t length);
bool message_of(struct text *to, const char *given, bool escaped);
int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* One record of the journal: `verb` and `count` fields. Returns an exit status. */
struct span { const char *at; size_t length; };
int note(const char *verb, const struct span *fields, size_t count);
int note_fault(const char *format, ...) __attribute__((format(printf, 1, 2)));
struct span span_of(const char *words);

int feedback_result(int count, char **words);
int feedback_grade(int count, char **words);
int feedback_msg(int count, char **words);
int feedback_custom(int count, char **words);
int feedback_state(int count, char **words);
int feedback_all(int count, char **words);
int tag_value(int count, char **words);
int tag_set(int count, char **words);
int get_input(int count, char **words);
int parse_template(int count, char **words);
int archive(int count, char **words);
int rst_code(int count, char **words);
int rst_image(int count, char **words);
int rst_msgblock(int count, char **words);
int rst_indent(int count, char **words);
int run_student(int count, char **words);
int ssh_student(int count, char **words);
int relay(int count, char **words);

#endif
