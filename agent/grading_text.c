/* reStructuredText, and files that a grader keeps. */
#define _GNU_SOURCE
#include "grading.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int print(struct text *text)
{
    add(text, "\n", 1);
    if (text->failed)
        return complain("that is too much");
    return write_out(1, text->at, text->length) ? 0 : 1;
}

/* The next line, without its end; false at the end. */
static bool next_line(struct span *rest, struct span *line)
{
    if (!rest->length)
        return false;
    const char *end = memchr(rest->at, '\n', rest->length);
    size_t length = end ? (size_t)(end - rest->at) : rest->length;
    size_t used = length + (end ? 1 : 0);
    *line = (struct span){rest->at, length};
    if (line->length && line->at[line->length - 1] == '\r')
        line->length--;
    *rest = (struct span){rest->at + used, rest->length - used};
    return true;
}

static void add_indented(struct text *to, const struct text *from)
{
    struct span rest = {from->at, from->length}, line;
    while (next_line(&rest, &line)) {
        add(to, "\t", 1);
        add(to, line.at, line.length);
        add(to, "\n", 1);
    }
    add(to, "\n", 1);
}

int rst_code(int count, char **words)
{
    static const struct option options[] = {
        {"language", required_argument, NULL, 'l'}, {"escape", no_argument, NULL, 'e'},
        {"code", required_argument, NULL, 'c'}, {0}};
    const char *language = "", *given = NULL;
    bool escaped = false;
    for (int c; (c = getopt_long(count, words, "l:ec:", options, NULL)) != -1;) {
        language = c == 'l' ? optarg : language;
        given = c == 'c' ? optarg : given;
        escaped = escaped || c == 'e';
        if (c == '?')
            return complain("usage: rst-code [-l LANGUAGE] [-e] [-c CODE]");
    }
    struct text code = {0}, block = {0};
    if (!message_of(&code, given, escaped))
        return complain("rst-code: the code can't be read");
    add_text(&block, "\n\n.. code-block:: ");
    add_text(&block, language);
    add_text(&block, "\n\n");
    add_indented(&block, &code);
    return print(&block);
}

static void add_base64(struct text *to, const struct text *from)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *b = (const uint8_t *)from->at;
    for (size_t i = 0; i < from->length; i += 3) {
        size_t left = from->length - i;
        uint32_t bits = (uint32_t)b[i] << 16 | (left > 1 ? (uint32_t)b[i + 1] << 8 : 0)
                      | (left > 2 ? b[i + 2] : 0);
        char four[4] = {letters[bits >> 18], letters[bits >> 12 & 63],
                        left > 1 ? letters[bits >> 6 & 63] : '=', left > 2 ? letters[bits & 63] : '='};
        add(to, four, 4);
    }
}

int rst_image(int count, char **words)
{
    static const struct option options[] = {{"format", required_argument, NULL, 'f'}, {0}};
    const char *format = "";
    for (int c; (c = getopt_long(count, words, "f:", options, NULL)) != -1;)
        if (c == 'f')
            format = optarg;
        else
            return complain("usage: rst-image [-f FORMAT] FILE");
    struct text image = {0}, block = {0};
    if (optind + 1 != count || !read_file(&image, words[optind]))
        return complain("rst-image: the image can't be read");
    const char *slash = strrchr(words[optind], '/');
    const char *dot = strrchr(slash ? slash : words[optind], '.');
    add_text(&block, "\n\n.. raw:: html\n\n\t<img src=\"data:image/");
    add_text(&block, *format ? format : dot ? dot + 1 : "");
    add_text(&block, ";base64,");
    add_base64(&block, &image);
    add_text(&block, "\">\n");
    return print(&block);
}

int rst_msgblock(int count, char **words)
{
    static const struct option options[] = {
        {"class", required_argument, NULL, 'c'}, {"escape", no_argument, NULL, 'e'},
        {"title", required_argument, NULL, 't'}, {"message", required_argument, NULL, 'm'}, {0}};
    static const char *const kinds[] = {"info", "danger", "warning", "success"};
    const char *kind = "", *title = "", *given = NULL, *shown = "info";
    bool escaped = false;
    for (int c; (c = getopt_long(count, words, "c:et:m:", options, NULL)) != -1;) {
        kind = c == 'c' ? optarg : kind;
        title = c == 't' ? optarg : title;
        given = c == 'm' ? optarg : given;
        escaped = escaped || c == 'e';
        if (c == '?')
            return complain("usage: rst-msgblock [-c CLASS] [-e] [-t TITLE] [-m MESSAGE]");
    }
    for (size_t i = 0; i < 4; i++)
        shown = strcmp(kinds[i], kind) ? shown : kinds[i];
    struct text message = {0}, block = {0};
    if (!message_of(&message, given, escaped))
        return complain("rst-msgblock: the message can't be read");
    add_text(&block, *title ? "\n\n.. admonition:: " : "\n\n.. note:: ");
    add_text(&block, title);
    add_text(&block, "\n\t:class: alert alert-");
    add_text(&block, shown);
    add_text(&block, "\n\n");
    add_indented(&block, &message);
    return print(&block);
}

