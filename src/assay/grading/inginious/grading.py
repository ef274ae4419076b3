"""One submission of a task of INGInious, graded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from assay.agent.entries import Entry
from assay.domain.errors import InvalidInput
from assay.grading.inginious.containers import (
    COURSE,
    TASK,
    Files,
    kit_of,
    mention,
    program_of,
    read_files,
    run_command,
)
from assay.grading.inginious.environments import Environments
from assay.grading.inginious.inputs import randoms_of
from assay.grading.inginious.judging import Graded, judge, judge_answers
from assay.grading.inginious.problems import require_answers
from assay.grading.inginious.tasks import InginiousTask
from assay.grading.joint import Seats
from assay.grading.script import Script, run_script
from assay.grading.script.folders import size_of
from assay.grading.script.kit import Answer
from assay.grading.script.rooms import Rooms
from assay.grading.script.students import Rules

_STUDENT: Final = "common/student/"


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """What a learner handed in, and what a grader may know of them."""

    answers: Mapping[str, Answer]
    username: str = "student"
    email: str = ""
    language: str = "en"
    time: str = "2000-01-01 00:00:00.000000"
    attempts: int = 1
    state: str = ""
    seed: int = 0
    """From which the random numbers are made; kept with the result."""
    randoms: tuple[float, ...] | None = None
    """Those of a recorded submission."""
    more: Mapping[str, Answer] = field(default_factory=dict)
    """Other inputs whose names begin with @."""


def inputs_of(task: InginiousTask, submission: Submission) -> dict[str, Answer]:
    """All that the grader can ask for. Raises InvalidInput."""
    for name in submission.answers:
        if name.startswith("@"):
            raise InvalidInput(f"{name[:80]!r} is no problem of the task")
    randoms = submission.randoms
    if randoms is None:
        randoms = randoms_of(submission.seed, task.randoms)
    return {
        **{each.id: "" for each in task.problems if each.optional},
        **submission.answers,
        "@username": submission.username,
        "@email": submission.email,
        "@lang": submission.language,
        "@time": submission.time,
        "@attempts": str(submission.attempts),
        "@random": list(randoms),
        "@state": submission.state,
        **submission.more,
    }


async def grade_submission(
    rooms: Rooms,
    task: InginiousTask,
    submission: Submission,
    environments: Environments,
    *,
    files: Files | None = None,
    owner: str = "",
    seats: Seats | None = None,
) -> Graded:
    """What it is worth; without `files`, by the task's folder as it is now.

    `seats`: where sandboxes are few, those of all; one for the grader and one for a student are
    taken. Raises InvalidInput for what can't be handed in, InvalidTask, and what may
    be otherwise another time: a sandbox that can't be had.
    """
    require_answers(task.problems, submission.answers)
    if task.is_answered_here:
        return await asyncio.to_thread(
            judge_answers, task.problems, submission.answers, remarks=task.remarks
        )
    found = await asyncio.to_thread(read_files, task) if files is None else files
    # In a thread: it looks through all files for what the grader mentions.
    script = await asyncio.to_thread(_script, task, found, submission, environments, owner, seats)
    ended = await run_script(rooms, script)
    return await asyncio.to_thread(
        judge,
        ended,
        state=submission.state,
        remarks=task.remarks,
        program=program_of(script.argv, found.in_task, found.in_course),
    )


def _script(
    task: InginiousTask,
    files: Files,
    submission: Submission,
    environments: Environments,
    owner: str,
    seats: Seats | None = None,
) -> Script:
    in_task, in_course = files.in_task, files.in_course
    environment = environments(task.environment)
    shared = shared_of(files)
    devices = task.environment_type.startswith("nvidia")
    return Script(
        argv=run_command(task, in_task, in_course),
        environment=environment,
        kit=kit_of((*in_task, *in_course)),
        answers=inputs_of(task, submission),
        places={TASK: in_task, COURSE: in_course},
        cpu_seconds=task.cpu_seconds,
        wall_seconds=task.wall_seconds,
        memory_bytes=task.memory_bytes,
        network=task.network,
        devices=devices,
        owner=owner,
        students=Rules(
            environment=environment,
            environments=environments,
            cpu_seconds=task.cpu_seconds,
            wall_seconds=task.wall_seconds,
            memory_bytes=task.memory_bytes,
            common_entries=shared,
            expected=mention((*in_task, *in_course), b"run_student"),
            files_bytes=size_of(in_task) + size_of(shared),
            devices=devices,
            owner=owner,
            seats=seats,
        ),
    )


def shared_of(files: Files) -> tuple[Entry, ...]:
    """What of the course students' programs may read."""
    return tuple(
        replace(each, name=each.name.removeprefix(_STUDENT))
        for each in files.in_course
        if each.name.startswith(_STUDENT)
    )
