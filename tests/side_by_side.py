"""Two pytests at a time, for most of what tests do is waiting; then two for what would be disturbed
by the others, but not by each other; then one for what measures. Quick tests: three.

Files are dealt as they come: whoever is done with one takes the next that nobody has.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pytest

APART = ("drivers/nodes/test_servers.py", "cgroup2")
"""What waits for seconds that others must not make longer, and needs little of the machine."""
ALONE = ("conformance", "bench", "drivers/local/test_spares.py", "server/test_drill.py")
"""What they measure, memory of the host, say, or find must not depend on other tests."""
WHOLE = ("drivers/local",)
"""Folders whose tests look for whatever any of them has left on the machine."""
HERE = Path(__file__).parent
LONGEST = ("--durations=40", "--durations-min=2")
"""What takes so long is named at the end: who adds to it sees what it costs."""
FINE = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


def taken_files(items: Sequence[pytest.Item], claims: Path) -> Iterator[pytest.Item]:
    """The tests of all files that nobody else has taken, which are taken when they are reached."""
    for path, of_file in itertools.groupby(items, lambda item: piece(item.path)):
        try:
            (claims / str(path).replace("/", "+")).touch(exist_ok=False)
        except FileExistsError:
            continue
        yield from of_file


def piece(path: Path) -> Path:
    """What is dealt as a whole: a file, or a folder."""
    folders = (HERE / name for name in WHOLE)
    return next((folder for folder in folders if path.is_relative_to(folder)), path)


def run_taken(session: pytest.Session, claims: Path) -> None:
    """As pytest's own loop, which knows beforehand what comes next."""
    if session.testsfailed:
        raise session.Interrupted(f"{session.testsfailed} errors during collection")
    items = taken_files(session.items, claims)
    item = next(items, None)
    while item is not None:
        following = next(items, None)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following


def main(arguments: Sequence[str]) -> int:
    """Run all tests, with these arguments for pytest besides. The exit status is pytest's.

    One may be `--fast`: then only the quick ones.
    """
    signal.signal(signal.SIGINT, lambda *_: None)  # they hear it themselves, and end
    fast = "--fast" in arguments
    rest = [each for each in arguments if each != "--fast"]
    if fast:
        rest += ["-m", "not slow"]
    left_out = [f"--ignore={path}" for path in paths((*APART, *ALONE))]
    # Quick tests wait more than they compute, and measure nothing.
    statuses = deal([*rest, *left_out], to=3 if fast else 2)
    if not fast and pytest.ExitCode.INTERRUPTED not in statuses:
        statuses += deal([*rest, *paths(APART)], to=2)
    if not fast and pytest.ExitCode.INTERRUPTED not in statuses:
        statuses.append(start([*rest, *paths(ALONE)]).wait())
    return next((each for each in statuses if each not in FINE), 0)


def paths(names: Sequence[str]) -> list[str]:
    """As pytest takes them."""
    return [f"tests/{name}" for name in names]


def deal(arguments: Sequence[str], *, to: int) -> list[int]:
    """Their exit statuses; what the first says is shown as it comes, then what the others said."""
    with contextlib.ExitStack() as stack:
        claims = stack.enter_context(tempfile.TemporaryDirectory(prefix="assay-claims-"))
        dealt = [f"--claims={claims}", *arguments]
        told = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(to - 1)]
        others = [start([*dealt, "-p", "no:cacheprovider"], each) for each in told]
        statuses = [each.wait() for each in (start(dealt), *others)]
        for each in told:
            each.seek(0)
            print("=== and beside it:", flush=True)
            shutil.copyfileobj(each, sys.stdout.buffer)
            sys.stdout.flush()
    return statuses


def start(arguments: Sequence[str], output: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """A pytest of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *LONGEST, *arguments], stdout=output, stderr=output
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
