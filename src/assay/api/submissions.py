"""What learners hand in, and what that is worth: now, and as it becomes known."""

from __future__ import annotations

import asyncio
import binascii
import contextlib
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import msgspec
from aiohttp import web

from assay.api.answers import json, time_of, time_or_none
from assay.api.courses import desk_of
from assay.api.grades import ARCHIVE_NAME, PartResultAnswer, ResultAnswer, to_part, to_result
from assay.api.route import Call, Parameter, Route
from assay.api.streamed import HEARTBEAT_SECONDS, STILL_HERE, send_events
from assay.domain.errors import InvalidInput, NotFound
from assay.domain.submission import Measured, Submission
from assay.domain.token import Scope
from assay.grading.desk import HandedIn, for_learner, part_for_learner
from assay.grading.offered import File
from assay.grading.results import PartResult, Result, Verdict

_WAIT_MOST: Final = 60.0


class FileIn(msgspec.Struct, kw_only=True):
    """One file."""

    content: str
    encoding: str = "utf-8"
    """Or "base64"."""
    name: str = ""
    """Its own, for a task of INGInious: there it is handed in for a problem."""


class SubmissionIn(msgspec.Struct, rename="camel", kw_only=True):
    """What is handed in for one learner."""

    learner: str
    """The platform's own name for whoever it is; attempts and turns are counted by it."""
    files: dict[str, FileIn | str] = {}
    """By the names that the task asks for; of a task of INGInious by its problems."""
    answers: dict[str, str | int | list[int | str]] = {}
    inputs: dict[str, str] = {}
    """What a grader of INGInious may know of the learner: "@lang", "@email", "@username"."""
    key: str | None = None
    """The platform's own name for this submission: the same one twice is one submission."""


class Outlook(msgspec.Struct, rename="camel", kw_only=True):
    """How long it will wait, as far as that is known."""

    ahead: int
    """Submissions that are graded before, if nobody else comes."""
    wait_seconds: float | None
    """Until its grading begins; null: unknown."""
    grading_seconds: float | None
    """What gradings of its course take on average; null: unknown."""


class SubmissionAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """A submission, with its result once there is one."""

    id: str
    course: str
    task: str
    learner: str
    state: str
    submitted_at: datetime
    finished_at: datetime | None
    digest: str
    """Of the task as it was then."""
    seed: int | None
    attempts: int
    """How often grading was begun."""
    revision: int
    """How often grading it again has replaced its result."""
    outlook: Outlook | None
    """While it waits."""
    result: ResultAnswer | None
    new: bool | None = None
    """False where the key had been used before."""


class SubmissionList(msgspec.Struct, kw_only=True):
    """Submissions, the newest first, without results."""

    submissions: list[SubmissionAnswer]


async def _hand_in(call: Call) -> web.StreamResponse:
    asked: SubmissionIn = call.body
    names, desk = call.request.match_info, desk_of(call)
    store = desk.submissions.store
    now = store.clock()
    receipt = await desk.hand_in(
        HandedIn(
            course=names["course"],
            task=names["task"],
            learner=asked.learner,
            files={name: _file(name, file) for name, file in asked.files.items()},
            answers=asked.answers,
            inputs=asked.inputs,
            owner=call.caller.token_id,
            key=asked.key,
            received_at=now - call.seconds,
        ),
        now=now,
    )
    answer = await _answer(call, await desk.submissions.get(receipt.id))
    answer.new = receipt.new
    return json(answer, status=202)


def _file(name: str, file: FileIn | str) -> File:
    if isinstance(file, str):
        return File(content=file.encode())
    return File(content=_bytes(name, file), name=file.name)


def _bytes(name: str, file: FileIn) -> bytes:
    if file.encoding == "utf-8":
        return file.content.encode()
    if file.encoding != "base64":
        raise InvalidInput(f'the encoding of {name[:80]!r} is "utf-8" or "base64"')
    try:
        return binascii.a2b_base64(file.content, strict_mode=True)
    except ValueError as error:
        raise InvalidInput(f"{name[:80]!r} is no base64: {error}") from error


