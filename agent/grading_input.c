/* What a learner handed in: files that the host put, one for each field. */
#define _GNU_SOURCE
#include "grading.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_field(const char *name)
{
    return *name && *name != '.' && !strchr(name, '/') && strlen(name) < 200;
}

static bool path_of(char *path, size_t room, const char *name)
{
    return is_field(name) && snprintf(path, room, GRADING_INPUT "/%s", name) < (int)room;
}

int get_input(int count, char **words)
{
    char path[512], piece[1 << 16];
    if (count != 2)
        return complain("usage: getinput PROBLEM[:filename]");
    char *colon = strchr(words[1], ':');
    if (colon && strcmp(colon, ":filename"))  /* anything else means the content */
        *colon = 0;
    int fd = path_of(path, sizeof path, words[1]) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return complain("Input file not found: there is no input %s", words[1]);
    for (ssize_t got; (got = read(fd, piece, sizeof piece)) != 0;)
        if (got < 0 || !write_out(1, piece, (size_t)got))
            return errno == EPIPE ? 1 : complain("getinput: %s", strerror(errno));
    return 0;
}

/* How many bytes end the line here, as Python's splitlines has it; 0: no end of a line. */
static size_t line_end(const char *at, size_t left)
{
    const uint8_t *b = (const uint8_t *)at;
    if (!left)
        return 0;
    if (b[0] == '\r')
        return left > 1 && b[1] == '\n' ? 2 : 1;
    if (b[0] == '\n' || b[0] == '\v' || b[0] == '\f' || (b[0] >= 0x1c && b[0] <= 0x1e))
        return 1;
    if (left > 1 && b[0] == 0xC2 && b[1] == 0x85)
        return 2;
    if (left > 2 && b[0] == 0xE2 && b[1] == 0x80 && (b[2] == 0xA8 || b[2] == 0xA9))
        return 3;
    return 0;
}

static void add_lines(struct text *to, struct span text, struct span before, struct span after)
{
    size_t at = 0;
    for (bool first = true; at < text.length; first = false) {
        size_t end = at, mark = 0;
        while (end < text.length && !(mark = line_end(text.at + end, text.length - end)))
            end++;
        if (!first)
            add(to, "\n", 1);
        add(to, before.at, before.length);
        add(to, text.at + at, end - at);
        add(to, after.at, after.length);
        at = end + mark;
    }
}

/* Reads the field whose name starts here and ends before the next @; false: there is none. */
static bool field_at(const char *name, const char *end, struct text *value, const char **behind)
{
    char named[256], path[512];
    /* The name of a field may begin with @ itself. */
    const char *close = memchr(name + 1, '@', (size_t)(end - name - 1));
    if (!close || (size_t)(close - name) >= sizeof named || close == name)
        return false;
    snprintf(named, sizeof named, "%.*s", (int)(close - name), name);
    char *colon = strchr(named, ':');
    bool is_value = colon && !strcmp(colon, ":value");
    if (is_value)
        *colon = 0;
    if (!path_of(path, sizeof path, named))
        return false;
    char of_file[600];
    snprintf(of_file, sizeof of_file, "%s:filename", path);
    if ((access(of_file, F_OK) == 0) != is_value && !colon)
        return false;  /* of a file, the content has to be asked for */
    *behind = close + 1;
    return read_file(value, path);
}

/* @prefix@FIELD@suffix@: each line of the field, between prefix and suffix. What was put in is not
 * looked at again, or a learner's text could ask for others. */
static void fill(struct text *to, const char *at, const char *end)
{
    while (at < end) {
        struct text value = {0};
        const char *first = memchr(at, '@', (size_t)(end - at)), *behind = NULL, *last = NULL;
        const char *second = first ? memchr(first + 1, '@', (size_t)(end - first - 1)) : NULL;
        if (second && second + 2 < end && field_at(second + 1, end, &value, &behind))
            last = memchr(behind, '@', (size_t)(end - behind));
        if (!first) {
            add(to, at, (size_t)(end - at));
            return;
        }
        if (last) {
            add(to, at, (size_t)(first - at));
            add_lines(to, (struct span){value.at, value.length},
                      (struct span){first + 1, (size_t)(second - first - 1)},
                      (struct span){behind, (size_t)(last - behind)});
            at = last + 1;
        } else {
            add(to, at, (size_t)(first + 1 - at));
            at = first + 1;
        }
        free(value.at);
    }
}

static void make_folders(const char *path)
{
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    for (char *slash = strchr(folder + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(folder, 0755);
        *slash = '/';
    }
}

int parse_template(int count, char **words)
{
    static const struct option options[] = {{"output", required_argument, NULL, 'o'}, {0}};
    const char *output = NULL;
    for (int c; (c = getopt_long(count, words, "o:", options, NULL)) != -1;)
        if (c == 'o')
            output = optarg;
        else
            return complain("usage: parsetemplate [-o OUTPUT] FILE");
    if (optind + 1 != count)
        return complain("usage: parsetemplate [-o OUTPUT] FILE");
    struct text from = {0}, to = {0};
    if (!read_file(&from, words[optind]))
        return complain("Input file not found: %s (%s)", words[optind], strerror(errno));
    add(&to, "", 0);
    fill(&to, from.at, from.at + from.length);
    output = output && *output ? output : words[optind];
    make_folders(output);
    int fd = open(output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    if (to.failed || fd < 0 || !write_out(fd, to.at, to.length))
        return complain("parsetemplate: %s: %s", output, strerror(errno));
    return 0;
}
