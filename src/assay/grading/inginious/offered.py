"""Tasks and courses of INGInious, as a server offers them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from assay.domain.errors import GradingLost, InvalidTask
from assay.driver.port import Secret
from assay.grading.inginious import notes
from assay.grading.inginious.containers import (
    Files,
    common_entries,
    mention,
    task_entries,
)
from assay.grading.inginious.courses import Course, load_course
from assay.grading.inginious.documents import encodable
from assay.grading.inginious.environments import Environments
from assay.grading.inginious.grading import Submission, grade_submission
from assay.grading.inginious.inputs import (
    accepted,
    answers_of,
    randoms_of,
    seed_of,
    shown_choices,
    time_text,
)
from assay.grading.inginious.judging import to_result
from assay.grading.inginious.problems import Problem
from assay.grading.inginious.rules import rules_of
from assay.grading.inginious.tasks import InginiousTask, load_task, task_of
from assay.grading.inginious.text import to_markdown
from assay.grading.inginious.translations import translation
from assay.grading.inginious.versions import (
    bundles_of,
    common_bundle,
    common_of,
    document_in_bundle,
    files_of,
)
from assay.grading.offered import Before, Content, Given, Grading, OfferedCourse, Shown, ShownPart
from assay.grading.places import Place
from assay.grading.record import Ledger
from assay.grading.results import Result
from assay.grading.script.rooms import Room, Rooms
from assay.grading.tasks import Bundle, Rules

_STATES: Final = (b"feedback-state", b"set_state", b"@state")
_STUDENTS: Final = b"run_student"
_TOLD: Final = ("@attempts", "@state", "@time")


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedTask:
    """One of them: see `Offered`."""

    task: InginiousTask
    files: Files = field(repr=False)
    bundles: tuple[Bundle, ...] = field(repr=False)
    environments: Environments
    rules: Rules = field(default_factory=Rules)
    weight: float = 1.0
    evaluate: str = "best"
    visible_tags: frozenset[str] = frozenset()
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What its course and it say of who may do it when."""
    remembers: bool = False
    asks_for_students: bool = False
    """Whether its grader mentions run_student."""
    looks_back: bool = field(default=True, init=False)
    kind: str = field(default="inginious", init=False)

    @classmethod
    def of(
        cls, bundle: Bundle, get: Callable[[str], Bundle], folder: Path, environments: Environments
    ) -> ServedTask:
        """One as it was; `get` finds what it shares with others. Raises InvalidTask."""
        common = common_of(bundle, get)
        name, content = document_in_bundle(bundle)
        task = task_of(content, folder=folder, name=name)
        files = files_of(bundle, common)
        return _served(task, files, (bundle, common), environments)

    @classmethod
    def in_folder(cls, folder: Path, environments: Environments) -> ServedTask:
        """One as it is, whatever its course says of it. Raises InvalidTask."""
        task = load_task(folder)
        return _read(task, common_bundle(common_entries(task.course)), environments)

    @property
    def id(self) -> str:
        """Its folder's name."""
        return self.task.id

    @property
    def title(self) -> str:
        """One line."""
        return self.task.name

    @property
    def environment(self) -> str:
        """Of Assay's, which stands for the task's container; "" where nothing is run."""
        if self.task.is_answered_here:
            return ""
        return self.environments(self.task.environment)

    @property
    def renews_seed(self) -> bool:
        """Where its document says so."""
        return self.task.fresh_randoms

    @property
    def remarks(self) -> tuple[str, ...]:
        """What of task.yaml, and of what the course says of it, is not known or not done."""
        said = self.settings or self.task.settings
        return (*self.task.remarks, *self.task.notes, *notes.of_settings(said))

    def seed(self, key: Secret, who: str, before: Before) -> int | None:
        """A learner's own: one for all submissions, or another one for each if the task says so."""
        nth = str(before.attempts) if self.renews_seed else ""
        return seed_of(key, who, nth)

    def shown(self, seed: int | None, language: str = "") -> Shown:
        """Headers and choices, and nothing that is right."""
        task, say, now = self.task, translation(self.files, language), datetime.now(UTC)

        def said(text: str) -> str:
            return to_markdown(say(text), now)

        return Shown(
            title=say(task.name),
            description=said(task.context),
            parts=tuple(_part(each, seed, say, said) for each in task.problems),
            randoms=() if seed is None else randoms_of(seed, task.randoms),
            evaluate=self.evaluate,
        )

    def accept(self, given: Given) -> Content:
        """An answer or a file for each problem."""
        return accepted(self.task.problems, given)

    async def grade(self, grading: Grading) -> Result:
        """By its own grader; or, where it has none, by the right answers."""
        submission = self._submission(grading)
        ledger = Ledger(inputs=_told(submission))
        async with grading.seats.take(1 + self.asks_for_students):
            graded = await grade_submission(
                _Noted(grading.sandboxes, ledger), self.task, submission, self.environments,
                files=self.files, owner=grading.owner, seats=grading.few,
            )  # fmt: skip
        if graded.passing:
            raise GradingLost(graded.passing)
        told = partial(to_result, graded, now=datetime.now(UTC), hypertext=self.task.hypertext)
        result = await asyncio.to_thread(told)  # texts of many MiB, maybe
        for part in result.parts:
            grading.on_part(part)
        digest = self.bundles[0].digest
        record = ledger.record(digest=digest, seed=grading.seed, factor=grading.factor)
        return replace(result, record=record)

    def _submission(self, grading: Grading) -> Submission:
        given, before = grading.content.inputs, grading.before
        told = {} if grading.again is None else grading.again.inputs
        return Submission(
            answers=answers_of(grading.content),
            username=given.get("@username", grading.learner),
            email=given.get("@email", ""),
            language=given.get("@lang", "en"),
            time=told.get("@time") or time_text(grading.submitted_at),
            attempts=int(told.get("@attempts", before.attempts + 1)),
            state=told.get("@state", before.state),
            seed=grading.seed,
            more={name: value for name, value in given.items() if name.startswith("@lti_")},
        )


