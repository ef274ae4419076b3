/* What the programs that follow plans share; plan.c says what a plan is. */
#ifndef PLAN_H
#define PLAN_H

#include "agent.h"

enum { PLAN_MOST = 1 << 18, FILTER_BYTES_MOST = 4096 * 8 };

struct step { const char *name; int words; void (*take)(char **with); };

/* Of the program itself: its steps, and where it tells what went wrong, or else is to be known. */
extern const struct step own_steps[];
extern const size_t own_step_count;
void complain(const char *text, size_t length);

_Noreturn void fail(const char *step, const char *about);
void check(bool done, const char *step, const char *about);
void require(bool valid, const char *what, const char *about);
unsigned long number(const char *word);

void follow_steps(char *plan, ssize_t length);
_Noreturn void follow_plan(char *plan, ssize_t length);
void hold_devices(void);
bool take_filter(const void *bytes, ssize_t length);

#endif
