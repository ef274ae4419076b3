/* What the parts of the program `floor` have in common. */
#pragma once
#include <time.h>

long long now(clockid_t clock); /* nanoseconds */

/* `values`: a root, a source, a target in the root, a program, and for ideas perhaps a group. */
int namespaces(int repeats, char **values);
int ideas(int repeats, char **values);

/* So many programs at once, of so many words each. */
int crowd(int count, int words, char **program);
int idle(void);
