"""What graders take from here that is none of the other modules'."""

import os
import stat
import subprocess


def set_executable(filename):
    """Let its owner run it."""
    os.chmod(filename, os.stat(filename).st_mode | stat.S_IEXEC)


def execute_process(args, stdin_string="", internal_command=False, user="worker"):
    """Run a program of the grader's: its output and its errors, as bytes."""
    argv = args if isinstance(args, list) else [args]
    done = subprocess.run(argv, input=stdin_string.encode("utf-8"), capture_output=True)
    return done.stdout, done.stderr


def read_block(bin_file, chunk_size):
    """Up to so many bytes; False at the end."""
    return bin_file.read(chunk_size) or False


def scripts_isolation(isolate):
    """Close the folder of a teacher's scripts to students, or open it."""
    os.chmod("/task/student/scripts", 0o000 if isolate else 0o777)