/* Without as many of `mark` as there are in the first `amount` characters of a line. */
static void add_outdented(struct text *to, struct span line, char mark, long amount)
{
    for (size_t i = 0; i < line.length; i++)
        if (line.at[i] != mark || (long)i + 1 > amount)
            add(to, line.at + i, 1);
}

int rst_indent(int count, char **words)
{
    static const struct option options[] = {
        {"escape", no_argument, NULL, 'e'}, {"indent-char", required_argument, NULL, 'c'},
        {"amount", required_argument, NULL, 'a'}, {"message", required_argument, NULL, 'm'}, {0}};
    const char *mark = "\t", *given = NULL;
    long amount = 1;
    bool escaped = false;
    for (int c; (c = getopt_long(count, words, "ec:a:m:", options, NULL)) != -1;) {
        mark = c == 'c' ? optarg : mark;
        given = c == 'm' ? optarg : given;
        amount = c == 'a' ? strtol(optarg, NULL, 10) : amount;
        escaped = escaped || c == 'e';
        if (c == '?' || amount > 1000)
            return complain("usage: rst-indent [-e] [-c CHARACTER] [-a AMOUNT] [-m MESSAGE]");
    }
    struct text message = {0}, block = {0};
    if (!message_of(&message, given, escaped))
        return complain("rst-indent: the message can't be read");
    struct span rest = {message.at, message.length}, line;
    while (next_line(&rest, &line)) {
        for (long i = 0; i < amount; i++)
            add_text(&block, mark);
        if (amount > 0)
            add(&block, line.at, line.length);
        else
            add_outdented(&block, line, *mark, -amount);
        add(&block, "\n", 1);
    }
    return print(&block);
}

static int copy_file(const char *from, const char *to)
{
    char piece[1 << 16];
    int in = open(from, O_RDONLY | O_CLOEXEC), out = -1;
    struct stat facts;
    if (in < 0 || fstat(in, &facts) < 0 || !S_ISREG(facts.st_mode))
        return complain("archive: %s: %s", from, in < 0 ? strerror(errno) : "no file");
    unlink(to);
    out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    for (ssize_t got; out >= 0 && (got = read(in, piece, sizeof piece)) != 0;)
        if (got < 0 || !write_out(out, piece, (size_t)got)) {
            close(out);
            out = -1;
        }
    return out < 0 ? complain("archive: %s: %s", to, strerror(errno)) : 0;
}

static bool leads_out(const char *path)
{
    for (const char *at = path; at; at = strchr(at, '/')) {
        at += *at == '/';
        if (!strncmp(at, "..", 2) && (!at[2] || at[2] == '/'))
            return true;
    }
    return false;
}

int archive(int count, char **words)
{
    static const struct option options[] = {
        {"add", required_argument, NULL, 'a'}, {"remove", required_argument, NULL, 'r'},
        {"subdir", required_argument, NULL, 's'}, {0}};
    const char *added = "", *removed = "", *under = "";
    char folder[2048], path[4096];
    for (int c; (c = getopt_long(count, words, "a:r:s:", options, NULL)) != -1;) {
        added = c == 'a' ? optarg : added;
        removed = c == 'r' ? optarg : removed;
        under = c == 's' ? optarg : under;
        if (c == '?')
            return complain("usage: archive [-a FILE] [-r FILE] [-s FOLDER]");
    }
    if (leads_out(under) || leads_out(removed) || strlen(under) > 1000 || strlen(removed) > 1000)
        return complain("archive: that leads out of the archive");
    snprintf(folder, sizeof folder, "/archive/%s", under);
    for (char *slash = strchr(folder + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(folder, 0755);
        *slash = '/';
    }
    mkdir(folder, 0755);
    const char *slash = strrchr(added, '/');
    if (*added) {
        snprintf(path, sizeof path, "%s/%.1000s", folder, slash ? slash + 1 : added);
        int status = copy_file(added, path);
        if (status)
            return status;
    }
    snprintf(path, sizeof path, "%s/%s", folder, removed);
    if (*removed && unlink(path) < 0)
        return complain("archive: %s: %s", path, strerror(errno));
    return 0;
}
