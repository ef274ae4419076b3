"""What is said, in one line, about a program that has ended."""

from __future__ import annotations

import errno
import os
import signal
from dataclasses import dataclass

from assay.cli.exit_status import status_of_outcome
from assay.domain.command import Command
from assay.domain.facts import Facts
from assay.domain.limits import MIB, SandboxLimits
from assay.domain.outcome import Outcome, OutcomeKind
from assay.environments import ExecutionEnvironment, StepKind


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """The last step that ran: the program, or the compiler if it failed."""

    environment: ExecutionEnvironment
    step: StepKind
    command: Command
    sandbox: SandboxLimits
    facts: Facts
    outcome: Outcome

    @property
    def status(self) -> int:
        """The exit status."""
        return status_of_outcome(self.outcome)


def remark(ended: Ended) -> str | None:
    """One line about an end that the program itself couldn't explain, with the remedy."""
    outcome = ended.outcome
    if ended.facts.start_error is not None:
        return _not_started(ended)
    if outcome.kind is OutcomeKind.TIMED_OUT:
        return _timed_out(ended)
    if outcome.kind is OutcomeKind.OUT_OF_MEMORY:
        used, most = ended.sandbox.memory_bytes, ended.environment.ceilings.sandbox.memory_bytes
        return _passed(ended, "memory limit", used // MIB, "MB", "--memory", most // MIB)
    if outcome.kind is OutcomeKind.OUTPUT_LIMIT:
        return _too_much_output(ended)
    if outcome.kind is OutcomeKind.CANCELLED:
        return "cancelled"
    if outcome.kind is OutcomeKind.LOST:
        return f"{outcome.reason}, so nothing is known of the program's end; run it again"
    return None


def last_words(outcome: Outcome) -> str | None:
    """What a shell says on a terminal when a program is ended by a signal."""
    if outcome.signal is None or outcome.signal in (signal.SIGINT, signal.SIGPIPE):
        return None
    return signal.strsignal(outcome.signal) or f"signal {outcome.signal}"


def _not_started(ended: Ended) -> str:
    program, reason = ended.command.argv[0], ended.facts.start_error or ""
    number = getattr(errno, reason, None)
    why = os.strerror(number) if number else reason
    name = ended.environment.name
    if ended.facts.start_step == "directory":
        program = f"{program} in the folder {ended.command.folder}"
    return f"cannot start {program} in the environment {name}: {why}"


def _timed_out(ended: Ended) -> str:
    limits, most = ended.command.limits, ended.environment.ceilings.run
    if ended.outcome.clock == "cpu":
        limit, ceiling = limits.cpu_seconds, most.cpu_seconds
        return _passed(ended, "processor time limit", limit, "s", "--cpu", ceiling)
    limit, ceiling = limits.wall_seconds, most.wall_seconds
    return _passed(ended, "time limit", limit, "s", "--time", ceiling)


def _too_much_output(ended: Ended) -> str:
    limit = (ended.command.limits.output_bytes or 0) / MIB
    most = ended.environment.ceilings.run.output_bytes
    ceiling = None if most is None else most // MIB
    return _passed(ended, "output limit", limit, "MB", "--output", ceiling)


def _passed(
    ended: Ended,
    what: str,
    limit: float | None,
    unit: str,
    flag: str,
    most: float | None,
) -> str:
    name = ended.environment.name
    who = "the compiler" if ended.step is StepKind.COMPILE else "the program"
    text = f"{who} passed its {what} of {limit or 0:g} {unit}"
    if ended.step is StepKind.COMPILE and flag != "--memory":
        return f"{text}, which the environment {name} sets"
    if most is not None and limit is not None and limit >= most:
        return f"{text}, the most that the environment {name} allows"
    at_most = "" if most is None else f" (at most {most:g} in the environment {name})"
    return f"{text}; {flag} {'S' if unit == 's' else unit} gives it more{at_most}"
