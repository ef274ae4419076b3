/* The filter of system calls, where whatever makes sandboxes can't load such a one. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Load what a file holds, as the kernel takes it, for good; the file is removed. It holds for all
 * that this process starts, so it comes before anything else. No new privileges are left to it. */
bool filter_load(const char *path)
{
    static struct sock_filter filter[BPF_MAXINSNS];
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t length = read(file, filter, sizeof filter);
    close(file);
    if (length <= 0 || length % (ssize_t)sizeof *filter != 0 ||
        (unlink(path) < 0 && errno != EROFS)) /* part of an image, which all may read */
        return false;
    struct sock_fprog program = {.len = (unsigned short)(length / (ssize_t)sizeof *filter),
                                 .filter = filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}
