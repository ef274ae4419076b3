"""What was found of one way to execute: shares of time, as values and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

import msgspec

REST: Final = "event loop, what else"
MAIN, STORAGE = "MainThread", "assay-storage"
DRIVERS_THREADS: Final = "driver, its threads"
_DATABASE_THREAD: Final = "database, its thread"


_PARTS: Final = (
    "client, sockets, HTTP",
    "server, storing the command",
    "server, until the program is asked for",
    "wait for a sandbox",
    "agent, and the way to it and back",
    "the program, as its agent sees it",
    "server, from its end to the answer",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """Microseconds of one execution, in one way of executing."""

    name: str
    program: str
    count: int
    clock: Mapping[str, float]
    """From the request to the answer: medians of its parts, in order."""
    whole: float
    """The median of all of it, seen by the client."""
    server: Mapping[str, float]
    """Processor time of the server by stage, the largest first."""
    processes: Mapping[str, float | None]
    """Processor time of everybody; None is unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """What one run has found."""

    name: str
    """Such as "before"."""
    version: str
    driver: str
    machine: Mapping[str, Any]
    ways: tuple[Way, ...]


def to_data(profile: Profile) -> dict[str, Any]:
    """For JSON."""
    return asdict(profile)


def from_json(text: bytes) -> Profile:
    """The reverse. Raises msgspec.MsgspecError."""
    return msgspec.json.decode(text, type=Profile)


def clock_of(
    moments: Sequence[Sequence[int]],
    totals: Sequence[float],
    programs: Sequence[float],
    waits: Sequence[float],
) -> dict[str, float]:
    """Parts of an execution's time: medians in microseconds.

    `moments`: nanoseconds of a request before it that stored the command, until the agent was
    told, until it answered, and until the answer was made; `totals` seconds from request to answer,
    `programs` of each program as its agent saw it, and `waits` for a sandbox, which are part of the
    second of these.
    """
    rows = zip(moments, totals, programs, waits, strict=True)
    columns = zip(
        *((
            total * 1e9 - sum(parts), parts[0], parts[1] - wait * 1e9, wait * 1e9,
            parts[2] - program * 1e9, program * 1e9, parts[3],
        ) for parts, total, program, wait in rows),
        strict=True,
    )  # fmt: skip
    return {name: max(0.0, median(each)) / 1000 for name, each in zip(_PARTS, columns, strict=True)}


def server_of(
    before: Mapping[str, Any], after: Mapping[str, Any], count: int, *, main: float
) -> dict[str, float]:
    """The server's processor time by stage, for each execution: microseconds.

    `main` is that of the event loop's thread where no probes are in it: what is left of it is
    the loop's own.
    """
    stages = _difference(before["stages"], after["stages"], count)
    threads = _difference(before["threads"], after["threads"], count)
    stages[REST] = max(0.0, main - sum(stages.values()))
    whole = sum(stages.values())  # more than `main` where the probes took more than was left
    found = {name: spent / whole * main for name, spent in stages.items()}
    found[_DATABASE_THREAD] = threads.get(STORAGE, 0.0)
    found[DRIVERS_THREADS] = sum(
        spent for name, spent in threads.items() if name not in (MAIN, STORAGE)
    )
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _difference(
    before: Mapping[str, int], after: Mapping[str, int], count: int
) -> dict[str, float]:
    return {name: (spent - before.get(name, 0)) / 1000 / count for name, spent in after.items()}
