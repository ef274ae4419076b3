"""What drivers share that make sandboxes of this machine's own Linux.

confinement.py  what holds every sandbox        stage.py     what is shown in one, as steps
seccomp.py   which system calls are allowed     layout.py    which control groups a host has
folder.py    a sandbox's folder on disk         cgroups*.py  limits, counters and the end
users.py     user ids of its own                spares.py    groups that are used again
process.py   its process 1                      dial.py      a connection to its agent
kernel.py    system calls                       health.py    does it work on this machine
delegation.py  room for groups of version 2     working_folder.py  where an image's is
launcher.py  threads with mounts of their own   performer.py  takes a stage's steps in one
program.py   programs, and calling them         filter.py    system calls, for the kernel
launching.py  workshops that have launchers
"""
