"""From a document of the right shape, and the files beside it, to a task that makes sense."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from assay.domain.errors import InvalidInput
from assay.domain.limits import ExecutionLimits, SandboxLimits
from assay.environments.document import size
from assay.environments.strict import Mistake, require
from assay.grading.joint import JointLimits
from assay.grading.tasks import document, model
from assay.grading.tasks.bundle import Bundle, is_inside
from assay.grading.tasks.testing import lint, unit_tests

_DESCRIPTION = "description.md"
_INPUT, _EXPECTED, _ARGUMENTS = ".in", ".out", ".args"
_MOST_CASES = 500


def task_of(text: document.Document, folder: Path, bundle: Bundle) -> model.Task:
    """Make the task that `text` describes. Raises Mistake."""
    parts = tuple(_part(f"parts[{at}]", part, bundle) for at, part in enumerate(text.parts))
    _require_ids(parts)
    files, optional = _names("files", text.files), _names("optional", text.optional)
    solution = bundle.beneath("solution")
    _require_files(files, parts, solution)
    require(
        sum(part.weight for part in parts) > 0,
        "parts",
        "no part has a weight, so there is nothing to reach",
        "give at least one a weight above 0",
    )
    _require_limits(text)
    return model.Task(
        id=folder.absolute().name,
        folder=folder,
        title=text.title,
        environment=text.environment,
        files=files,
        optional=optional,
        description=_text(bundle, _DESCRIPTION),
        template=bundle.beneath("template"),
        given=bundle.beneath("given"),
        solution=solution,
        build=tuple(text.build or ()),
        run=tuple(text.run or ()),
        limits=text.limits,
        sandbox=text.sandbox,
        joint=JointLimits(
            wall_seconds=text.joint.wall_seconds,
            cpu_seconds=text.joint.cpu_seconds,
            memory_bytes=size(text.joint.memory),
            sandboxes=text.joint.sandboxes,
        ),
        rules=_rules(text.rules),
        passing_grade=text.passing_grade,
        parts=parts,
    )


def _text(bundle: Bundle, name: str) -> str:
    try:
        return bundle.files.get(name, b"").decode()
    except UnicodeDecodeError as error:
        raise Mistake("", f"{name} is no UTF-8: {error.reason}", "save it as UTF-8") from error


def _names(key: str, names: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        require(is_inside(name), key, f"{name!r} cannot be a file's name", "give relative paths")
    require(len(set(names)) == len(names), key, "a name is there twice", "leave one out")
    return tuple(names)


def _require_ids(parts: Sequence[model.Part]) -> None:
    before: set[str] = set()
    for at, part in enumerate(parts):
        key = f"parts[{at}]"
        require(part.id not in before, f"{key}.id", f"{part.id!r} is there twice", "rename one")
        for need in part.needs:
            require(
                need in before,
                f"{key}.needs",
                f"no part before this one is called {need!r}",
                "name parts that stand above",
            )
        before.add(part.id)


def _require_files(
    files: Sequence[str], parts: Sequence[model.Part], solution: Mapping[str, bytes]
) -> None:
    programs = [part for part in parts if not isinstance(part, model.Choice | model.Match)]
    require(
        bool(files) or not programs,
        "files",
        f"the part {programs[0].id if programs else ''!r} runs a program, and none is handed in",
        'name what learners hand in, such as files = ["main.py"]',
    )
    missing = [name for name in files if name not in solution] if solution else []
    require(
        not missing,
        "files",
        f"the reference solution lacks {', '.join(missing)}",
        "put it into the folder solution",
    )
    for part in programs:
        random = isinstance(part, model.Cases) and part.random is not None
        linked = isinstance(part, model.UnitTests) and part.same_process
        require(
            bool(solution) or not (random or linked),
            "parts",
            f"what {part.id!r} expects is what the reference solution says, and there is none",
            "put it into the folder solution",
        )


def _require_limits(text: document.Document) -> None:
    """Those that make no sense anywhere; environments' ceilings are looked at when it is graded."""
    try:
        text.limits.over(ExecutionLimits())
        text.sandbox.over(SandboxLimits())
    except InvalidInput as error:
        raise Mistake("limits", error.message, "docs/tasks.md explains limits") from error


def _rules(rules: document.Rules) -> model.Rules:
    opens, deadline = _moment("opens", rules.opens), _moment("deadline", rules.deadline)
    late = tuple(
        model.LateFactor(until=_sure("late", each.until), factor=each.factor) for each in rules.late
    )
    times = [time for time in (opens, deadline, *(each.until for each in late)) if time is not None]
    require(times == sorted(times), "rules", "the times are not in order", "opens first, late last")
    require(
        deadline is not None or not late,
        "rules.late",
        "there is no deadline",
        "give rules.deadline",
    )
    return model.Rules(attempts=rules.attempts, opens=opens, deadline=deadline, late=late)


def _moment(key: str, value: datetime | None) -> datetime | None:
    return None if value is None else _sure(key, value)


def _sure(key: str, value: datetime) -> datetime:
    require(
        value.tzinfo is not None,
        f"rules.{key}",
        "this time has no zone, so it is another one on each machine",
        "end it with Z, or an offset such as +01:00",
    )
    return value


# --- parts ---------------------------------------------------------------------------------------


