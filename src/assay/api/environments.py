"""Environments: Poseidon's, whose names are numbers, and all of them in full."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import msgspec
from aiohttp import web

from assay.api.answers import empty, json
from assay.api.route import Call, Parameter, Route
from assay.domain.devices import devices_of
from assay.domain.errors import InvalidInput, NotFound, UnknownEnvironment
from assay.domain.limits import MIB, ExecutionLimits, SandboxLimits
from assay.environments import HOST
from assay.environments.served import Origin, ServedEnvironment

_ID_DIGITS: Final = 18
_MEMORY_MOST: Final = 1024 * 1024
"""MiB that an environment may ask for: a terabyte."""
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_POSEIDONS: Final = SandboxLimits(processes=256, disk_bytes=256 * MIB, inodes=65_536)
"""Poseidon limits memory alone. A Java machine has dozens of threads, and a PATCH 60 MB."""


class PoseidonsEnvironment(msgspec.Struct, rename="camel"):
    """An environment as Poseidon knows it."""

    id: int | None = 0
    image: str | None = ""
    prewarming_pool_size: int | None = 0
    cpu_limit: float | None = 0
    """A share: kept, and given back."""
    memory_limit: int | None = 0
    """MiB."""
    network_access: bool | None = False
    exposed_ports: list[int] | None = None


class PoseidonsList(msgspec.Struct, rename="camel"):
    """All environments that Poseidon's clients can name."""

    execution_environments: list[PoseidonsEnvironment]


class SandboxAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """What a sandbox may use."""

    memory_bytes: int = SandboxLimits().memory_bytes
    processes: int = SandboxLimits().processes
    cpus: float = SandboxLimits().cpus
    disk_bytes: int = SandboxLimits().disk_bytes
    inodes: int = SandboxLimits().inodes


class ExecutionLimitsAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """What an execution may use; null is no limit."""

    wall_seconds: float | None = ExecutionLimits().wall_seconds
    cpu_seconds: float | None = ExecutionLimits().cpu_seconds
    output_bytes: int | None = ExecutionLimits().output_bytes
    open_files: int | None = ExecutionLimits().open_files


class EnvironmentDefinition(msgspec.Struct, rename="camel", kw_only=True):
    """An environment in full. Without an image, that of the language is used."""

    image: str = ""
    language: str | None = None
    sandbox: SandboxAnswer | None = None
    execution: ExecutionLimitsAnswer | None = None
    ceiling: ExecutionLimitsAnswer | None = None
    network: bool = False
    devices: list[str] = []
    exposed_ports: list[int] = []
    pool_size: int = 0
    variables: dict[str, str] = {}


class EnvironmentAnswer(EnvironmentDefinition, kw_only=True):
    """An environment in full, and where it comes from."""

    name: str
    origin: str
    version: str


class EnvironmentList(msgspec.Struct):
    """All environments."""

    environments: list[EnvironmentAnswer]


# --- Poseidon's -----------------------------------------------------------------------------------


async def _poseidons(call: Call) -> web.StreamResponse:
    _require_fetch(call)
    found = call.services.environments.all()
    return json(PoseidonsList([_as_poseidon(each) for each in found if each.name.isdecimal()]))


async def _poseidons_one(call: Call) -> web.StreamResponse:
    name = _number(call)
    _require_fetch(call)
    return json(_as_poseidon(_get(call, name)))


async def _put_poseidons(call: Call) -> web.StreamResponse:
    environment = _from_poseidon(_number(call), call.body, call)
    new = await call.services.environments.put(environment)
    return empty(201 if new else 204)


async def _delete_poseidons(call: Call) -> web.StreamResponse:
    if not await call.services.environments.delete(_number(call)):
        raise NotFound("no environment has this id")
    return empty()


def _number(call: Call) -> str:
    """The id in a path. Raises NotFound when it is no number, as Poseidon's router does."""
    text = call.request.match_info["environment_id"]
    if not (text.isascii() and text.isdecimal()):
        raise NotFound("an environment's id is a number")
    number = text.lstrip("0") or "0"
    if len(number) > _ID_DIGITS:
        raise NotFound("no environment has so large an id")
    return number


def _require_fetch(call: Call) -> None:
    """Poseidon's switch to ask its orchestrator again; here, what is known is always current."""
    text = call.request.query.get("fetch", "false")
    if text not in _TRUE and text not in _FALSE:
        raise InvalidInput("fetch is true or false")


def _get(call: Call, name: str) -> ServedEnvironment:
    try:
        return call.services.environments.get(name)
    except UnknownEnvironment as error:
        raise NotFound(error.message) from error


def _from_poseidon(name: str, asked: PoseidonsEnvironment, call: Call) -> ServedEnvironment:
    settings = call.services.settings
    image = asked.image or ""
    if not image:
        raise InvalidInput("an environment needs an image")
    _require_allowed(image, host_image=settings.host_image)
    return ServedEnvironment(
        name=name,
        image=image,
        sandbox=_sandbox(asked.memory_limit or 0),
        execution=settings.execution,
        ceiling=settings.ceiling,
        network=bool(asked.network_access),
        exposed_ports=tuple(asked.exposed_ports or ()),
        pool_size=asked.prewarming_pool_size or 0,
        cpu_shares=_shares(asked.cpu_limit or 0),
        origin=Origin.API,
    )


def _shares(asked: float) -> int:
    if not 0 <= asked < 2**31:
        raise InvalidInput("cpuLimit is from 0 to 2147483647")
    return int(asked)


