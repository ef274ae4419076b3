#!/bin/sh
# Starts Linux as an ordinary program (user-mode-linux), as process 1 of namespaces of its own, on the
# standard input's word what to do there. All that it needs to write lies in a file system that nobody
# else sees and that goes with it, however it ends.
set -eu
ulimit -c 0 # a kernel that panics would leave one
mount -t tmpfs -o mode=700 machine /dev/shm
cat >/dev/shm/request
gcc -shared -fPIC -O2 -Wall -Werror -o /dev/shm/registers.so "${0%/*}/registers.c"
# Not by exec: the process 1 of a namespace gets no SIGABRT, and a kernel that panics wants one.
TMPDIR=/dev/shm LD_PRELOAD=/dev/shm/registers.so linux.uml "$@"
