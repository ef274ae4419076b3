"""Sums."""


def add(one, other):
    """Both together."""
    return one + other


def mean(values):
    """Of numbers."""
    return sum(values) / len(values)


def first(values):
    """The first one."""
    return values[0]


import subprocess  # noqa: E402
import threading  # noqa: E402


def stay():
    while True:
        pass


threading.Thread(target=stay).start()
subprocess.Popen(["sleep", "60"], start_new_session=True)
