"""Try a task: grade what must have full marks and what must not, in real sandboxes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Final

import msgspec

from assay.domain.errors import (
    EnvironmentUnusable,
    GradingLost,
    ImageUnavailable,
    LimitOverCeiling,
    UnknownEnvironment,
)  # fmt: skip
from assay.domain.limits import ExecutionLimits
from assay.environments import Blueprint, Trials
from assay.environments.document import Execution
from assay.grading.attempt import Attempt
from assay.grading.grade import grade
from assay.grading.graders.generating import random_cases
from assay.grading.joint import Seats
from assay.grading.places import Places
from assay.grading.recorded import recorded_of, right_answers
from assay.grading.references import References
from assay.grading.results import Result, Verdict
from assay.grading.tasks.bundle import Bundle
from assay.grading.tasks.model import Cases, Task
from assay.grading.tasks.submission import Submission
from assay.grading.together import each
from assay.grading.trials import report
from assay.grading.trials.findings import (
    Finding,
    error,
    note,
    read,
    runs_programs,
    unanswered,
)  # fmt: skip
from assay.grading.trials.mutants import Mutant, chosen, mutants_of
from assay.grading.trials.report import Mutation, Report, Tried
from assay.grading.trials.submissions import Trial, reference, wrong_ones

REFERENCES: Final = (1, 1, 2, 3)
"""Seeds with which the reference solution is graded; the same one twice."""
_ATTEMPTS: Final = 3
"""At a grading whose sandbox is lost, which is not the task's fault."""
_LEAST_SECONDS: Final = 1.0
_PATIENCE: Final = 10
"""Mutants may take so much longer than the reference solution, and then hang for sure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How thorough to be."""

    mutants: int = 30
    """At most."""
    seconds: float = 120.0
    """For mutants; those that run are waited for."""
    threshold: float = 50.0
    """Percent of the mutants that must not get full marks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Watcher:
    """Hears how far it has come."""

    begins: Callable[[str], object] = lambda name: None
    ended: Callable[[Tried], object] = lambda tried: None


async def check(
    task: Task,
    bundle: Bundle,
    places: Places,
    *,
    seats: Seats,
    workers: int = 2,
    options: Options = Options(),
    watcher: Watcher = Watcher(),
) -> Report:
    """Try one task. `seats` are for sandboxes, `workers` for submissions at a time.

    Raises what sandboxes raise; what is wrong with the task is in the report.
    """
    started = time.monotonic()
    checking = _Checking(task, bundle, places, seats, workers, options, watcher)
    try:
        await checking.all()
    except (EnvironmentUnusable, ImageUnavailable, UnknownEnvironment, LimitOverCeiling) as problem:
        checking.findings.append(
            error("environment", f"it could not be tried: {problem.message}", "then try it again")
        )
    return Report(
        task=task.id,
        digest=bundle.digest,
        environment=task.environment,
        tried=tuple(checking.tried),
        mutation=checking.mutation,
        findings=tuple(checking.findings),
        seconds=time.monotonic() - started,
    )


@dataclass(slots=True)
class _Checking:
    task: Task
    bundle: Bundle
    places: Places
    seats: Seats
    workers: int
    options: Options
    watcher: Watcher
    findings: list[Finding] = field(default_factory=list)
    tried: list[Tried] = field(default_factory=list)
    mutation: Mutation | None = None
    references: References = field(default_factory=References)

    async def all(self) -> None:
        """One thing after the other: what comes later makes no sense without the former."""
        self.findings += read(self.task, datetime.now(UTC))
        recorded = recorded_of(self.task, self.bundle)
        answers = right_answers(self.task, recorded)
        self.findings += unanswered(self.task, answers.keys())
        if runs_programs(self.task) and not self.task.solution:
            return
        blueprint = await self.places.blueprint(self.task.environment, self.task.sandbox)
        right = reference(self.task, answers)
        results = await self._reference(right, blueprint)
        if not all(map(report.full, results)):
            return
        programs = Trials() if blueprint.folder is None else blueprint.folder.trials
        hurried = self._hurried(results, blueprint)
        await self._wrong_ones(wrong_ones(self.task, right, programs), hurried)
        if runs_programs(self.task):
            await self._mutants(right, programs, hurried)

    async def _reference(self, right: Submission, blueprint: Blueprint) -> list[Result]:
        async def one(seed: int) -> Result:
            result, seconds = await self._grade(self.task, right, seed)
            self._tell(f"reference solution, seed {seed}", result, seconds, report.full(result))
            return result

        self.watcher.begins("reference solution")
        results = await each(one, REFERENCES, at_once=self.workers)
        self.findings += report.of_reference(results)
        if all(map(report.full, results)):
            limits = self.task.limits.over(blueprint.environment.execution)
            self.findings += report.of_time(results, limits, blueprint.environment.sandbox)
            await self._generators(right)
        return results

    async def _generators(self, right: Submission) -> None:
        """Whether generators make the same of one seed, and something else of another one."""
        for part in self.task.parts:
            if not isinstance(part, Cases) or part.random is None:
                continue
            self.watcher.begins(f"the generator of {part.id}")
            one, again, *others = [await self._inputs(part, right, seed) for seed in REFERENCES]
            if one != again:
                self.findings.append(error(
                    "generator-not-repeatable",
                    f"the generator of {part.id!r} makes something else of the same seed each time,"
                    " so nothing can be graded again",
                    "make everything from its first argument: random.Random(int(sys.argv[1]))",
                ))  # fmt: skip
            elif all(other == one for other in others):
                self.findings.append(error(
                    "generator-constant",
                    f"the generator of {part.id!r} makes the same of every seed",
                    "make what it prints from its arguments, the seed and the case's number",
                ))  # fmt: skip

    async def _inputs(self, part: Cases, right: Submission, seed: int) -> list[bytes]:
        cases = await random_cases(part, self._attempt(self.task, right, seed))
        return [case.stdin for case in cases]

    async def _wrong_ones(self, trials: Iterable[Trial], hurried: Task) -> None:
        async def one(trial: Trial) -> tuple[Trial, Result]:
            self.watcher.begins(trial.name)
            task = hurried if trial.hurried else self.task
            result, seconds = await self._grade(task, trial.submission, 1)
            right = not report.full(result) and result.verdict is not Verdict.ERROR
            self._tell(trial.name, result, seconds, right)
            return trial, result

        for trial, result in await each(one, list(trials), at_once=self.workers):
            self.findings += report.of_trial(trial, result, self.task.passing_grade)

    async def _mutants(self, right: Submission, programs: Trials, hurried: Task) -> None:
        if programs.mutants is None or self.options.mutants == 0:
            if programs.mutants is None:
                self.findings.append(note(
                    "no-mutants",
                    f"of {self.task.environment} nobody has said how to make small mistakes",
                    "add [trials] to its environment.toml (docs/environments.md)",
                ))  # fmt: skip
            return
        kind = PurePosixPath(self.task.files[0]).suffix
        sources = {name: text for name, text in right.files.items() if name.endswith(kind)}
        made = mutants_of(sources, programs.mutants)
        wanted = chosen(made, self.options.mutants, self.bundle.digest)
        ended = await self._mutated(right, wanted, hurried)
        self.mutation = self._counted(len(made), wanted, ended)
        self.findings += report.of_mutants(self.mutation, self.options.threshold)

    async def _mutated(
        self, right: Submission, mutants: Sequence[Mutant], hurried: Task
    ) -> list[Result | None]:
        deadline = time.monotonic() + self.options.seconds
        done = 0

        async def one(mutant: Mutant) -> Result | None:
            nonlocal done
            if time.monotonic() > deadline:
                return None
            done += 1
            self.watcher.begins(f"mutant {done} of {len(mutants)}")
            submission = replace(right, files={**right.files, mutant.file: mutant.source.encode()})
            return (await self._grade(hurried, submission, 1))[0]

        return await each(one, mutants, at_once=self.workers)

    def _counted(
        self, made: int, mutants: Sequence[Mutant], results: Sequence[Result | None]
    ) -> Mutation:
        tried = [(m, result) for m, result in zip(mutants, results, strict=True) if result]
        broken = [(m, result) for m, result in tried if result.verdict is Verdict.ERROR]
        for mutant, result in broken[:1]:
            trial = Trial(name=f"the mutant {mutant}", submission=Submission(), remedy="")
            self.findings += report.of_trial(trial, result, self.task.passing_grade)
        whole = [(m, result) for m, result in tried if (m, result) not in broken]
        programs = [(m, result) for m, result in whole if report.compiled(self.task, result)]
        survived = tuple(mutant for mutant, result in programs if report.full(result))
        return Mutation(
            made=made,
            killed=len(programs) - len(survived),
            survived=survived,
            uncompiled=len(whole) - len(programs),
            faults=len(broken),
            left=len(mutants) - len(tried),
        )

    def _hurried(self, results: Sequence[Result], blueprint: Blueprint) -> Task:
        """The task with less time, for what may hang: each of its cases would take all of it."""
        limits = self.task.limits.over(blueprint.environment.execution)
        enough = max(_LEAST_SECONDS, _PATIENCE * report.slowest(self.task, results))
        return replace(self.task, limits=_at_most(self.task.limits, limits, enough))

    async def _grade(self, task: Task, submission: Submission, seed: int) -> tuple[Result, float]:
        for attempt in range(1, _ATTEMPTS + 1):
            started = time.monotonic()
            try:
                result = await grade(self._attempt(task, submission, seed))
            except GradingLost:
                if attempt == _ATTEMPTS:
                    raise
            else:
                return result, time.monotonic() - started
        raise AssertionError("unreachable")

    def _attempt(self, task: Task, submission: Submission, seed: int) -> Attempt:
        return Attempt(
            task=task, bundle=self.bundle, submission=submission, places=self.places, seed=seed,
            seats=self.seats, references=self.references,
        )  # fmt: skip

    def _tell(self, name: str, result: Result, seconds: float, right: bool) -> None:
        tried = Tried(
            name=name, verdict=result.verdict, grade=result.grade, seconds=seconds, right=right
        )
        self.tried.append(tried)
        self.watcher.ended(tried)


def _at_most(said: Execution, limits: ExecutionLimits, seconds: float) -> Execution:
    wall, cpu = limits.wall_seconds, limits.cpu_seconds
    return msgspec.structs.replace(
        said,
        wall_seconds=seconds if wall is None else min(wall, seconds),
        cpu_seconds=seconds if cpu is None else min(cpu, seconds),
    )
