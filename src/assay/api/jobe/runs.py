"""One program of a client of Jobe: compiled and run in a sandbox of its own."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from aiohttp import web

from assay.api.answers import json
from assay.api.endpoint import read_body
from assay.api.errors import OVERLOAD, HttpError, told
from assay.api.jobe.face import FACE
from assay.api.jobe.files import files_of, to_write
from assay.api.jobe.languages import Offer, offer_of
from assay.api.jobe.limits import Limits, limits_of
from assay.api.jobe.result import Answer, Number, Source, answer_of, failed, not_compiled
from assay.api.jobe.source import source_name
from assay.api.jobe.spec import RunSpec, run_spec
from assay.api.quotas import running
from assay.api.route import Call, Route
from assay.api.services import Sent
from assay.domain.errors import AssayError, Busy, InvalidInput, NotAllowed
from assay.domain.outcome import OutcomeKind
from assay.environments import StepKind
from assay.runners import FileToWrite, RunRequest, RunResult, Steps

CUT: Final = "Assay-Limited"
"""The header field that tells of parameters that asked for more than there is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """All that is known before a sandbox is taken."""

    offer: Offer
    request: RunRequest
    limits: Limits
    held: Mapping[str, Sent]
    """As long as it waits, others have the same files of it."""


async def _post(call: Call) -> web.StreamResponse:
    spec = run_spec(await read_body(call.request, call.services.settings.most_body_bytes))
    run_id = secrets.token_hex(8)
    cut: Mapping[str, int] = {}
    try:
        offer = await offer_of(call, spec.language)
        limits = limits_of(spec.parameters, offer.environment, offer.language.least)
        cut = limits.cut
        held = await files_of(call, spec.files)
        request = _request(offer, spec, limits, to_write(spec.files, held))
        run = _Run(offer=offer, request=request, limits=limits, held=held)
        with running(call):
            answer = await _answer(call, run, run_id)
    except (InvalidInput, NotAllowed, HttpError):
        raise
    except AssayError as error:
        answer = _failure(error, run_id)
    response = json(answer)
    if cut:
        response.headers[CUT] = ", ".join(f"{name}={there}" for name, there in cut.items())
    return response


async def _answer(call: Call, run: _Run, run_id: str) -> Answer:
    assert run.request.filename is not None
    folder = run.offer.blueprint.root.working_folder
    source = Source(folder=folder, name=run.request.filename)
    result = await _run(call, run, run.request)
    if run.offer.language.check is not None and _may_be_no_program(result):
        checked = await _run(call, run, _check(run))
        if checked.outcome.kind is OutcomeKind.EXITED and not checked.outcome.success:
            return not_compiled(run_id, checked, source=source)
    return answer_of(run_id, result, source=source)


async def _run(call: Call, run: _Run, request: RunRequest) -> RunResult:
    services = call.services
    async with services.environments.varied(run.offer.environment, run.limits.sandbox) as name:
        return await services.runners.run_once(
            name,
            request,
            owner=call.caller.token_id,
            deadline_seconds=services.settings.claim_seconds,
        )


def _may_be_no_program(result: RunResult) -> bool:
    """A source that can't be read fails before it has said anything."""
    return (
        result.step is StepKind.RUN
        and result.outcome.kind is OutcomeKind.EXITED
        and not result.outcome.success
        and (not (said := result.stdout.strip()) or said.startswith(b"Parse error"))
    )


def _request(
    offer: Offer, spec: RunSpec, limits: Limits, files: tuple[FileToWrite, ...]
) -> RunRequest:
    language, asked = offer.language, spec.parameters
    return RunRequest(
        source=spec.source,
        filename=spec.filename or source_name(language, spec.source),
        files=files,
        args=asked.run_args,
        stdin=spec.stdin,
        limits=limits.execution,
        output_bytes=limits.output_bytes,
        steps=Steps(
            compile=language.compile,
            run=language.run,
            lists={**language.lists, **asked.lists},
            name=asked.main_class,
            strict=language.strict,
        ),
    )


def _check(run: _Run) -> RunRequest:
    """The same files in a fresh sandbox: the program may have changed its own."""
    request = run.request
    argv, language = run.offer.language.check, run.offer.language
    assert argv is not None
    steps = Steps(compile=None, run=replace(language.run, argv=argv))
    return RunRequest(
        source=request.source,
        filename=request.filename,
        files=request.files,
        output_bytes=request.output_bytes,
        steps=steps,
    )


def _failure(error: AssayError, run_id: str) -> Answer:
    if isinstance(error, Busy) or error.code in OVERLOAD:
        return Answer(run_id=run_id, outcome=Number.SERVER_OVERLOAD, stderr=told(error))
    return failed(run_id, told(error))


ROUTES: Final = (
    Route(
        method="POST",
        path="/runs",
        handler=_post,
        summary="Compile and run a program, and answer when it has ended",
        responses={200: Answer},
        problems=(404, 413, 415),
        face=FACE,
    ),
)