def _part(key: str, part: document.Part, bundle: Bundle) -> model.Part:
    match part:
        case document.UnitTests():
            return unit_tests(key, part, bundle)
        case document.Lint():
            return lint(part)
        case document.Cases():
            return _cases(key, part, bundle)
        case document.Compiles():
            return model.Compiles(
                id=part.id, title=part.title, weight=part.weight, needs=tuple(part.needs)
            )
        case document.Choice():
            return _choice(key, part)
        case document.Match():
            return _match(key, part)


def _choice(key: str, part: document.Choice) -> model.Choice:
    right = sum(choice.right for choice in part.choices)
    require(
        part.several or right == 1,
        f"{key}.choices",
        f"{right} of them are right, and one can be chosen",
        "mark one with right = true, or say several = true",
    )
    return model.Choice(
        id=part.id,
        title=part.title,
        weight=part.weight,
        needs=tuple(part.needs),
        choices=tuple(
            model.Question(text=each.text, right=each.right, feedback=each.feedback)
            for each in part.choices
        ),
        several=part.several,
        all_or_nothing=part.all_or_nothing,
    )


def _match(key: str, part: document.Match) -> model.Match:
    if part.pattern:
        for answer in part.answers:
            _require_pattern(f"{key}.answers", answer)
    return model.Match(
        id=part.id,
        title=part.title,
        weight=part.weight,
        needs=tuple(part.needs),
        answers=tuple(part.answers),
        ignore_case=part.ignore_case,
        pattern=part.pattern,
        hint=part.hint,
    )


def _require_pattern(key: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise Mistake(
            key, f"{pattern!r} is no regular expression: {error}", "as Python's module re has them"
        ) from error


def _cases(key: str, part: document.Cases, bundle: Bundle) -> model.Cases:
    checker = _checker(f"{key}.checker", part.checker)
    cases = (
        *(_case(f"{key}.cases[{at}]", case, part) for at, case in enumerate(part.cases)),
        *_cases_of_folder(key, part, bundle),
    )
    require(
        bool(cases or part.random),
        key,
        "there are no cases",
        'give folder = "cases" with files 1.in and 1.out, or [[parts.cases]], or [parts.random]',
    )
    require(len(cases) <= _MOST_CASES, key, f"there are {len(cases)} cases", "at most 500")
    names = [case.name for case in cases]
    require(len(set(names)) == len(names), key, "two cases have one name", "rename one")
    if checker.kind is model.CheckerKind.PATTERN:
        for case in cases:
            _require_pattern(key, (case.expected or b"").decode(errors="replace"))
    return model.Cases(
        id=part.id,
        title=part.title,
        weight=part.weight,
        needs=tuple(part.needs),
        checker=checker,
        cases=cases,
        random=_random(part),
        all_or_nothing=part.all_or_nothing,
    )  # fmt: skip


def _random(part: document.Cases) -> model.RandomCases | None:
    if part.random is None:
        return None
    return model.RandomCases(
        count=part.random.count,
        argv=tuple(part.random.argv),
        environment=part.random.environment,
        hidden=part.hidden,
    )


def _checker(key: str, checker: document.Checker) -> model.Checker:
    kind = model.CheckerKind(checker.kind)
    by_program = kind is model.CheckerKind.PROGRAM
    require(
        by_program == (checker.argv is not None),
        f"{key}.argv",
        "a checker has an argv if its kind is program, and else none",
        'write kind = "program" and argv = ["python3", "check.py"]',
    )
    return model.Checker(
        kind=kind,
        ignore_case=checker.ignore_case,
        absolute=checker.absolute,
        relative=checker.relative,
        argv=tuple(checker.argv or ()),
        environment=checker.environment,
    )


def _case(key: str, case: document.Case, part: document.Cases) -> model.Case:
    for name in case.files:
        require(is_inside(name), f"{key}.files", f"{name!r} leads elsewhere", "a relative path")
    return model.Case(
        name=case.name,
        stdin=case.stdin.encode(),
        arguments=tuple(case.arguments),
        expected=None if case.expected is None else case.expected.encode(),
        exit_code=None if isinstance(case.exit_code, str) else case.exit_code,
        files={name: content.encode() for name, content in case.files.items()},
        weight=case.weight,
        hidden=case.hidden or part.hidden,
        hint=case.hint,
    )


def _cases_of_folder(key: str, part: document.Cases, bundle: Bundle) -> Iterator[model.Case]:
    if not part.folder:
        return
    files = bundle.beneath(part.folder)
    key = f"{key}.folder"
    names = sorted({_stem(name) for name in files} - {""}, key=_naturally)
    require(bool(names), key, f"the folder {part.folder!r} has no *.in and *.out", "add them")
    for name in names:
        expected = files.get(name + _EXPECTED)
        require(expected is not None, key, f"{name}.out is missing", "add what is expected")
        yield model.Case(
            name=name,
            stdin=files.get(name + _INPUT, b""),
            arguments=tuple(
                files.get(name + _ARGUMENTS, b"").decode(errors="replace").splitlines()
            ),
            expected=expected,
            hidden=part.hidden,
        )


def _stem(name: str) -> str:
    for ending in (_INPUT, _EXPECTED, _ARGUMENTS):
        if name.endswith(ending):
            return name.removesuffix(ending)
    return ""


def _naturally(name: str) -> list[tuple[int, str]]:
    """2 before 10."""
    return [
        (int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"(\d+)", name)
    ]
