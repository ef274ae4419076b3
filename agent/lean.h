/* What the parts of lean share. */
#ifndef LEAN_H
#define LEAN_H

#include "plan.h"

/* ---- lean.c ---- */

/* Of processes that were started: who has ended is still counted in its groups until then. */
void see_to_ended(void);

/* ---- network.c: network namespaces, kept for later sandboxes ---- */

enum { NETWORKS_FROM = 300 };

/* Have this process in one that no sandbox has; false, with errno: there is none. */
bool enter_network(void);
/* Be elsewhere again. `user`: the process that was started in it, if any was. */
void leave_network(pid_t user);
/* It has ended, and with it all processes of its sandbox. */
void on_end_of_user(pid_t user);

/* ---- errand.c: steps on the host alone ---- */

void step_rename(char **with);
void step_rmdir(char **with);
void step_rmdir_if(char **with);
void step_unlink(char **with);
void step_append(char **with);
void step_line(char **with);
void step_line_if(char **with);
void step_line_soon(char **with);
void step_among(char **with);
void step_most(char **with);
void step_points(char **with);

#endif
