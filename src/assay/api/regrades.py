"""Grading again: campaigns, what they would change, and what they have changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import msgspec
from aiohttp import web

from assay.api.answers import json, time_of, time_or_none
from assay.api.courses import desk_of
from assay.api.grades import to_result
from assay.api.regrade_messages import (
    AppliedAnswer,
    ApplyIn,
    CampaignAnswer,
    CampaignList,
    DifferenceAnswer,
    FormerAnswer,
    HistoryAnswer,
    PartChange,
    ProgressAnswer,
    RegradeIn,
    ReportAnswer,
    SummaryAnswer,
)
from assay.api.route import Call, Parameter, Route
from assay.api.streamed import HEARTBEAT_SECONDS, STILL_HERE, send_events, send_pieces
from assay.api.submissions import taught_submission
from assay.domain.campaign import Campaign
from assay.domain.errors import InvalidInput, NotFound
from assay.grading.regrading import table
from assay.grading.regrading.regrades import (
    Applying,
    Progress,
    Regrades,
    applied_of,
    wish_of,
)
from assay.grading.regrading.report import Counted, Difference, Summary
from assay.grading.regrading.wish import Which, Wish
from assay.grading.results import Result, Verdict

_LOOK_SECONDS: Final = 1.0


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
        started_at=time_of(found.created_at),
        started_by=found.owner,
        ended_at=time_or_none(found.ended_at),
        ended_by=found.ended_by,
        progress=_progress(progress),
        applied=None if applied is None else AppliedAnswer(**msgspec.structs.asdict(applied)),
    )


def _progress(progress: Progress) -> ProgressAnswer:
    return ProgressAnswer(**asdict(progress))


async def _list(call: Call) -> web.StreamResponse:
    query = call.request.query
    page = await _regrades(call).page(
        courses=_courses(call, query.get("course")), before=query.get("before"), most=call.most
    )
    return json(CampaignList(regrades=[await _campaign(call, each) for each in page]))


def _courses(call: Call, wanted: str | None) -> list[str] | None:
    """Of which courses campaigns may be listed; None: of all. Raises Forbidden."""
    if wanted is not None:
        call.caller.require_teaches(wanted)
        return [wanted]
    return sorted(call.caller.courses) or None


async def _found(call: Call) -> Campaign:
    """The campaign that the path names, of a course that the caller teaches. Raises NotFound."""
    found = await _regrades(call).get(_name(call))
    if not call.caller.teaches(found.course):
        raise NotFound(f"there is no campaign {found.id} of a course that this token teaches")
    return found


async def _get(call: Call) -> web.StreamResponse:
    return json(await _campaign(call, await _found(call)))


async def _apply(call: Call) -> web.StreamResponse:
    asked: ApplyIn = call.body
    campaign = await _found(call)
    how = Applying(
        only_up=asked.only_up, unfinished=asked.unfinished, skip_changed=asked.skip_changed
    )
    applied = await _regrades(call).apply(campaign.id, how, by=call.caller.token_id)
    return json(await _campaign(call, applied))


async def _discard(call: Call) -> web.StreamResponse:
    campaign = await _found(call)
    found = await _regrades(call).discard(campaign.id, by=call.caller.token_id)
    return json(await _campaign(call, found))


# --- the report ---


async def _report(call: Call) -> web.StreamResponse:
    format_ = call.request.query.get("format", "json")
    if format_ not in ("json", "csv", "markdown"):
        raise InvalidInput('format is "json", "csv" or "markdown"')
    campaign = await _found(call)
    if format_ != "json":
        headers = {"Content-Type": f"text/{format_}; charset=utf-8"}
        lines = _lines(_regrades(call), campaign, format_)
        return await send_pieces(call.request, headers, lines)
    counted, differences = Counted(), []
    async for each in _regrades(call).report(campaign):
        counted.add(each)
        differences.append(_difference(each))
    return json(ReportAnswer(summary=_summary(counted.summary()), differences=differences))


async def _lines(regrades: Regrades, campaign: Campaign, format_: str) -> AsyncIterator[bytes]:
    as_csv = format_ == "csv"
    yield (table.csv_head() if as_csv else table.markdown_head()).encode()
    counted = Counted()
    async for each in regrades.report(campaign):
        counted.add(each)
        yield (table.csv_row(each) if as_csv else table.markdown_row(each)).encode()
    if not as_csv:
        yield table.markdown_summary(counted.summary()).encode()


def _summary(summary: Summary) -> SummaryAnswer:
    return SummaryAnswer(**asdict(summary))


def _difference(each: Difference) -> DifferenceAnswer:
    known = {name: getattr(each, name) for name in DifferenceAnswer.__struct_fields__}
    return DifferenceAnswer(
        **known
        | {
            "submitted_at": time_of(each.submitted_at),
            "parts": [PartChange(**asdict(part)) for part in each.parts],
            "remarks": list(each.remarks),
        }
    )


# --- as it goes on ---


async def _events(call: Call) -> web.StreamResponse:
    found = await _found(call)
    return await send_events(call.request, _told(call, found))


async def _told(call: Call, found: Campaign) -> AsyncIterator[tuple[str, Any]]:
    """`regrade` first, `progress` when that changes, `regrade` again when it is finished."""
    yield "regrade", await _campaign(call, found)
    before: Progress | None = None
    quiet = 0.0
    while call.services.ready():
        now = await _regrades(call).recent_progress(found.id)
        if now != before:
            before, quiet = now, 0.0
            yield "progress", _progress(now)
        if now.is_finished:
            break
        await asyncio.sleep(_LOOK_SECONDS)
        quiet += _LOOK_SECONDS
        if quiet >= HEARTBEAT_SECONDS:
            quiet = 0.0
            yield STILL_HERE
    yield "regrade", await _campaign(call, await _regrades(call).get(found.id))


# --- of one submission ---


async def _history(call: Call) -> web.StreamResponse:
    found = await taught_submission(call)
    former = await _regrades(call).history(found.id)
    return json(
        HistoryAnswer(
            history=[
                FormerAnswer(
                    revision=each.revision,
                    campaign=each.campaign,
                    replaced_at=time_of(each.replaced_at),
                    replaced_by=each.replaced_by,
                    result=to_result(msgspec.json.decode(each.result, type=Result)),
                )
                for each in former
            ]
        )
    )


async def _record(call: Call) -> web.StreamResponse:
    return json(await desk_of(call).complete(await taught_submission(call)))


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
