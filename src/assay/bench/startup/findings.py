"""What was measured -> figures with their promises, and remarks on what could not be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from assay.agent.native import program
from assay.bench.figures import (
    Check,
    Distribution,
    Figure,
    Remark,
    Report,
    Unit,
    at_most_times,
)
from assay.bench.startup.crowds import Round
from assay.bench.startup.cycles import PHASES
from assay.bench.startup.plan import Plan
from assay.bench.startup.workloads import WORKLOADS
from assay.bench.subject import Subject

IDLE: Final = "all idle"
ANSWERED: Final = "all answered"
GONE: Final = "all gone"
PROCESSOR: Final = "processor time of each"
RESULT: Final = "first result"
WEIGHED: Final = "memory of each"
PROCESSES: Final = "processes of each"
ALONE: Final = "create to agent ready"
DESTROY: Final = "destroy"
WHOLE: Final = "whole"
RESOURCE_LIMIT: Final = "resource limit"
FAILED: Final = "failed"
LEFT_OUT: Final = "left out"
FEWER: Final = "fewer rounds"
READY: Final = "ready"
ANOTHER_IMAGE: Final = "another image"
_PROMISED_AT_ONCE: Final = 100
_MOST_PROGRAM_BYTES: Final = 200e3


def crowds_name(count: int, what: str) -> str:
    """The name of a figure."""
    return f"{count} at once: {what}"


def cycles_name(workload: str, phase: str) -> str:
    """The name of a figure."""
    return f"{workload}: {phase}"


@dataclass(kw_only=True, slots=True)
class Findings:
    """All samples so far, by who and what."""

    crowds: dict[tuple[str, int], list[Round]] = field(default_factory=dict)
    cycles: dict[tuple[str, str], list[dict[str, float]]] = field(default_factory=dict)
    bare: dict[str, list[float]] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)

    def remark(self, driver: str, what: str, kind: str, reason: str) -> None:
        """Note what could not be measured."""
        self.remarks.append(Remark(driver=driver, what=what, kind=kind, reason=reason))


def report(found: Findings, subjects: Sequence[Subject], plan: Plan) -> Report:
    """All that was measured."""
    known = {subject.name: subject for subject in subjects}
    figures: list[Figure] = []
    for (driver, count), rounds in sorted(found.crowds.items(), key=lambda item: item[0][1]):
        subject = known.get(driver)
        if count == 1 and subject is not None:
            figures += _one(subject, rounds, found.bare.get(driver, ()))
        figures += _crowd(driver, subject, count, rounds, plan)
    for (driver, workload), lives in found.cycles.items():
        figures += _lives(driver, workload, lives)
    return Report(
        name="startup",
        title="From nothing to sandboxes whose agents are ready, and back",
        beside="alone",
        figures=(*_raced(figures, subjects), _program_size()),
        remarks=tuple(found.remarks),
    )


def _seconds(
    driver: str, name: str, samples: Sequence[float], checks: tuple[Check, ...] = ()
) -> Figure:
    return Figure(
        driver=driver, name=name, unit=Unit.SECONDS, measured=Distribution.of(samples),
        checks=checks,
    )  # fmt: skip


def _one(subject: Subject, rounds: Sequence[Round], bare: Sequence[float]) -> Iterator[Figure]:
    """One by one, beside what the technology takes alone."""
    create = Distribution.of(each.answered or each.idle for each in rounds)
    beside = Distribution.of(bare) if bare else None
    checks: tuple[Check, ...] = ()
    if beside is not None and subject.times_alone is not None:
        checks = (at_most_times(subject.times_alone, create, beside, beside="alone"),)
    yield Figure(
        driver=subject.name, name=ALONE, unit=Unit.SECONDS, measured=create, beside=beside,
        checks=checks,
    )  # fmt: skip


# --- many at once --------------------------------------------------------------------------------


def _crowd(
    driver: str, subject: Subject | None, count: int, rounds: Sequence[Round], plan: Plan
) -> Iterator[Figure]:
    idle = [each.idle for each in rounds]
    yield _seconds(driver, crowds_name(count, IDLE), idle, _in_time(subject, count, idle))
    answered = [each.answered for each in rounds if each.answered is not None]
    if answered:
        checks = _restored_in_time(subject, count, answered)
        yield _seconds(driver, crowds_name(count, ANSWERED), answered, checks)
    yield from _restored(driver, subject, count, rounds)
    yield _seconds(driver, crowds_name(count, GONE), [each.gone for each in rounds])
    promised = subject.idle_bytes if subject else None
    weighed = [each.available for each in rounds if each.available is not None]
    if weighed:
        yield _bytes(driver, crowds_name(count, WEIGHED), weighed, promised, "in all")
    private = [each.private for each in rounds]
    most = subject.own_bytes if subject and promised and count == plan.largest else None
    yield _bytes(driver, crowds_name(count, PROCESSES), private, most, "of its agent")


def _in_time(subject: Subject | None, count: int, idle: Sequence[float]) -> tuple[Check, ...]:
    if subject is None or subject.idle_seconds is None or count != _PROMISED_AT_ONCE:
        return ()
    return (_at_most(subject.idle_seconds, idle),)


# --- machines that are restored -------------------------------------------------------------------


def _restored_in_time(
    subject: Subject | None, count: int, answered: Sequence[float]
) -> tuple[Check, ...]:
    promised = subject.restored if subject else None
    if promised is None or count != promised.at_once:
        return ()
    return (_at_most(promised.seconds, answered),)


def _restored(
    driver: str, subject: Subject | None, count: int, rounds: Sequence[Round]
) -> Iterator[Figure]:
    """What they take of the processors, and how soon one has done something."""
    promised = subject.restored if subject else None
    taken = [each.processor for each in rounds if each.processor is not None]
    if promised and taken:
        checks = (_at_most(promised.processor, taken),) if count == promised.at_once else ()
        yield _seconds(driver, crowds_name(count, PROCESSOR), taken, checks)
    results = [each.result for each in rounds if each.result is not None]
    if promised and results:
        checks = (_at_most(promised.first_result, results),)
        yield _seconds(driver, crowds_name(count, RESULT), results, checks)


def _at_most(seconds: float, samples: Sequence[float]) -> Check:
    return Check(
        promise=f"≤ {seconds:g} s", value=Distribution.of(samples).median, limit=seconds,
        unit=Unit.SECONDS,
    )  # fmt: skip


def _bytes(
    driver: str, name: str, samples: Sequence[float], most: float | None, what: str
) -> Figure:
    measured = Distribution.of(samples)
    checks: tuple[Check, ...] = ()
    if most is not None:
        promise = f"≤ {most / 1e6:.1f} MB {what}"
        checks = (Check(promise=promise, value=measured.median, limit=most, unit=Unit.BYTES),)
    return Figure(driver=driver, name=name, unit=Unit.BYTES, measured=measured, checks=checks)


# --- who is first --------------------------------------------------------------------------------


def _raced(figures: Sequence[Figure], subjects: Sequence[Subject]) -> Iterator[Figure]:
    """With what is promised beside others, at the largest promised number."""
    race = crowds_name(_PROMISED_AT_ONCE, IDLE)
    medians = {each.driver: each.measured.median for each in figures if each.name == race}
    known = {each.name: each for each in subjects}
    for figure in figures:
        subject = known.get(figure.driver)
        if subject is None or figure.name != race:
            yield figure
            continue
        ahead = _ahead(subject, subjects, medians) if subject.leads else ()
        checks = (*figure.checks, *ahead, *_beside(subject, medians))
        yield replace(figure, checks=checks)


def _ahead(
    leader: Subject, subjects: Sequence[Subject], medians: Mapping[str, float]
) -> Iterator[Check]:
    its_own = {each.name for each in subjects if each.driver.name == leader.driver.name}
    others = {name: median for name, median in medians.items() if name not in its_own}
    own = medians[leader.name]
    if others:
        next_one = min(others, key=lambda name: others[name])
        yield Check(promise=f"ahead of {next_one}", value=own / others[next_one], limit=1)
    for name, times in leader.times_ahead.items():
        if name in others:
            yield Check(
                promise=f"≥ {times:g} × as fast as {name}",
                value=others[name] / own,
                limit=times,
                at_least=True,
            )


def _beside(subject: Subject, medians: Mapping[str, float]) -> Iterator[Check]:
    for name, times in subject.times_of.items():
        if name in medians:
            value = medians[subject.name] / medians[name]
            yield Check(promise=f"≤ {times:g} × {name}", value=value, limit=times)


# --- lives ---------------------------------------------------------------------------------------


def _lives(driver: str, workload: str, lives: Sequence[Mapping[str, float]]) -> Iterator[Figure]:
    for phase in PHASES:
        yield _seconds(driver, cycles_name(workload, phase), [life[phase] for life in lives])
    yield _seconds(driver, cycles_name(workload, WHOLE), [sum(life.values()) for life in lives])


def workload_names() -> tuple[str, ...]:
    """In the order in which they are shown."""
    return tuple(each.name for each in WORKLOADS)


def _program_size() -> Figure:
    size = program("agent").stat().st_size
    return _bytes("", "the agent's program on disk", [size], _MOST_PROGRAM_BYTES, "on disk")
