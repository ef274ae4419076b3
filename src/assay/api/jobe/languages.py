"""Which languages there are, by the names that Jobe's clients know, and their tools' versions."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from assay.api.answers import json
from assay.api.jobe.face import FACE
from assay.api.route import Call, Route
from assay.api.services import Environments
from assay.domain.errors import AssayError, InvalidInput
from assay.environments import Blueprint, ExecutionEnvironment, JobeLanguage, ServedEnvironment
from assay.runners import RunRequest

UNKNOWN: Final = "unknown"
"""A version that could not be found out now."""
_VERSION_OUTPUT_MOST: Final = 65_536
_VERSIONS_MOST: Final = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """A language, and the environment that runs it."""

    language: JobeLanguage
    blueprint: Blueprint

    @property
    def environment(self) -> ServedEnvironment:
        """As it is served."""
        return self.blueprint.environment


def named(environments: Environments) -> Mapping[str, ServedEnvironment]:
    """Who runs which language: an environment of that very name, or else the first that can."""
    by_name: dict[str, ServedEnvironment] = {}
    by_language: dict[str, ServedEnvironment] = {}
    for served in environments.all():
        folder = environments.folder(served)
        if folder is None:
            continue
        language = language_of(folder).language
        by_name[served.name] = served
        if language not in by_language or served.name == folder.name:
            by_language[language] = served
    return by_language | by_name


def language_of(folder: ExecutionEnvironment) -> JobeLanguage:
    """As the folder says, or made of what it says for everybody."""
    if folder.jobe is not None:
        return folder.jobe
    return JobeLanguage(
        language=folder.name,
        source=f"main{folder.extensions[0] if folder.extensions else ''}",
        version=None,
        compile=folder.compile,
        run=folder.run,
        check=None,
        lists={},
        strict=False,
        least=folder.sandbox,
    )


async def offer_of(call: Call, language: str) -> Offer:
    """Who runs this language. Raises InvalidInput: nobody; and what images raise."""
    environments = call.services.environments
    served = named(environments).get(language)
    if served is None:
        raise InvalidInput(f"this server has no language called {language[:80]!r}")
    return await _offer(environments, served)


async def _offer(environments: Environments, served: ServedEnvironment) -> Offer:
    blueprint = await environments.resolve(served)
    assert blueprint.folder is not None
    return Offer(language=language_of(blueprint.folder), blueprint=blueprint)


async def _languages(call: Call) -> web.StreamResponse:
    """Those that can be used now: an image that is still being pulled is no reason to wait."""
    offered = named(call.services.environments)
    served = {each.name: each for each in offered.values()}
    found = await asyncio.gather(*(_version_in_time(call, each) for each in served.values()))
    versions = dict(zip(served, found, strict=True))
    answer = [[name, versions[offered[name].name]] for name in sorted(offered)]
    return json([pair for pair in answer if pair[1] is not None])


async def _version_in_time(call: Call, served: ServedEnvironment) -> str | None:
    """None: it can't be used here, or not yet."""
    try:
        async with asyncio.timeout(call.services.settings.claim_seconds):
            offer = await _offer(call.services.environments, served)
    except (AssayError, TimeoutError):
        return None
    with contextlib.suppress(AssayError):
        return await version_of(call, offer)
    return UNKNOWN  # no sandbox is free, say: the next one who asks may be told


async def version_of(call: Call, offer: Offer) -> str | None:
    """What the language's own tool says in a sandbox, asked once; None: it does not work."""
    asked, known = offer.language.version, call.services.versions
    if asked is None:
        return UNKNOWN
    key = (offer.blueprint.version, asked.argv)
    if key not in known:
        result = await call.services.runners.run_once(
            offer.environment.name,
            RunRequest(argv=asked.argv, output_bytes=_VERSION_OUTPUT_MOST),
            owner=call.caller.token_id,
            deadline_seconds=call.services.settings.claim_seconds,
        )
        if not result.outcome.success:
            return None
        if len(known) >= _VERSIONS_MOST:
            known.clear()
        known[key] = version_in(asked.pattern, result.stdout + result.stderr)
    return known[key]


def version_in(pattern: str, said: bytes) -> str:
    """The version in what a tool says of itself."""
    found = re.search(pattern, said.decode(errors="replace"), re.MULTILINE)
    return found[1] if found and found[1] else UNKNOWN


ROUTES: Final = (
    Route(
        method="GET",
        path="/languages",
        handler=_languages,
        summary="The languages, each with the version of its compiler or interpreter",
        responses={200: list[tuple[str, str]]},
        face=FACE,
    ),
)
