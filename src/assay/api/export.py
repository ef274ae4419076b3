"""Results of a course, a task, or one submission, for other programs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Final, TypeVar

from aiohttp import web

from assay.api.courses import desk_of
from assay.api.route import Call, Parameter, Route
from assay.api.streamed import send_pieces
from assay.api.submissions import found_submission, seen_by_learner, teaches
from assay.domain.errors import InvalidInput
from assay.grading.export.json import ExportedResults
from assay.grading.export.rows import Policy, chosen
from assay.grading.export.written import ENDINGS, TYPES, Format, written
from assay.grading.results import Result
from assay.storage.submissions.results import Known

Word = TypeVar("Word", bound=StrEnum)


async def _of_course(call: Call) -> web.StreamResponse:
    course, query = call.request.match_info["course"], call.request.query
    desk_of(call).courses.get(course)
    task = query.get("task")
    if task is not None:
        await _require_task(call, course, task)
    return await _exported(call, course, task)


async def _of_task(call: Call) -> web.StreamResponse:
    course, task = call.request.match_info["course"], call.request.match_info["task"]
    await _require_task(call, course, task)
    return await _exported(call, course, task)


async def _require_task(call: Call, course: str, task: str) -> None:
    """Raises NotFound, so that nobody takes a mistyped one for one that was never handed in for."""
    desk = desk_of(call)
    desk.courses.get(course)
    if not await desk.submissions.store.page(course=course, task=task, most=1):
        desk.courses.task(course, task)


async def _exported(call: Call, course: str, task: str | None) -> web.StreamResponse:
    form, policy = _word(call, "format", Format.JSON), _word(call, "policy", Policy.ALL)
    results = desk_of(call).submissions.store.results
    learner = call.request.query.get("learner")
    meant = chosen(results.submissions(course, task=task, learner=learner), policy)
    name = course if task is None else f"{course}-{task}"
    return await _sent(call, written(results.known(meant), form, name=name), form, name)


async def _of_submission(call: Call) -> web.StreamResponse:
    form = _word(call, "format", Format.JSON)
    found = await found_submission(call)
    result = await desk_of(call).submissions.result(found.id) if found.state.is_over else None

    async def alone() -> AsyncIterator[Known]:
        yield Known(submission=found, result=result)

    def seen(whole: Result) -> Result:
        return whole if teaches(call, found.course) else seen_by_learner(call, found, whole)

    return await _sent(call, written(alone(), form, name=found.id, seen=seen), form, found.id)


def _word(call: Call, name: str, default: Word) -> Word:
    kind = type(default)
    try:
        return kind(call.request.query.get(name, default))
    except ValueError:
        raise InvalidInput(f"{name} is one of {', '.join(kind)}") from None


async def _sent(
    call: Call, pieces: AsyncIterator[bytes], form: Format, name: str
) -> web.StreamResponse:
    headers = {
        "Content-Type": TYPES[form],
        "Content-Disposition": f'attachment; filename="{_file(name)}.{ENDINGS[form]}"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return await send_pieces(call.request, headers, pieces)


def _file(name: str) -> str:
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name)


_FORMAT: Final = Parameter(
    name="format", summary="json, csv, or junit (XML, a suite for each submission)", default="json"
)
_POLICY: Final = Parameter(
    name="policy", summary="all, or of each learner and task the best or the last", default="all"
)
_LEARNER: Final = Parameter(name="learner", summary="Of this learner")

ROUTES: Final = (
    Route(
        method="GET",
        path="/courses/{course}/results",
        handler=_of_course,
        summary="Results of a course as JSON, CSV or JUnit's XML, by task and learner",
        scope="teach",
        parameters=(
            _FORMAT, _POLICY, _LEARNER, Parameter(name="task", summary="Of this task"),
        ),
        responses={200: ExportedResults},
        problems=(404, 503),
    ),
    Route(
        method="GET",
        path="/courses/{course}/tasks/{task}/results",
        handler=_of_task,
        summary="Results of a task; also of one that is not there any more",
        scope="teach",
        parameters=(_FORMAT, _POLICY, _LEARNER),
        responses={200: ExportedResults},
        problems=(404, 503),
    ),
    Route(
        method="GET",
        path="/submissions/{submission_id}/results",
        handler=_of_submission,
        summary="The result of one submission as JSON, CSV or JUnit's XML",
        scope="submit",
        parameters=(_FORMAT,),
        responses={200: ExportedResults},
        problems=(404, 503),
    ),
)  # fmt: skip
