"""Grading again: campaigns, what they would change, and what they have changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from aiohttp import web
from msgspec import Meta

from assay.api.answers import encode, json
from assay.api.courses import desk_of
from assay.api.grades import ResultAnswer, to_result
from assay.api.route import Call, Parameter, Route
from assay.domain.campaign import Campaign
from assay.domain.errors import AssayError, InvalidInput, NotFound
from assay.grading.regrading import table
from assay.grading.regrading.regrades import (
    Applying,
    Progress,
    Regrades,
    applied_of,
    wish_of,
)
from assay.grading.regrading.report import Counted, Difference, Summary
from assay.grading.regrading.wish import NEWEST, Which, Wish
from assay.grading.results import Result, Verdict

_PAGE_MOST: Final = 1000
_HEARTBEAT_SECONDS: Final = 15.0
_LOOK_SECONDS: Final = 1.0
_LINES_AT_ONCE: Final = 100

WhichName = Literal["all", "best", "last"]
VerdictName = Literal[
    "passed", "partial", "failed", "timed_out", "out_of_memory", "output_limit", "crashed",
    "not_run", "error",
]  # fmt: skip


class RegradeIn(msgspec.Struct, rename="camel", kw_only=True):
    """Which submissions are graded again; a filter that is left out leaves nothing out."""

    task: str | None = None
    learner: str | None = None
    since: datetime | None = None
    """Handed in then or later."""
    until: datetime | None = None
    """Handed in before."""
    which: WhichName = "all"
    """Of each learner's for a task, among what the filters above leave."""
    below: float | None = None
    """Grades less than this, and what has none."""
    verdicts: list[VerdictName] = []
    submissions: Annotated[list[str], Meta(max_length=20_000)] = []
    version: str = NEWEST
    """"newest", "recorded" (of each grade's own record, with its limits), or a task's digest."""
    note: str = ""
    key: str | None = None
    """Your own name for it: the same one twice is one campaign."""


class ProgressAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """How far it is, in submissions."""

    total: int
    waiting: int
    grading: int
    done: int
    failed: int
    cancelled: int
    seconds: float | None
    """Until all is graded, if nothing else comes; null: unknown."""


class AppliedAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """What applying it did, in submissions; all but the first stay as they were."""

    applied: int
    kept: int
    failed: int
    unfinished: int
    changed: int


class CampaignAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """A campaign."""

    id: str
    course: str
    task: str | None
    state: str
    """"open", "applied" or "discarded"."""
    finished: bool
    """Whether nothing of it is to be graded any more."""
    version: str
    which: str
    note: str
    started_at: datetime
    started_by: str
    """The token's id."""
    ended_at: datetime | None
    ended_by: str | None
    progress: ProgressAnswer
    applied: AppliedAnswer | None
    new: bool | None = None
    """False where the key had been used before."""


class CampaignList(msgspec.Struct, kw_only=True):
    """Campaigns, the newest first."""

    regrades: list[CampaignAnswer]


class PartChange(msgspec.Struct, rename="camel", kw_only=True):
    """A part whose result differs; null: there is no such part in that version."""

    id: str
    old_verdict: str | None
    new_verdict: str | None
    old_score: float | None
    new_score: float | None


class DifferenceAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """One submission."""

    submission: str
    learner: str
    task: str
    submitted_at: datetime
    change: str
    """"up", "down", "same", "failed", "pending" or "cancelled"."""
    old_grade: float | None
    new_grade: float | None
    old_verdict: str | None
    new_verdict: str | None
    parts: list[PartChange]
    remarks: list[str]
    """What else differs: version, image, limits."""
    reason: str
    """Why it could not be graded."""
    conflict: bool
    """Something else has replaced its result since."""


class SummaryAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """The whole, in submissions; mean grades of those that have both."""

    up: int
    down: int
    same: int
    failed: int
    pending: int
    cancelled: int
    conflicts: int
    old_mean: float | None
    new_mean: float | None


class ReportAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """What a campaign would change, or has changed."""

    summary: SummaryAnswer
    differences: list[DifferenceAnswer]


class ApplyIn(msgspec.Struct, rename="camel", kw_only=True):
    """How it is applied."""

    only_up: bool = False
    """Never lower a grade."""
    unfinished: bool = False
    """Now, although some are not graded yet: these stay as they are."""
    skip_changed: bool = False
    """Leave alone what something else has changed, instead of applying nothing."""


class FormerAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """A result that a campaign has replaced."""

    revision: int
    campaign: str
    replaced_at: datetime
    replaced_by: str
    """The token's id."""
    result: ResultAnswer


class HistoryAnswer(msgspec.Struct, kw_only=True):
    """Replaced results, the oldest first."""

    history: list[FormerAnswer]


def _regrades(call: Call) -> Regrades:
    return desk_of(call).regrades


