/* Between the parts of `guest`: guest.c says what it is. */
#ifndef GUEST_H
#define GUEST_H

#include "plan.h"

enum { TOKEN_SIZE = 32 };

/* ---- relay.c ---- */

int relay_open(const char *devices, int count);
void relay_watch(const uint8_t token[TOKEN_SIZE], const char *agents_socket, int signals);
void relay_turn(void);

#endif
