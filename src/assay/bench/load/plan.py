"""What the generator is told: jobs as JSON; and when what arrives, computed before it begins."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

import msgspec


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A program that learners run. "{mark}" in an argument, or in `expected`, is each run's own."""

    name: str
    environment: str
    argv: tuple[str, ...]
    expected: str
    """All of its standard output."""
    files: dict[str, bytes] = {}
    """Written into each runner once, before its first execution."""
    prepare: tuple[str, ...] = ()
    """Runs first, such as a compiler; its start is the one that counts."""
    stdin: bool = False
    wall_seconds: float = 60.0


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A program, and how often it is run among the others."""

    program: Program
    weight: float = 1.0


class Lease(msgspec.Struct, frozen=True, kw_only=True, tag="lease"):
    """Lease runners until there are so many; by several at a time."""

    environment: str
    count: int
    at_once: int = 8
    inactivity_seconds: int = 300
    deadline_seconds: float = 60.0


class Release(msgspec.Struct, frozen=True, kw_only=True, tag="release"):
    """Give all runners back."""

    at_once: int = 8


class Open(msgspec.Struct, frozen=True, kw_only=True, tag="open"):
    """Executions that arrive whatever the server does."""

    mix: tuple[Share, ...]
    rate: float
    """Executions a second."""
    seconds: float
    seed: int = 1
    churn: float = 0.0
    """Leases that end, and others that begin, each second."""
    patience_seconds: float = 0.0
    """How long to try again what a restarted server makes fail; 0: that is an error."""


class Closed(msgspec.Struct, frozen=True, kw_only=True, tag="closed"):
    """Workers, each with a runner, who run a program again as soon as it has ended."""

    program: Program
    workers: int
    seconds: float
    over: str = "run"
    """ "run": one request; "websocket": a request and a stream."""


class Fresh(msgspec.Struct, frozen=True, kw_only=True, tag="fresh"):
    """Executions that arrive whatever the server does, each with a sandbox that nobody had."""

    program: Program
    rate: float
    """Executions a second."""
    seconds: float
    seed: int = 1
    over: str = "run"
    """ "run": one request; "runners": a lease, an execution, its stream, and the lease's end."""
    deadline_seconds: float = 10.0
    """For a sandbox."""


class Claims(msgspec.Struct, frozen=True, kw_only=True, tag="claims"):
    """Leases that arrive, and are given back once they are there."""

    environment: str
    rate: float
    count: int
    seed: int = 1
    poisson: bool = True


class Storm(msgspec.Struct, frozen=True, kw_only=True, tag="storm"):
    """Claims by workers that never rest, beside `claims` by somebody else."""

    environment: str
    workers: int
    token: str
    claims: Claims


class Keys(msgspec.Struct, frozen=True, kw_only=True, tag="keys"):
    """Keys that are typed in a terminal, and come back."""

    program: Program
    count: int
    seconds_between: float = 0.02


Job = Lease | Release | Open | Fresh | Closed | Claims | Storm | Keys


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The first line: where the server is."""

    url: str
    token: str


def arrivals(rate: float, seconds: float, *, seed: int) -> list[float]:
    """Seconds after the beginning, ascending: a Poisson process in which so many came."""
    randomness = random.Random(seed)
    count = round(rate * seconds)
    return sorted(randomness.uniform(0.0, seconds) for _ in range(count))


def evenly(rate: float, count: int) -> list[float]:
    """Seconds after the beginning, all as far apart."""
    return [number / rate for number in range(count)]


def choices(mix: Sequence[Share], count: int, *, seed: int) -> list[int]:
    """Which of the mix each arrival is; an index."""
    randomness = random.Random(seed + 1)
    weights = [share.weight for share in mix]
    return randomness.choices(range(len(mix)), weights, k=count)


# Waits without a process of its own: nothing comes on its standard input, which stays open.
_WAIT: Final = 'echo "{mark}"; read -rt $0; echo "done {mark}"'


def waiting(seconds: float = 10.0) -> Program:
    """A bash program that waits."""
    return Program(
        name=f"bash, waits {seconds:g} s",
        environment="bash",
        argv=("/bin/bash", "-c", _WAIT, f"{seconds:g}"),
        expected="{mark}\ndone {mark}\n",
        stdin=True,
        wall_seconds=seconds + 20,
    )


def greeting() -> Program:
    """A bash program that says a word, and is over."""
    return Program(
        name="bash, says a word",
        environment="bash",
        argv=("/bin/bash", "-c", 'echo "$0"', "{mark}"),
        expected="{mark}\n",
        wall_seconds=20,
    )


_PYTHON: Final = b"""\
import sys, time
print(sys.argv[1], flush=True)
deadline = time.monotonic() + float(sys.argv[2])
while time.monotonic() < deadline:
    sum(range(1000))
    time.sleep(0.05)
print("done", sys.argv[1])
"""
_C: Final = b"""\
#include <stdio.h>
#include <unistd.h>
int main(int count, char **values) {
    printf("%s\\n", values[1]);
    fflush(stdout);
    usleep(200000);
    printf("done %s\\n", values[1]);
    return count != 2;
}
"""


def python(seconds: float) -> Program:
    """A Python program that computes a little, for a while."""
    return Program(
        name=f"python, {seconds:g} s",
        environment="python",
        argv=("/usr/bin/python3", "main.py", "{mark}", f"{seconds:g}"),
        expected="{mark}\ndone {mark}\n",
        files={"main.py": _PYTHON},
        wall_seconds=seconds + 30,
    )


def compiled() -> Program:
    """A C program, compiled each time."""
    return Program(
        name="c, compiled and run",
        environment="c",
        argv=("./main.out", "{mark}"),
        expected="{mark}\ndone {mark}\n",
        files={"main.c": _C},
        prepare=("/usr/bin/gcc", "-O1", "-o", "main.out", "main.c"),
        wall_seconds=30,
    )


MIXES: Final = {
    "mooc": (
        Share(program=waiting(10), weight=40),
        Share(program=waiting(1), weight=25),
        Share(program=python(0), weight=20),
        Share(program=python(2), weight=10),
        Share(program=compiled(), weight=5),
    ),
}
"""What `--mix` names besides "wait", which is the promise's: more like learners at work."""