def _told(submission: Submission) -> dict[str, str]:
    """What a grading depends on besides the task and what was handed in."""
    values = (str(submission.attempts), submission.state, submission.time)
    return dict(zip(_TOLD, values, strict=True))


@dataclass(frozen=True, slots=True)
class _Noted:
    """Rooms, and a note of what was used: of each environment the first one, the grader's."""

    rooms: Rooms
    ledger: Ledger

    @contextlib.asynccontextmanager
    async def room(self, room: Room) -> AsyncIterator[Place]:
        """One of them."""
        async with self.rooms.room(room) as place:
            self.ledger.uses(place.blueprint, first=True)
            yield place


def _read(task: InginiousTask, common: Bundle, environments: Environments) -> ServedTask:
    in_task = task_entries(task)
    bundles = bundles_of(in_task, common)
    return _served(task, files_of(*bundles), bundles, environments)


def _served(
    task: InginiousTask, files: Files, bundles: tuple[Bundle, ...], environments: Environments
) -> ServedTask:
    everything = (*files.in_task, *files.in_course)
    return ServedTask(
        task=task,
        files=files,
        bundles=bundles,
        environments=environments,
        remembers=not task.is_answered_here and mention(everything, *_STATES),
        asks_for_students=mention(everything, _STUDENTS),
    )


def served_course(folder: Path, environments: Environments) -> OfferedCourse:
    """The course of a folder with a `course.yaml`. One task that is wrong hides no other.

    Raises InvalidTask, and Unavailable.
    """
    course = load_course(folder)
    common = common_bundle(common_entries(course.folder))
    tasks, broken = [], []
    for each in course.tasks:
        try:
            task = load_task(each, course=course.folder)
            tasks.append(_ruled(_read(task, common, environments), course))
        except InvalidTask as problem:
            broken.append(InvalidTask(encodable(problem.message)))
    places = {name: at for at, name in enumerate(course.order)}
    tasks.sort(key=lambda each: (places.get(each.id, len(places)), _order(each.task), each.id))
    return OfferedCourse(
        id=folder.absolute().name,  # as it is called here, wherever a link leads
        title=course.name,
        tasks=tuple(tasks),
        broken=tuple(broken),
        remarks=course.remarks,
    )


def _order(task: InginiousTask) -> float:
    """Where it stands among tasks of which the course says nothing, as before 0.8."""
    return _number(task.settings.get("order"), 0.0)


def _ruled(served: ServedTask, course: Course) -> ServedTask:
    """With what its course says of it."""
    settings = course.settings_of(served.task)
    where = encodable(str(served.task.folder))
    archived = course.settings.get("archived") is True
    return replace(
        served,
        rules=_rules(settings, course.accessible, archived=archived, where=where),
        settings=settings,
        weight=_number(settings.get("weight"), 1.0),
        evaluate="last" if settings.get("evaluate") == "last" else "best",
        visible_tags=_visible(course.settings.get("tags")) | _visible(settings.get("tags")),
    )


def _rules(settings: Mapping[str, Any], course: object, *, archived: bool, where: str) -> Rules:
    try:
        rules = rules_of(settings, course, archived=archived, where=where)
    except OverflowError as error:
        raise InvalidTask(f"{where}: submission_limit: {error}") from error
    if (rules.attempts or 0) >= 2**63:
        raise InvalidTask(f"{where}: submission_limit: its amount has more than 64 bits")
    return rules


def _number(value: object, otherwise: float) -> float:
    try:
        return float(str(value))
    except ValueError:
        return otherwise


def _visible(tags: object) -> frozenset[str]:
    found: Mapping[Any, Any] = tags if isinstance(tags, dict) else {}
    return frozenset(
        str(each.get("id") or key)
        for key, each in found.items()
        if isinstance(each, dict) and each.get("visible") is True
    )


def _part(
    problem: Problem, seed: int | None, say: Callable[[str], str], said: Callable[[str], str]
) -> ShownPart:
    is_choice = problem.kind == "multiple_choice"
    is_file = problem.kind in ("file", "code_file")
    order = shown_choices(problem, seed) if is_choice else ()
    return ShownPart(
        id=problem.id,
        title=say(problem.name),
        kind=problem.kind,
        description=said(problem.header),
        choices=tuple(said(each.text).strip("\n") for each in problem.choices),
        order=order,
        several=problem.multiple,
        language=problem.language if problem.kind.startswith("code") else "",
        template=problem.default,
        optional=problem.optional,
        extensions=problem.allowed_extensions if is_file else (),
        most_bytes=problem.most_bytes if is_file else None,
    )
