/* What the agent itself understands of a request: the process that becomes the program reads the
 * same bytes, and must understand the same. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct agents_view { int arguments; uint64_t user, separate_stderr; };

bool agent_reads(const uint8_t *payload, size_t length, struct agents_view *view);

#endif