def _name(call: Call) -> str:
    return call.request.match_info["regrade_id"]


async def _start(call: Call) -> web.StreamResponse:
    asked: RegradeIn = call.body
    receipt = await _regrades(call).start(
        _wish(call.request.match_info["course"], asked), owner=call.caller.token_id, key=asked.key
    )
    answer = await _campaign(call, await _regrades(call).get(receipt.id))
    answer.new = receipt.new
    return json(answer, status=202)


def _wish(course: str, asked: RegradeIn) -> Wish:
    return Wish(
        course=course,
        task=asked.task,
        learner=asked.learner,
        since=_seconds(asked.since),
        until=_seconds(asked.until),
        which=Which(asked.which),
        below=asked.below,
        verdicts=tuple(Verdict(each) for each in asked.verdicts),
        submissions=tuple(asked.submissions),
        version=asked.version,
        note=asked.note,
    )


def _seconds(moment: datetime | None) -> float | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise InvalidInput("a time needs its zone, such as 2027-01-31T23:59:00Z")
    return moment.timestamp()


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


async def _campaign(call: Call, found: Campaign) -> CampaignAnswer:
    progress = await _regrades(call).progress(found.id)
    wish, applied = wish_of(found), applied_of(found)
    return CampaignAnswer(
        id=found.id,
        course=found.course,
        task=found.task,
        state=found.state,
        finished=progress.is_finished,
        version=wish.version,
        which=wish.which,
        note=wish.note,
        started_at=_time(found.created_at),
        started_by=found.owner,
        ended_at=None if found.ended_at is None else _time(found.ended_at),
        ended_by=found.ended_by,
        progress=_progress(progress),
        applied=None if applied is None else AppliedAnswer(**msgspec.structs.asdict(applied)),
    )


def _progress(progress: Progress) -> ProgressAnswer:
    return ProgressAnswer(**asdict(progress))


async def _list(call: Call) -> web.StreamResponse:
    query = call.request.query
    most = query.get("most", "100")
    if not (most.isascii() and most.isdecimal() and 1 <= int(most) <= _PAGE_MOST):
        raise InvalidInput(f"most is from 1 to {_PAGE_MOST}")
    page = await _regrades(call).page(
        course=query.get("course"), before=query.get("before"), most=int(most)
    )
    return json(CampaignList(regrades=[await _campaign(call, each) for each in page]))


async def _get(call: Call) -> web.StreamResponse:
    return json(await _campaign(call, await _regrades(call).get(_name(call))))


async def _apply(call: Call) -> web.StreamResponse:
    asked: ApplyIn = call.body
    how = Applying(
        only_up=asked.only_up, unfinished=asked.unfinished, skip_changed=asked.skip_changed
    )
    applied = await _regrades(call).apply(_name(call), how, by=call.caller.token_id)
    return json(await _campaign(call, applied))


async def _discard(call: Call) -> web.StreamResponse:
    found = await _regrades(call).discard(_name(call), by=call.caller.token_id)
    return json(await _campaign(call, found))


# --- the report ---


async def _report(call: Call) -> web.StreamResponse:
    format_ = call.request.query.get("format", "json")
    if format_ not in ("json", "csv", "markdown"):
        raise InvalidInput('format is "json", "csv" or "markdown"')
    campaign = await _regrades(call).get(_name(call))
    if format_ != "json":
        return await _as_text(call, campaign, format_)
    counted, differences = Counted(), []
    async for each in _regrades(call).report(campaign):
        counted.add(each)
        differences.append(_difference(each))
    return json(ReportAnswer(summary=_summary(counted.summary()), differences=differences))


async def _as_text(call: Call, campaign: Campaign, format_: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": f"text/{format_}; charset=utf-8"})
    await response.prepare(call.request)
    lines: list[str] = []
    try:
        async for line in _lines(_regrades(call), campaign, format_):
            lines.append(line)
            if len(lines) >= _LINES_AT_ONCE:
                await response.write("".join(lines).encode())
                lines.clear()
        await response.write("".join(lines).encode())
        await response.write_eof()
    except AssayError:
        # Nobody shall take a part of the report for the whole.
        if call.request.transport is not None:
            call.request.transport.abort()
    return response


async def _lines(regrades: Regrades, campaign: Campaign, format_: str) -> AsyncIterator[str]:
    as_csv = format_ == "csv"
    yield table.csv_head() if as_csv else table.markdown_head()
    counted = Counted()
    async for each in regrades.report(campaign):
        counted.add(each)
        yield table.csv_row(each) if as_csv else table.markdown_row(each)
    if not as_csv:
        yield table.markdown_summary(counted.summary())


def _summary(summary: Summary) -> SummaryAnswer:
    return SummaryAnswer(**asdict(summary))


def _difference(each: Difference) -> DifferenceAnswer:
    known = {name: getattr(each, name) for name in DifferenceAnswer.__struct_fields__}
    return DifferenceAnswer(
        **known
        | {
            "submitted_at": _time(each.submitted_at),
            "parts": [PartChange(**asdict(part)) for part in each.parts],
            "remarks": list(each.remarks),
        }
    )


# --- as it goes on ---


async def _events(call: Call) -> web.StreamResponse:
    found = await _regrades(call).get(_name(call))
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
        }
    )
    await response.prepare(call.request)
    async for name, data in _told(call, found):
        line = b": still here\n\n" if not name else b"event: %s\ndata: %s\n\n" % (
            name.encode(), encode(data),
        )  # fmt: skip
        await response.write(line)
    return response


