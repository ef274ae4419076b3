/* What a grader says: records of the journal. */
#define _GNU_SOURCE
#include "grading.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char cut[] = "\n\n[…]\n";

struct span span_of(const char *words) { return (struct span){words, strlen(words)}; }

static void put_length(uint8_t *to, size_t length)
{
    for (int i = 0; i < 4; i++, length >>= 8)
        to[i] = (uint8_t)length;
}

static void add_span(struct text *record, struct span field)
{
    uint8_t length[4];
    put_length(length, field.length);
    add(record, length, sizeof length);
    add(record, field.at, field.length);
}

/* A record: 4 bytes of length of what follows; then fields, each with 4 bytes of its length; the
 * first is the verb. One write to a file that is open to append: others' records stay whole. */
int note(const char *verb, const struct span *fields, size_t count)
{
    struct text record = {0};
    add(&record, "\0\0\0\0", 4);
    add_span(&record, span_of(verb));
    for (size_t i = 0; i < count; i++) {
        struct span field = fields[i];
        size_t most = RECORD_MOST - 1024;
        if (field.length > most) {  /* only a text can be so long, and its beginning says most */
            struct text shorter = {0};
            while (most && ((uint8_t)field.at[most] & 0xC0) == 0x80)
                most--;
            add(&shorter, field.at, most);
            add_text(&shorter, cut);
            field = (struct span){shorter.at, shorter.length};
        }
        add_span(&record, field);
    }
    if (record.failed || record.length > RECORD_MOST)
        return complain("%s: that is too much", verb);
    put_length((uint8_t *)record.at, record.length - 4);
    int fd = open(GRADING_JOURNAL, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
    struct stat facts;
    if (fd < 0 || fstat(fd, &facts) < 0)
        return complain("%s: no grading goes on here (%s)", verb, strerror(errno));
    if (facts.st_size > JOURNAL_MOST)  /* the host will say so, too */
        return complain("%s: the feedback has more than %d MiB", verb, JOURNAL_MOST >> 20);
    ssize_t put = write(fd, record.at, record.length);
    if (put != (ssize_t)record.length)
        return complain("%s: %s", verb, put < 0 ? strerror(errno) : "no room");
    close(fd);
    return 0;
}

/* A grader that is wrong: it is told so, and so is the host, or a grade that could not be read would
 * count like one that was never given. */
int note_fault(const char *format, ...)
{
    char words[1024];
    va_list values;
    va_start(values, format);
    vsnprintf(words, sizeof words, format, values);
    va_end(values);
    complain("%s", words);
    struct span field = span_of(words);
    note("fault", &field, 1);
    return EXIT_USAGE;
}

static int usage(const char *words) { return note_fault("usage: %s", words); }

int feedback_result(int count, char **words)
{
    static const struct option options[] = {{"id", required_argument, NULL, 'i'}, {0}};
    const char *problem = "";
    for (int c; (c = getopt_long(count, words, "i:", options, NULL)) != -1;)
        if (c == 'i')
            problem = optarg;
        else
            return usage("feedback-result [-i PROBLEM] RESULT");
    if (optind + 1 != count)
        return usage("feedback-result [-i PROBLEM] RESULT");
    struct span fields[] = {span_of(problem), span_of(words[optind])};
    return note("result", fields, 2);
}

static int grade_of(const char *text)
{
    char *end;
    strtod(text, &end);
    end += strspn(end, " \t\n");
    if (end == text || *end)
        return note_fault("feedback-grade: %.80s is no number", text);
    struct span field = span_of(text);
    return note("grade", &field, 1);
}

int feedback_grade(int count, char **words)
{
    return count == 2 ? grade_of(words[1]) : usage("feedback-grade GRADE");
}

static int message(const char *problem, bool append, struct span text)
{
    struct span fields[] = {span_of(problem), span_of(append ? "a" : ""), text};
    return note("message", fields, 3);
}

int feedback_msg(int count, char **words)
{
    static const struct option options[] = {
        {"append", no_argument, NULL, 'a'}, {"escape", no_argument, NULL, 'e'},
        {"id", required_argument, NULL, 'i'}, {"message", required_argument, NULL, 'm'}, {0}};
    const char *problem = "", *given = NULL;
    bool append = false, escaped = false;
    for (int c; (c = getopt_long(count, words, "aei:m:", options, NULL)) != -1;) {
        append = append || c == 'a';
        escaped = escaped || c == 'e';
        problem = c == 'i' ? optarg : problem;
        given = c == 'm' ? optarg : given;
        if (c == '?')
            return usage("feedback-msg [-a] [-e] [-i PROBLEM] [-m MESSAGE]");
    }
    if (optind != count)
        return usage("feedback-msg [-a] [-e] [-i PROBLEM] [-m MESSAGE]");
    struct text text = {0};
    if (!message_of(&text, given, escaped))
        return note_fault("feedback-msg: the message can't be read");
    return message(problem, append, (struct span){text.at, text.length});
}

/* `kind`: "json", or "auto" for a number where it is one, else a text. */
static int custom(const char *key, struct span value, bool is_json)
{
    struct span fields[] = {span_of(key), span_of(is_json ? "json" : "auto"), value};
    return note("custom", fields, 3);
}

int feedback_custom(int count, char **words)
{
    bool is_json = count > 1 && (!strcmp(words[1], "-j") || !strcmp(words[1], "--json"));
    int from = is_json ? 2 : 1;
    if (count == 4 && !is_json && (!strcmp(words[3], "-j") || !strcmp(words[3], "--json"))) {
        is_json = true;
        count--;
    }
    if (count - from != 2)
        return usage("feedback-custom [-j] KEY VALUE");
    return custom(words[from], span_of(words[from + 1]), is_json);
}

int feedback_state(int count, char **words)
{
    if (count != 2)
        return usage("feedback-state STATE");
    struct span field = span_of(words[1]);
    return note("state", &field, 1);
}

int tag_value(int count, char **words)
{
    if (count != 2)
        return usage("tag VALUE");
    struct span field = span_of(words[1]);
    return note("tag", &field, 1);
}

int tag_set(int count, char **words)
{
    if (count != 3)
        return usage("tag-set TAG true|false");
    bool is_true = !strcmp(words[2], "true") || !strcmp(words[2], "True");
    struct span fields[] = {span_of(words[1]), span_of(is_true ? "true" : "false")};
    return note("tag-set", fields, 2);
}

static int custom_pair(const char *pair, bool is_json)
{
    const char *colon = strchr(pair, ':');
    if (!colon)
        return usage("feedback -c KEY:VALUE, or -j KEY:JSON");
    char *key = strndup(pair, (size_t)(colon - pair));
    return key ? custom(key, span_of(colon + 1), is_json) : 1;
}

int feedback_all(int count, char **words)
{
    static const struct option options[] = {
        {"result", required_argument, NULL, 'r'}, {"grade", required_argument, NULL, 'g'},
        {"feedback", required_argument, NULL, 'f'}, {"id", required_argument, NULL, 'i'},
        {"escape", no_argument, NULL, 'e'}, {"print", no_argument, NULL, 'p'},
        {"custom", required_argument, NULL, 'c'}, {"custom-json", required_argument, NULL, 'j'},
        {0}};
    const char *result = "", *grade = "", *text = "", *problem = "", *pair = "", *json = "";
    bool escaped = false, print = false;
    for (int c; (c = getopt_long(count, words, "r:g:f:i:epc:j:", options, NULL)) != -1;)
        switch (c) {
        case 'r': result = optarg; break;
        case 'g': grade = optarg; break;
        case 'f': text = optarg; break;
        case 'i': problem = optarg; break;
        case 'e': escaped = true; break;
        case 'p': print = true; break;
        case 'c': pair = optarg; break;
        case 'j': json = optarg; break;
        default: return usage("feedback [-r RESULT] [-g GRADE] [-f TEXT] [-i PROBLEM] [-e] [-p]");
        }
    struct span outcome[] = {span_of(problem), span_of(result)};
    int status = *result ? note("result", outcome, 2) : 0;
    status = status || !*grade ? status : grade_of(grade);
    if (!status && *text) {
        struct text said = {0};
        if (!message_of(&said, text, escaped))
            return note_fault("feedback: the message can't be read");
        status = message(problem, false, (struct span){said.at, said.length});
    }
    if (!status && (*json || *pair))
        status = *json ? custom_pair(json, true) : custom_pair(pair, false);
    if (status || !print)
        return status;
    execlp("python3", "python3", "-c",
           "import json\nfrom inginious_container_api.feedback import get_feedback\n"
           "print(json.dumps(get_feedback()))", (char *)NULL);
    return complain("feedback -p: %s", strerror(errno));
}
