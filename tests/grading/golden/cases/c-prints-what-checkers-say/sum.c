// For a checker: exit statuses, scores, other encodings, ends of files, and names of files.
#include <stdio.h>

int main(void) {
    puts("42\n1.0\n44");
    fputs("\xff\xfe\x80 \xed\xa0\x80 \033[2J", stdout);
    fwrite("\0\0\x1a\x04", 1, 4, stdout);
    puts("--help ../expected $(cat expected) `cat expected` %s%n {0}");
    for (int at = 0; at < 20000; at++) fputs("7392 ", stdout);
    return 0;
}
