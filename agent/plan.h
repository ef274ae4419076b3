/* What the programs that follow plans share; plan.c says what a plan is. */
#ifndef PLAN_H
#define PLAN_H

#include "agent.h"

enum { PLAN_MOST = 1 << 18, FILTER_BYTES_MOST = 4096 * 8 };

struct step { const char *name; int words; void (*take)(char **with); };

/* Tables end with a step without a name. */
extern const struct step stage_steps[], namespace_steps[];

/* Of the program itself: its steps, and where it tells what went wrong, or else is to be known. */
extern const struct step own_steps[];
void complain(const char *text, size_t length);

_Noreturn void fail(const char *step, const char *about);
void check(bool done, const char *step, const char *about);
void require(bool valid, const char *what, const char *about);
unsigned long number(const char *word);
void write_file(const char *path, const char *text);
/* Of hexadecimal digits, at most so many bytes; how many they were. */
size_t read_digits(const char *at, uint8_t *content, size_t most);

void follow_steps(char *plan, ssize_t length);
_Noreturn void follow_plan(char *plan, ssize_t length);

/* ---- stage.c ---- */

/* Have the host's devices at hand when the stage covers them. */
void hold_devices(void);
/* How many folders of groups the agent is to have, as descriptors from GIVEN_GROUPS on. */
int groups_given(void);

/* ---- become.c ---- */

/* A descriptor of the sandbox's, or -1. */
int user_namespace(void);
/* What everybody's filter of system calls is; false for what is none. */
bool take_filter(const void *bytes, ssize_t length);

#endif