def _sandbox(mebibytes: int) -> SandboxLimits:
    """Poseidon's memory limit; what is written to its disk may take half of it."""
    if not 0 <= mebibytes <= _MEMORY_MOST:
        raise InvalidInput(f"memoryLimit is from 4 to {_MEMORY_MOST} (MiB)")
    memory = mebibytes * MIB or SandboxLimits().memory_bytes
    disk = min(_POSEIDONS.disk_bytes, memory // 2)
    return replace(_POSEIDONS, memory_bytes=memory, disk_bytes=disk)


def _as_poseidon(environment: ServedEnvironment) -> PoseidonsEnvironment:
    return PoseidonsEnvironment(
        id=int(environment.name),
        image=environment.image,
        prewarming_pool_size=environment.pool_size,
        cpu_limit=environment.cpu_shares,
        memory_limit=environment.sandbox.memory_bytes // MIB,
        network_access=environment.network,
        exposed_ports=list(environment.exposed_ports),
    )


def _require_allowed(image: str, *, host_image: bool) -> None:
    """The machine's own programs are for learners only where its operator says so."""
    if image == HOST and not host_image:
        raise InvalidInput('the image "host" is not allowed on this server')
    if image.startswith(("/", ".")):
        raise InvalidInput("an image is a reference to a registry, not a path of the server")


# --- in full --------------------------------------------------------------------------------------


async def _all(call: Call) -> web.StreamResponse:
    return json(EnvironmentList([_in_full(each) for each in call.services.environments.all()]))


async def _one(call: Call) -> web.StreamResponse:
    return json(_in_full(call.services.environments.get(call.request.match_info["name"])))


async def _put(call: Call) -> web.StreamResponse:
    asked: EnvironmentDefinition = call.body
    settings = call.services.settings
    _require_allowed(asked.image, host_image=settings.host_image)
    environment = ServedEnvironment(
        name=call.request.match_info["name"],
        image=asked.image,
        language=asked.language,
        sandbox=SandboxLimits(**msgspec.structs.asdict(asked.sandbox or SandboxAnswer())),
        execution=_limits(asked.execution, settings.execution),
        ceiling=_limits(asked.ceiling, settings.ceiling),
        network=asked.network,
        devices=devices_of(asked.devices),
        exposed_ports=tuple(asked.exposed_ports),
        pool_size=asked.pool_size,
        variables=asked.variables,
    )
    return empty(201 if await call.services.environments.put(environment) else 204)


async def _delete(call: Call) -> web.StreamResponse:
    name = call.request.match_info["name"]
    if not await call.services.environments.delete(name):
        raise UnknownEnvironment(f"no environment is called {name[:80]!r}")
    return empty()


def _limits(asked: ExecutionLimitsAnswer | None, default: ExecutionLimits) -> ExecutionLimits:
    return default if asked is None else ExecutionLimits(**msgspec.structs.asdict(asked))


def _in_full(environment: ServedEnvironment) -> EnvironmentAnswer:
    return EnvironmentAnswer(
        name=environment.name,
        image=environment.image,
        language=environment.language,
        sandbox=msgspec.convert(environment.sandbox, SandboxAnswer, from_attributes=True),
        execution=_as_answer(environment.execution),
        ceiling=_as_answer(environment.ceiling),
        network=environment.network,
        devices=[device.name for device in environment.devices],
        exposed_ports=list(environment.exposed_ports),
        pool_size=environment.pool_size,
        variables=dict(environment.variables),
        origin=environment.origin.value,
        version=environment.version,
    )


def _as_answer(limits: ExecutionLimits) -> ExecutionLimitsAnswer:
    return ExecutionLimitsAnswer(
        wall_seconds=limits.wall_seconds,
        cpu_seconds=limits.cpu_seconds,
        output_bytes=limits.output_bytes,
        open_files=limits.open_files,
    )


_FETCH: Final = Parameter(name="fetch", type=bool, default=False, summary="Without effect")
_ID: Final = "/execution-environments/{environment_id}"

ROUTES: Final = (
    Route(
        method="GET",
        path="/execution-environments",
        handler=_poseidons,
        summary="The environments that have numbers",
        scope="read",
        parameters=(_FETCH,),
        responses={200: PoseidonsList},
        poseidon=True,
    ),
    Route(
        method="GET",
        path=_ID,
        handler=_poseidons_one,
        summary="One of them",
        scope="read",
        parameters=(_FETCH,),
        responses={200: PoseidonsEnvironment},
        problems=(404,),
        poseidon=True,
        silent=(404,),
    ),
    Route(
        method="PUT",
        path=_ID,
        handler=_put_poseidons,
        summary="Add or replace one; answered when it can be used",
        scope="environments",
        request=PoseidonsEnvironment,
        responses={201: None, 204: None},
        problems=(404, 500),
        poseidon=True,
        silent=(404,),
    ),
    Route(
        method="DELETE",
        path=_ID,
        handler=_delete_poseidons,
        summary="Remove one; its runners stay until they end",
        scope="environments",
        responses={204: None},
        problems=(404,),
        poseidon=True,
        silent=(404,),
    ),
    Route(
        method="GET",
        path="/environments",
        handler=_all,
        summary="All environments in full",
        scope="read",
        responses={200: EnvironmentList},
    ),
    Route(
        method="GET",
        path="/environments/{name}",
        handler=_one,
        summary="One environment in full",
        scope="read",
        responses={200: EnvironmentAnswer},
        problems=(404,),
    ),
    Route(
        method="PUT",
        path="/environments/{name}",
        handler=_put,
        summary="Add or replace one; answered when it can be used",
        scope="environments",
        request=EnvironmentDefinition,
        responses={201: None, 204: None},
        problems=(503,),
    ),
    Route(
        method="DELETE",
        path="/environments/{name}",
        handler=_delete,
        summary="Remove one; its runners stay until they end",
        scope="environments",
        responses={204: None},
        problems=(404,),
    ),
)
