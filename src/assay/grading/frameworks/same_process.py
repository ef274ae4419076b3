"""Unit tests that are linked with the learner's code, for languages that know no other way.

Which tests there are is known from the reference solution; a result counts only if the program
ended in the ordinary way, its exit status agrees, and every test is reported. All the same,
learner's code is in the process that writes the report: docs/unit-tests.md says what that means.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from assay.agent.entries import Entry
from assay.agent.execution import Completed
from assay.agent.files import put_files, read_file
from assay.domain.errors import FileError, TaskFault
from assay.domain.limits import MIB, ExecutionLimits
from assay.domain.outcome import OutcomeKind
from assay.environments.plan import command_in
from assay.environments.served import Blueprint
from assay.grading import feedback
from assay.grading.attempt import Attempt
from assay.grading.frameworks.reports import weights_of
from assay.grading.frameworks.toolchains import TOOLCHAINS, Toolchain
from assay.grading.frameworks.xml_reports import REPORT_MOST, NoReport, Tested
from assay.grading.programs import COMPILE_LIMITS, OUTPUT_MOST, Uncompiled, entries_of, made_by
from assay.grading.results import TestResult, Verdict
from assay.grading.tasks.model import UnitTests

_OUTPUT: Final = MIB
_FAILED_STATUS: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ran:
    completed: Completed
    tested: Mapping[str, Tested]


async def run_linked(part: UnitTests, attempt: Attempt) -> list[TestResult] | Uncompiled:
    """A result for each test that the reference solution passes. Raises TaskFault."""
    toolchain = TOOLCHAINS[part.framework]
    ids = await _known(part, attempt, toolchain)
    weights = weights_of(part, ids)
    ran = await _ran(part, attempt, toolchain, attempt.submission.files)
    if isinstance(ran, Uncompiled):
        return ran
    verdict, why = _ended(ran, ids)
    return [_result(part, name, weights[name], ran, verdict, why) for name in ids]


async def _known(part: UnitTests, attempt: Attempt, toolchain: Toolchain) -> list[str]:
    """The tests of a version of the task, and of what it is compiled with and may use."""
    blueprint = await attempt.blueprint()
    limits = _limits(attempt, blueprint)
    key = attempt.bundle.digest, blueprint.version, limits, part.id

    async def make() -> list[str]:
        return await _expected(part, attempt, toolchain)

    ids: list[str] = await attempt.references.once(key, make)
    return ids


def _limits(attempt: Attempt, blueprint: Blueprint) -> ExecutionLimits:
    execution = replace(blueprint.environment.execution, output_bytes=OUTPUT_MOST)
    return attempt.limits(execution, of="tests")


async def _expected(part: UnitTests, attempt: Attempt, toolchain: Toolchain) -> list[str]:
    ran = await _ran(part, attempt, toolchain, attempt.task.solution)
    if isinstance(ran, Uncompiled):
        raise TaskFault(
            f"the reference solution can't be compiled with the tests; {toolchain.package} must"
            " be in the environment",
            detail=ran.message,
        )
    failed = [name for name, each in ran.tested.items() if not each.passed]
    if failed or not ran.tested or not ran.completed.outcome.success:
        raise TaskFault(
            f"the reference solution does not pass the tests ({', '.join(failed)[:500]}), and ended"
            f" with {ran.completed.outcome}",
            detail=feedback.block(ran.completed.stderr or ran.completed.stdout),
        )
    return list(ran.tested)


def _ended(ran: _Ran, ids: list[str]) -> tuple[Verdict | None, str]:
    """Why no test can count, or None."""
    outcome = ran.completed.outcome
    if outcome.kind is not OutcomeKind.EXITED:
        return feedback.verdict_of(outcome), feedback.words(outcome)
    passed = [name for name in ids if name in ran.tested and ran.tested[name].passed]
    complete = set(ran.tested) == set(ids)
    agrees = outcome.code == (0 if len(passed) == len(ids) else _FAILED_STATUS)
    if complete and agrees:
        return None, ""
    return Verdict.CRASHED, f"{feedback.words(outcome)} The tests were not over yet."


def _result(
    part: UnitTests, name: str, weight: float, ran: _Ran, verdict: Verdict | None, why: str
) -> TestResult:
    tested = ran.tested.get(name)
    if verdict is None:
        assert tested is not None
        verdict = Verdict.PASSED if tested.passed else Verdict.FAILED
        why = feedback.block(tested.message) if tested.message and not tested.passed else ""
    passed = verdict is Verdict.PASSED
    return TestResult(
        name=name, verdict=verdict, score=float(passed), weight=weight, hidden=part.hidden,
        message="" if part.hidden else why, detail=why if part.hidden else "",
        outcome=ran.completed.outcome,
    )  # fmt: skip


# --- building and running ------------------------------------------------------------------------


async def _ran(
    part: UnitTests, attempt: Attempt, toolchain: Toolchain, files: Mapping[str, bytes]
) -> _Ran | Uncompiled:
    made = await _built(part, attempt, toolchain, files)
    if isinstance(made, Uncompiled):
        return made
    async with attempt.place() as place:
        root, agent = place.blueprint.root, place.session.agent
        await put_files(agent, root.working_folder, made)
        where = f".{secrets.token_hex(16)}"
        command = command_in(
            root,
            toolchain.run(where),
            variables=place.blueprint.variables(),
            limits=_limits(attempt, place.blueprint),
        )
        theirs = files is attempt.submission.files
        completed = await attempt.run(
            place, replace(command, last=True), most=_OUTPUT, by_learner=theirs
        )
        try:
            report = toolchain.report(where)
            text = await read_file(agent, root.working_folder, report, most=REPORT_MOST)
            return _Ran(completed=completed, tested=toolchain.read(text))
        except (FileError, NoReport):
            return _Ran(completed=completed, tested={})


async def _built(
    part: UnitTests, attempt: Attempt, toolchain: Toolchain, files: Mapping[str, bytes]
) -> tuple[Entry, ...] | Uncompiled:
    task, bundle = attempt.task, attempt.bundle
    half = await _half(part, attempt, toolchain)
    tests = {name: bundle.files[name] for name in part.tests}
    # A file of the learner's never takes the place of one of the task's.
    sources = {**files, **task.given, **tests}
    names = [f"./{name}" for name in sources if name.endswith(toolchain.endings)]
    made = await _compiled(
        attempt,
        (*toolchain.compile, *names, *(f"./{name}" for name in half)),
        {**sources, **half},
        by_learner=files is attempt.submission.files,
    )
    if isinstance(made, Uncompiled):
        return made
    built = [each for each in made if each.name.endswith(toolchain.made)]
    return (*entries_of(task.given), *built)


async def _half(part: UnitTests, attempt: Attempt, toolchain: Toolchain) -> Mapping[str, bytes]:
    """The framework's own half, which nothing of a learner's or a teacher's was there to change."""
    half = toolchain.half
    if half is None:
        return {}

    async def make() -> bytes:
        made = await _compiled(attempt, half.compile, half.sources, by_learner=False)
        if isinstance(made, Uncompiled):
            raise TaskFault(
                f"{part.framework} can't be compiled; {toolchain.package} must be in the"
                " environment, and do with its limits",
                detail=made.message,
            )
        return next(each.content or b"" for each in made if each.name == half.made)

    key = part.framework, (await attempt.blueprint()).version
    return {half.made: await attempt.references.once(key, make)}


async def _compiled(
    attempt: Attempt,
    argv: tuple[str, ...],
    sources: Mapping[str, bytes],
    *,
    by_learner: bool,
) -> tuple[Entry, ...] | Uncompiled:
    """All that is there afterwards."""
    async with attempt.place() as place:
        root = place.blueprint.root
        await put_files(place.session.agent, root.working_folder, entries_of(sources))
        command = command_in(
            root, argv, variables=place.blueprint.variables(), limits=COMPILE_LIMITS
        )
        completed = await attempt.run(place, command, most=_OUTPUT, by_learner=by_learner)
        if not completed.outcome.success:
            return Uncompiled.said(completed)
        return await made_by(place, root.working_folder)
