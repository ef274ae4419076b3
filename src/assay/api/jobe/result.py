"""How a run ended, in Jobe's numbers.

Its clients take any standard error for a failure, so a limit that was passed is told by its number
alone.
"""

from __future__ import annotations

from enum import IntEnum
from signal import Signals
from typing import Final, NamedTuple

import msgspec

from assay.domain.outcome import Outcome, OutcomeKind
from assay.environments import StepKind
from assay.runners import RunResult

_SIGSEGV: Final = Signals.SIGSEGV
_SHOWN: Final = {
    number: f"\\x{number:02x}"
    for number in range(256)
    if number not in b"\n\r\t" and not 0x20 <= number <= 0x7E
}


class Number(IntEnum):
    """Jobe's outcomes."""

    COMPILATION_ERROR = 11
    RUNTIME_ERROR = 12
    TIME_LIMIT = 13
    SUCCESS = 15
    MEMORY_LIMIT = 17
    ILLEGAL_SYSCALL = 19
    INTERNAL_ERROR = 20
    SERVER_OVERLOAD = 21


class Source(NamedTuple):
    """Where the source lay. Learners are told of it by its name alone, as by CodeRunner."""

    folder: str
    name: str

    def by_name(self, said: bytes) -> bytes:
        """What was said, without the folder in front of the source's name."""
        name = self.name.encode()
        return said.replace(f"{self.folder.rstrip('/')}/".encode() + name, name)


class Answer(msgspec.Struct, kw_only=True):
    """What a client gets of a run."""

    run_id: str
    outcome: int
    cmpinfo: str = ""
    stdout: str = ""
    stderr: str = ""


def answer_of(run_id: str, result: RunResult, *, source: Source) -> Answer:
    """From what happened to what Jobe would say of it."""
    if result.step is StepKind.COMPILE:
        return not_compiled(run_id, result, source=source)
    number = number_of(result.outcome, stderr=bool(result.stderr))
    return Answer(
        run_id=run_id,
        outcome=number,
        stdout=text_of(result.stdout),
        stderr=text_of(source.by_name(_stderr(result, number))),
    )


def not_compiled(run_id: str, result: RunResult, *, source: Source) -> Answer:
    """What a compiler said, or why it said nothing. One that was lost is no learner's fault."""
    outcome = result.outcome
    if outcome.kind is OutcomeKind.LOST:
        return failed(run_id, f"the compiler was lost: {outcome.reason}")
    said = result.stderr or result.stdout
    # Clients look at this text: an empty one would be a success.
    why = "" if outcome.success else f"the compiler ended with {outcome}\n"
    return Answer(
        run_id=run_id,
        outcome=Number.COMPILATION_ERROR,
        cmpinfo=text_of(source.by_name(said if said.strip() else said + why.encode())),
    )


def failed(run_id: str, why: str) -> Answer:
    """The server's fault."""
    return Answer(run_id=run_id, outcome=Number.INTERNAL_ERROR, stderr=why)


def number_of(outcome: Outcome, *, stderr: bool) -> Number:
    """A program that ended by itself is judged by whether it wrote to its standard error."""
    match outcome.kind:
        case OutcomeKind.EXITED:
            return Number.RUNTIME_ERROR if stderr else Number.SUCCESS
        case OutcomeKind.SIGNALED:
            illegal = outcome.signal == Signals.SIGSYS
            return Number.ILLEGAL_SYSCALL if illegal else Number.RUNTIME_ERROR
        case OutcomeKind.TIMED_OUT:
            return Number.TIME_LIMIT
        case OutcomeKind.OUT_OF_MEMORY:
            return Number.MEMORY_LIMIT
        case OutcomeKind.OUTPUT_LIMIT:
            return Number.RUNTIME_ERROR
        case _:
            return Number.INTERNAL_ERROR


def _stderr(result: RunResult, number: Number) -> bytes:
    outcome, said = result.outcome, result.stderr
    if number in (Number.TIME_LIMIT, Number.MEMORY_LIMIT, Number.ILLEGAL_SYSCALL):
        return b""
    if outcome.kind is OutcomeKind.OUTPUT_LIMIT:
        return said + b"the program wrote more than it may, and was ended\n"
    if outcome.kind is OutcomeKind.SIGNALED and outcome.signal != _SIGSEGV:
        return said + f"the program was ended by signal {outcome.signal}\n".encode()
    if outcome.kind is OutcomeKind.LOST:
        return f"the program was lost: {outcome.reason}\n".encode()
    return said


def text_of(data: bytes) -> str:
    """Bytes as JSON can have them: text as it is, and in what is none odd bytes as \\xNN."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        # One pass in C: a learner's 16 MiB of odd bytes must not hold everybody up.
        return data.decode("latin-1").translate(_SHOWN)