async def found_submission(call: Call) -> Submission:
    """The submission that the path names. Raises NotFound, for one of somebody else as well."""
    found = await desk_of(call).submissions.get(call.request.match_info["submission_id"])
    not_mine = not teaches(call, found.course) and found.owner != call.caller.token_id
    if not_mine or found.original is not None:  # what a campaign proposes is nobody's submission
        raise NotFound(f"there is no submission {found.id}")
    return found


def teaches(call: Call, course: str) -> bool:
    """Whether what is hidden from a course's learners is shown."""
    return call.caller.teaches(course)


async def taught_submission(call: Call) -> Submission:
    """The submission that the path names, of a course that the caller teaches. Raises NotFound."""
    found = await found_submission(call)
    if not teaches(call, found.course):
        raise NotFound(f"there is no submission {found.id} of a course that this token teaches")
    return found


def seen_by_learner(call: Call, found: Submission, result: Result) -> Result:
    """A result without what is for teachers; tags as the course shows them now."""
    visible: frozenset[str] = frozenset()
    with contextlib.suppress(NotFound):
        visible = desk_of(call).courses.task(found.course, found.task).visible_tags
    return for_learner(result, visible_tags=visible)


async def _answer(call: Call, found: Submission, *, whole: bool = True) -> SubmissionAnswer:
    desk = desk_of(call)
    result = outlook = None
    if whole and found.state.is_over:
        result = await desk.result_of(found)
        if result is not None and not teaches(call, found.course):
            result = seen_by_learner(call, found, result)
    elif whole and (expected := await desk.submissions.outlook(found.id)) is not None:
        outlook = Outlook(
            ahead=expected.ahead,
            wait_seconds=expected.wait_seconds,
            grading_seconds=expected.grading_seconds,
        )
    return SubmissionAnswer(
        id=found.id,
        course=found.course,
        task=found.task,
        learner=found.learner,
        state=found.state,
        submitted_at=time_of(found.submitted_at),
        finished_at=time_or_none(found.finished_at),
        digest=found.task_hash,
        seed=found.seed if teaches(call, found.course) else None,
        attempts=found.attempts,
        revision=found.revision,
        outlook=outlook,
        result=None if result is None else to_result(result),
    )


async def _get(call: Call) -> web.StreamResponse:
    found = await found_submission(call)
    seconds = _seconds(call.request.query.get("waitSeconds", "0"))
    if seconds and not found.state.is_over:
        found = await desk_of(call).submissions.wait_until_over(found.id, seconds)
        found = _told_now(call, found)
    return json(await _answer(call, found))


def _told_now(call: Call, found: Submission) -> Submission:
    """The same for somebody who has waited for it: until now its response has taken."""
    if found.graded_at is None:
        return found
    store = desk_of(call).submissions.store
    response = max(store.clock() - found.graded_at, found.response_seconds or 0.0)
    store.note(Measured(id=found.id, response_seconds=response))
    return replace(found, response_seconds=response)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _WAIT_MOST:
        raise InvalidInput(f"waitSeconds is from 0 to {_WAIT_MOST:g}")
    return seconds


async def _list(call: Call) -> web.StreamResponse:
    query, caller = call.request.query, call.caller
    everybodys = Scope.TEACH in caller.scopes
    page = await desk_of(call).submissions.page(
        owner=None if everybodys and not caller.courses else caller.token_id,
        or_courses=sorted(caller.courses) if everybodys else (),
        course=query.get("course"),
        task=query.get("task"),
        learner=query.get("learner"),
        before=query.get("before"),
        most=call.most,
    )
    return json(
        SubmissionList(submissions=[await _answer(call, each, whole=False) for each in page])
    )


async def _cancel(call: Call) -> web.StreamResponse:
    found = await found_submission(call)
    await desk_of(call).submissions.cancel(found.id)
    return json(await _answer(call, await found_submission(call)))


async def _events(call: Call) -> web.StreamResponse:
    found = await found_submission(call)
    return await send_events(call.request, _told(call, found))


