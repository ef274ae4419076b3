/* Target "request": the payload of EXEC, as the agent reads it and as the new process does. */
#include <setjmp.h>
#include <stdlib.h>

static jmp_buf refused;

#define _exit(status) longjmp(refused, 1)
#define write(fd, bytes, length) ((ssize_t)(length))
#include "../child.c"
#undef write
#undef _exit

#include "settings.h"

int LLVMFuzzerInitialize(int *count, char ***values)
{
    (void)count, (void)values;
    return 0;
}

static void check_texts(char *const *found, int count)
{
    must(found[count] == NULL, "a list without an end");
    for (int i = 0; i < count; i++)
        must(found[i] >= texts && found[i] + strlen(found[i]) < texts + sizeof texts,
             "a text that lies elsewhere");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct agents_view view;
    /* A copy of exactly this size, so that a byte too far is seen. */
    uint8_t *exact = malloc(size ? size : 1);
    size = size < PAYLOAD_MOST ? size : PAYLOAD_MOST;
    memcpy(exact, data, size);
    bool accepted = agent_reads(exact, size, &view);
    free(exact);
    if (!accepted) /* the new process does not see it then */
        return 0;
    memset(&request, 0, sizeof request);
    texts_end = texts;
    memcpy(payload, data, size);
    if (setjmp(refused))
        return 0;
    read_request(size);
    must(request.argument_count == view.arguments, "other arguments than the agent saw");
    must(request.user == view.user, "another user than the agent saw");
    must(request.separate_stderr == view.separate_stderr, "other streams than the agent saw");
    check_texts(request.arguments, request.argument_count);
    check_texts(request.environment, request.environment_count);
    return 0;
}
