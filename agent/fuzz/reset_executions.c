/* execution.c, and a way to begin again. */
#include "../execution.c"

#include "settings.h"

void reset_executions(void);

void reset_executions(void)
{
    for (int i = 0; i < SLOTS; i++)
        forget(&executions[i]);
    highest_channel = 0;
}

bool agent_reads(const uint8_t *payload, size_t length, struct agents_view *view)
{
    struct execution unused = {0};
    struct settings settings = {0};
    bool fits = read_settings(&unused, &settings, payload, length);
    *view = (struct agents_view){settings.arguments, settings.user, settings.separate_stderr};
    return fits;
}
