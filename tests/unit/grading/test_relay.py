"""Whose the end of a learner's process is: of the test that used it, and of no other."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator
from typing import Any

from assay.agent.execution import Chunk
from assay.domain.facts import Facts
from assay.domain.outcome import Outcome, OutcomeKind
from assay.grading.frameworks.relay import Relay
from assay.grading.frameworks.students import Ended

CRASHED = Ended(
    outcome=Outcome(kind=OutcomeKind.SIGNALED, signal=9), by_itself=True, facts=Facts(signal=9),
    stderr=b"",
)  # fmt: skip


class Framework:
    """Says its frames, and hears nothing."""

    ended = False

    def __init__(self, *frames: tuple[bytes, object]) -> None:
        self._frames = frames

    async def output(self) -> AsyncIterator[Chunk]:
        for kind, content in self._frames:
            text = json.dumps(content).encode()
            data = kind + struct.pack(">I", len(text)) + text
            yield Chunk(stream="stdout", offset=0, data=data)

    async def write(self, data: bytes) -> None: ...


class Process:
    """A learner's, which ends by itself before anybody ends it."""

    def __init__(self) -> None:
        self.ended: Ended | None = None

    async def begin(self, *_: object) -> None: ...

    async def write(self, data: bytes) -> None:
        self.ended = CRASHED

    async def end(self) -> Ended:
        return CRASHED


async def _told(*frames: tuple[bytes, object]) -> dict[str, bool]:
    """Of each test, whether the end of a process counts for it."""
    relay = Relay(Framework(*frames), lambda tests: Process())  # type: ignore[arg-type, return-value]
    await relay.serve()
    return {name: ended is not None for name, (_, ended) in relay.report.told.items()}


def result(name: str) -> tuple[bytes, dict[str, Any]]:
    return b"R", {"id": name, "outcome": "passed"}


TESTS = (b"C", ["a", "b", "c"])
USED = ((b"B", None), (b"D", None))


async def test_the_end_of_the_former_files_process_is_not_the_next_files_first_tests() -> None:
    frames = TESTS, *USED, result("a"), (b"E", None), result("b"), *USED, result("c")
    assert await _told(*frames) == {"a": True, "b": False, "c": True}


async def test_a_test_that_asks_nothing_of_a_process_does_not_suffer_from_its_end() -> None:
    assert await _told(TESTS, *USED, result("a"), result("b")) == {"a": True, "b": False}


async def test_a_process_that_ends_before_its_tests_result_counts_for_it() -> None:
    frames = TESTS, *USED, (b"E", None), result("a"), *USED, (b"E", None), result("b")
    assert await _told(*frames) == {"a": True, "b": True}


async def test_the_end_of_a_process_that_several_tests_shared_is_not_the_next_tests() -> None:
    frames = TESTS, *USED, (b"E", False), result("a"), *USED, (b"E", True), result("b")
    assert await _told(*frames) == {"a": False, "b": True}
