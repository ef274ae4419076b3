/* Lets a user-mode Linux run on processors with more registers than it knows, such as AMX's.
 *
 * It keeps the 2,696 bytes of a process's extended registers that its time had, and the host takes
 * back all of them or none (EFAULT): the others are handed on as they are. Preloaded (start.sh). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef long call(int request, pid_t process, void *address, void *data);

/* The host's ptrace, with all of the registers in place of those that `given` has. */
static long set_all(call *next, pid_t process, void *kind, const struct iovec *given)
{
    static char registers[65536];
    struct iovec all = {registers, sizeof registers};
    if (next(PTRACE_GETREGSET, process, kind, &all) < 0)
        return -1;
    if (all.iov_len > given->iov_len)
        memcpy(registers, given->iov_base, given->iov_len);
    else
        all = *given;
    return next(PTRACE_SETREGSET, process, kind, &all);
}

long ptrace(enum __ptrace_request request, ...)
{
    static call *next;
    va_list rest;
    va_start(rest, request);
    pid_t process = va_arg(rest, pid_t);
    void *address = va_arg(rest, void *), *data = va_arg(rest, void *);
    va_end(rest);
    if (!next)
        next = (call *)dlsym(RTLD_NEXT, "ptrace");
    if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE)
        return set_all(next, process, address, data);
    return next((int)request, process, address, data);
}