async def _told(call: Call, found: Campaign) -> AsyncIterator[tuple[str, Any]]:
    """`regrade` first, `progress` when that changes, `regrade` again when it is finished."""
    yield "regrade", await _campaign(call, found)
    before: Progress | None = None
    quiet = 0.0
    while call.services.ready():
        now = await _regrades(call).progress(found.id)
        if now != before:
            before, quiet = now, 0.0
            yield "progress", _progress(now)
        if now.is_finished:
            break
        await asyncio.sleep(_LOOK_SECONDS)
        quiet += _LOOK_SECONDS
        if quiet >= _HEARTBEAT_SECONDS:
            quiet = 0.0
            yield "", None
    yield "regrade", await _campaign(call, await _regrades(call).get(found.id))


# --- of one submission ---


async def _history(call: Call) -> web.StreamResponse:
    former = await _regrades(call).history(_submission(call))
    return json(
        HistoryAnswer(
            history=[
                FormerAnswer(
                    revision=each.revision,
                    campaign=each.campaign,
                    replaced_at=_time(each.replaced_at),
                    replaced_by=each.replaced_by,
                    result=to_result(msgspec.json.decode(each.result, type=Result)),
                )
                for each in former
            ]
        )
    )


async def _record(call: Call) -> web.StreamResponse:
    desk = desk_of(call)
    found = await desk.submissions.get(_submission(call))
    if found.original is not None:
        raise NotFound(f"there is no submission {found.id}")
    return json(await desk.complete(found))


def _submission(call: Call) -> str:
    return call.request.match_info["submission_id"]


_OF_ONE: Final = "/regrades/{regrade_id}"
ROUTES: Final = (
    Route(
        method="POST",
        path="/courses/{course}/regrades",
        handler=_start,
        summary="Grade submissions again: proposals, until the campaign is applied",
        scope="teach",
        request=RegradeIn,
        responses={202: CampaignAnswer},
        problems=(404, 503),
    ),
    Route(
        method="GET",
        path="/regrades",
        handler=_list,
        summary="Campaigns, the newest first",
        scope="teach",
        parameters=(
            Parameter(name="course", summary="Of this course"),
            Parameter(name="before", summary="Older than this one, the last of the page before"),
            Parameter(name="most", summary="How many at most", type=int, default=100),
        ),
        responses={200: CampaignList},
        problems=(404, 503),
    ),
    Route(
        method="GET",
        path=_OF_ONE,
        handler=_get,
        summary="A campaign, and how far it is",
        scope="teach",
        responses={200: CampaignAnswer},
        problems=(404, 503),
    ),
    Route(
        method="GET",
        path=f"{_OF_ONE}/report",
        handler=_report,
        summary="What it would change, or has changed, submission by submission",
        scope="teach",
        parameters=(
            Parameter(name="format", summary='"json", "csv" or "markdown"', default="json"),
        ),
        responses={200: ReportAnswer},
        problems=(404, 503),
    ),
    Route(
        method="POST",
        path=f"{_OF_ONE}/apply",
        handler=_apply,
        summary="Let its results count, all at once; again: what that did",
        scope="teach",
        request=ApplyIn,
        responses={200: CampaignAnswer},
        problems=(404, 409, 503),
    ),
    Route(
        method="DELETE",
        path=_OF_ONE,
        handler=_discard,
        summary="End it without a trace in anybody's grade",
        scope="teach",
        responses={200: CampaignAnswer},
        problems=(404, 409, 503),
    ),
    Route(
        method="GET",
        path=f"{_OF_ONE}/events",
        handler=_events,
        summary="How far it is, as server-sent events until it is finished",
        scope="teach",
        responses={200: bytes},
        problems=(404, 503),
    ),
    Route(
        method="GET",
        path="/submissions/{submission_id}/history",
        handler=_history,
        summary="Results that campaigns have replaced",
        scope="teach",
        responses={200: HistoryAnswer},
        problems=(404, 503),
    ),
    Route(
        method="GET",
        path="/submissions/{submission_id}/record",
        handler=_record,
        summary="All that its grading needs, to be done again by `assay grade --record`",
        scope="teach",
        responses={200: bytes},
        problems=(404, 503),
    ),
)