async def _told(call: Call, found: Submission) -> AsyncIterator[tuple[str, Any]]:
    """`submission` first, a `part` for each that is known, `submission` again at the end.

    To learners, parts that say something of hidden tests are told once there is a grade.
    """
    desk = desk_of(call)
    teacher = teaches(call, found.course)
    parts: asyncio.Queue[tuple[PartResult, bool]] = asyncio.Queue()
    stop = desk.listen(found.id, lambda part, early: parts.put_nowait((part, teacher or early)))
    over = asyncio.ensure_future(_over(call, found.id))
    part: asyncio.Task[tuple[PartResult, bool]] | None = None
    held: list[PartResult] = []
    try:
        yield "submission", await _answer(call, found)
        while not over.done() or not parts.empty():
            part = part or asyncio.ensure_future(parts.get())
            await asyncio.wait(
                (over, part), timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if part.done():
                known, now = part.result()
                part = None
                if now:
                    yield "part", _of_part(call, found, known)
                else:
                    held.append(known)
            elif not over.done():
                yield STILL_HERE
        last, late = over.result(), not found.state.is_over
        answer = await _answer(call, _told_now(call, last) if late else last)
        if answer.result is not None and answer.result.verdict != Verdict.ERROR:
            for known in held:
                yield "part", _of_part(call, found, known)
        yield "submission", answer
        if late:
            _told_now(call, last)  # it is written
    finally:
        stop()
        left = [task for task in (over, part) if task is not None]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def _over(call: Call, name: str) -> Submission:
    return await desk_of(call).submissions.wait_until_over(
        name, math.inf, goes_on=call.services.ready
    )


def _of_part(call: Call, found: Submission, part: PartResult) -> PartResultAnswer:
    return to_part(part if teaches(call, found.course) else part_for_learner(part))


async def _archive(call: Call) -> web.StreamResponse:
    found = await taught_submission(call)
    nth = _revision(call.request.query.get("revision"), found)
    content = await desk_of(call).submissions.archive(found.id, nth)
    headers = {
        "Content-Type": "application/gzip",
        "Content-Disposition": f'attachment; filename="{found.id}-{ARCHIVE_NAME}"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return web.Response(body=content, headers=headers)


def _revision(text: str | None, found: Submission) -> int:
    if text is None:
        return found.revision
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise InvalidInput("revision is a number, as in the history of the submission")
    return int(text)


ROUTES: Final = (
    Route(
        method="POST",
        path="/courses/{course}/tasks/{task}/submissions",
        handler=_hand_in,
        summary="Hand in for a learner; durable before the answer",
        scope="submit",
        request=SubmissionIn,
        responses={202: SubmissionAnswer},
        problems=(404, 409, 503),
    ),
    Route(
        method="GET",
        path="/submissions",
        handler=_list,
        summary="Submissions, the newest first, without results",
        scope="submit",
        parameters=(
            Parameter(name="course", summary="Of this course"),
            Parameter(name="task", summary="Of this task"),
            Parameter(name="learner", summary="Of this learner"),
            Parameter(name="before", summary="Older than this one, the last of the page before"),
            Parameter(name="most", summary="How many at most", type=int, default=100),
        ),
        responses={200: SubmissionList},
        problems=(404, 503),
    ),
    Route(
        method="GET",
        path="/submissions/{submission_id}",
        handler=_get,
        summary="A submission, with its result or its outlook",
        scope="submit",
        parameters=(
            Parameter(
                name="waitSeconds", summary="Wait so long for its result", type=float, default=0.0
            ),
        ),
        responses={200: SubmissionAnswer},
        problems=(404, 503),
    ),
    Route(
        method="DELETE",
        path="/submissions/{submission_id}",
        handler=_cancel,
        summary="Cancel a submission, whether it waits or is being graded",
        scope="submit",
        responses={200: SubmissionAnswer},
        problems=(404, 503),
    ),
    Route(
        method="GET",
        path="/submissions/{submission_id}/archive",
        handler=_archive,
        summary="Files that a grader of the teacher's own has kept, a tar compressed with gzip",
        scope="teach",
        parameters=(
            Parameter(
                name="revision", summary="Of a result that was replaced, by its number", type=int
            ),
        ),
        responses={200: bytes},
        problems=(404, 503),
    ),
    Route(
        method="GET",
        path="/submissions/{submission_id}/events",
        handler=_events,
        summary="Server-sent events: `submission`, each `part` as it is graded, `submission`",
        scope="submit",
        responses={200: bytes},
        problems=(404, 503),
    ),
)
