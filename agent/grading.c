/* One program, a name for each command. */
#define _GNU_SOURCE
#include "grading.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct { const char *name; int (*run)(int, char **); } commands[] = {
    {"feedback-result", feedback_result}, {"feedback-grade", feedback_grade},
    {"feedback-msg", feedback_msg}, {"feedback-custom", feedback_custom},
    {"feedback-state", feedback_state}, {"feedback", feedback_all},
    {"tag", tag_value}, {"tag-set", tag_set},
    {"getinput", get_input}, {"parsetemplate", parse_template}, {"archive", archive},
    {"rst-code", rst_code}, {"rst-image", rst_image}, {"rst-msgblock", rst_msgblock},
    {"rst-indent", rst_indent}, {"run_student", run_student}, {"ssh_student", ssh_student},
};

/* Makes a link for each command, beside this program, and the folders that they work in. */
static int install(const char *program)
{
    static const char *const folders[] = {GRADING_INPUT, GRADING_RELAYS};
    char path[4096], folder[4096];
    snprintf(folder, sizeof folder, "%s", program);
    char *slash = strrchr(folder, '/');
    if (!slash)
        return complain("install: call me by my whole path");
    *slash = 0;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, commands[i].name);
        if (symlink(slash + 1, path) < 0 && errno != EEXIST)
            return complain("%s: %s", path, strerror(errno));
    }
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (mkdir(folders[i], 0755) < 0 && errno != EEXIST)
            return complain("%s: %s", folders[i], strerror(errno));
    int journal = open(GRADING_JOURNAL, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (journal < 0)
        return complain("%s: %s", GRADING_JOURNAL, strerror(errno));
    return close(journal) < 0;
}

int main(int count, char **words)
{
    const char *slash = count ? strrchr(words[0], '/') : NULL;
    const char *name = slash ? slash + 1 : count ? words[0] : "";
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(commands[i].name, name))
            return commands[i].run(count, words);
    if (count == 2 && !strcmp(words[1], "install"))
        return install(words[0]);
    if (count >= 2 && !strcmp(words[1], "relay"))
        return relay(count - 1, words + 1);
    return complain("there is no command %s", name);
}

/* ---- what several of them need ---- */

int complain(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
    return EXIT_USAGE;
}

void add(struct text *text, const void *bytes, size_t length)
{
    if (text->failed || length > TEXT_MOST - text->length) {
        text->failed = true;
        return;
    }
    if (text->room - text->length < length + 1) {
        size_t room = (text->length + length) * 2 + 256;
        char *grown = realloc(text->at, room);
        if (!grown) {
            text->failed = true;
            return;
        }
        text->at = grown;
        text->room = room;
    }
    memcpy(text->at + text->length, bytes, length);
    text->length += length;
    text->at[text->length] = 0;
}

void add_text(struct text *text, const char *words) { add(text, words, strlen(words)); }

bool read_all(struct text *text, int fd)
{
    char piece[1 << 16];
    add(text, "", 0);
    for (;;) {
        ssize_t got = read(fd, piece, sizeof piece);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0 || text->failed)
            return got == 0 && !text->failed;
        add(text, piece, (size_t)got);
    }
}

bool read_file(struct text *text, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool whole = read_all(text, fd);
    close(fd);
    return whole;
}

bool write_out(int fd, const void *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t put = write(fd, (const char *)bytes + done, length - done);
        if (put < 0 && errno != EINTR)
            return false;
        done += put > 0 ? (size_t)put : 0;
    }
    return true;
}

static void add_character(struct text *to, uint32_t c)
{
    char bytes[4] = {(char)c};
    size_t length = 1;
    if (c >= 0x10000) {
        bytes[0] = (char)(0xF0 | c >> 18), bytes[1] = (char)(0x80 | (c >> 12 & 63));
        bytes[2] = (char)(0x80 | (c >> 6 & 63)), bytes[3] = (char)(0x80 | (c & 63));
        length = 4;
    } else if (c >= 0x800) {
        bytes[0] = (char)(0xE0 | c >> 12), bytes[1] = (char)(0x80 | (c >> 6 & 63));
        bytes[2] = (char)(0x80 | (c & 63));
        length = 3;
    } else if (c >= 0x80) {
        bytes[0] = (char)(0xC0 | c >> 6), bytes[1] = (char)(0x80 | (c & 63));
        length = 2;
    }
    add(to, bytes, length);
}

/* `most` digits to the base at `*from`; -1 when the first one is none, or `all` of them aren't. */
static int64_t digits(const char **from, const char *end, int base, int most, bool all)
{
    int64_t value = 0;
    int found = 0;
    for (; found < most && *from < end; found++, (*from)++) {
        char c = **from;
        int digit = c >= '0' && c <= '9' ? c - '0'
                  : c >= 'a' && c <= 'f' ? c - 'a' + 10
                  : c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;
        if (digit >= base)
            break;
        value = value * base + digit;
    }
    return found == 0 || (all && found < most) ? -1 : value;
}

/* Backslashes as Python and C have them; \x.. and octal ones are bytes. */
bool unescape(struct text *to, const char *from, size_t length)
{
    static const char letters[] = "abfnrtv\\'\"", meant[] = "\a\b\f\n\r\t\v\\'\"";
    const char *end = from + length;
    while (from < end) {
        if (*from != '\\' || from + 1 == end) {
            add(to, from++, 1);
            continue;
        }
        char c = from[1];
        const char *known = c ? strchr(letters, c) : NULL;
        from += 2;
        if (known) {
            add(to, meant + (known - letters), 1);
        } else if (c == '\n') {
            continue;
        } else if (c >= '0' && c <= '7') {
            from--;
            char byte = (char)digits(&from, end, 8, 3, false);
            add(to, &byte, 1);
        } else if (c == 'x' || c == 'u' || c == 'U') {
            int64_t value = digits(&from, end, 16, c == 'x' ? 2 : c == 'u' ? 4 : 8, true);
            char byte = (char)value;
            if (value < 0 || value > 0x10FFFF)
                return false;
            if (c == 'x')
                add(to, &byte, 1);
            else
                add_character(to, (uint32_t)value);
        } else {
            add(to, "\\", 1);
            add(to, &c, 1);
        }
    }
    return !to->failed;
}

/* What a command is to say: `given`, or what its standard input has where nothing is given. */
bool message_of(struct text *to, const char *given, bool escaped)
{
    struct text said = {0};
    if (given && *given)
        add_text(&said, given);
    else if (!read_all(&said, 0))
        return false;
    if (!escaped) {
        *to = said;
        return !said.failed;
    }
    add(to, "", 0);
    return unescape(to, said.at, said.length);
}
