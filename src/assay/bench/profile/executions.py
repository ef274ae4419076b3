"""The executions that are looked at: one after the other, so that each part is its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

from assay.bench.host import machine_seconds
from assay.bench.load.accounts import group_of_sandboxes, group_seconds
from assay.bench.load.connection import Address, Http
from assay.bench.load.control import LoadFailed
from assay.bench.load.journey import Channel, Execution, Failed, ran_well
from assay.bench.load.plan import Program
from assay.bench.load.target import OwnServer, open_server
from assay.bench.profile.findings import Way, clock_of, server_of

ENVIRONMENT: Final = "bash"
POOL: Final = 8
PROGRAM: Final = Program(
    name="echo", environment=ENVIRONMENT, argv=("/bin/echo", "{mark}"), expected="{mark}\n"
)
_WARM_UP: Final = 20
_SECONDS_TO_WRITE: Final = 10.0
_REST_SECONDS: Final = 0.1
"""After a fresh one: its successor is made meanwhile."""

Tell = Callable[[str, int, int], None]


@dataclass(kw_only=True, slots=True)
class _Samples:
    """Of each execution, in seconds."""

    totals: list[float] = field(default_factory=list)
    programs: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)


class _Measured(msgspec.Struct):
    value: int


class _Measurements(msgspec.Struct, rename="camel"):
    wall_ns: _Measured | None = None


class _Timings(msgspec.Struct, rename="camel"):
    wait_ms: float = 0.0


class _Answer(msgspec.Struct):
    measurements: _Measurements
    timings: _Timings


_decode: Final = msgspec.json.Decoder(_Answer).decode


async def measure(driver: str, count: int, tell: Tell) -> tuple[Way, ...]:
    """Every way, `count` executions each, without probes and with. Raises LoadFailed."""
    with tempfile.TemporaryDirectory(prefix="assay-profile-") as folder:
        counts = Path(folder) / "counts.json"
        bare = {}
        async with _server(driver) as server:
            for name in _WAYS:
                bare[name] = await _run(server, name, count, tell, None)
        async with _server(driver, "-m", "assay.bench.profile.served", str(counts)) as server:
            return tuple([
                _way(name, bare[name], await _run(server, name, count, tell, counts), count)
                for name in _WAYS
            ])  # fmt: skip


@contextlib.asynccontextmanager
async def _server(driver: str, *program: str) -> AsyncIterator[OwnServer]:
    more = {"program": program} if program else {}
    async with open_server({ENVIRONMENT: POOL}, driver=driver, **more) as server:
        while (await server.pool())[ENVIRONMENT]["idle"] < POOL:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        yield server


# --- the ways ------------------------------------------------------------------------------------

_Execute = Callable[[int, _Samples], Awaitable[None]]


@contextlib.asynccontextmanager
async def _runner(channel: Channel) -> AsyncIterator[str]:
    body = {"environment": ENVIRONMENT, "inactivityTimeout": 300}
    answer = await channel.call("POST", "/runners", body, what="lease")
    runner_id = msgspec.json.decode(answer)["runnerId"]
    try:
        yield runner_id
    finally:
        await channel.call("DELETE", f"/runners/{runner_id}", what="release")


@contextlib.asynccontextmanager
async def _by_request(channel: Channel) -> AsyncIterator[_Execute]:
    async with _runner(channel) as runner_id:
        yield lambda number, samples: _request(
            channel, f"/runners/{runner_id}/run", number, samples, {}
        )


@contextlib.asynccontextmanager
async def _fresh(channel: Channel) -> AsyncIterator[_Execute]:
    async def run(number: int, samples: _Samples) -> None:
        await _request(channel, "/run", number, samples, {"environment": ENVIRONMENT})
        await asyncio.sleep(_REST_SECONDS)

    yield run


async def _request(
    channel: Channel, path: str, number: int, samples: _Samples, more: dict[str, Any]
) -> None:
    mark = f"profile-{number}"
    body = {"argv": [text.replace("{mark}", mark) for text in PROGRAM.argv], **more}
    began = time.perf_counter()
    answer = await channel.call("POST", path, body, what="run")
    samples.totals.append(time.perf_counter() - began)
    ran_well(answer, PROGRAM, mark)
    told = _decode(answer)
    wall = told.measurements.wall_ns
    samples.programs.append(0.0 if wall is None else wall.value / 1e9)
    samples.waits.append(told.timings.wait_ms / 1000)


@contextlib.asynccontextmanager
async def _by_stream(channel: Channel) -> AsyncIterator[_Execute]:
    async with _runner(channel) as runner_id:

        async def run(number: int, samples: _Samples) -> None:
            execution = Execution(channel, runner_id)
            began = time.perf_counter()
            await execution.run(PROGRAM, f"profile-{number}")
            samples.totals.append(time.perf_counter() - began)
            end = execution.stream.end
            wall = None if end is None else end.measurements.wall_ns
            samples.programs.append(0.0 if wall is None else wall.value / 1e9)
            samples.waits.append(0.0)

        yield run


_WAYS: Final = {
    "warm, by one request": _by_request,
    "warm, by a request and its stream": _by_stream,
    "a fresh lease, by one request": _fresh,
}


# --- accounts ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Accounts:
    """Seconds of processor time so far, and what the probes have counted."""

    server: float
    main: float
    """Of the event loop's thread."""
    own: float
    sandboxes: float | None
    machine: float
    counted: dict[str, Any] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ran:
    samples: _Samples
    before: _Accounts
    after: _Accounts


async def _look(server: OwnServer, counts: Path | None, group: Path | None) -> _Accounts:
    tasks = Path(f"/proc/{server.pid}/task")
    return _Accounts(
        server=sum(_thread_seconds(each) for each in tasks.iterdir()),
        main=_thread_seconds(tasks / str(server.pid)),
        own=time.process_time(),
        sandboxes=None if group is None else group_seconds(group),
        machine=machine_seconds(),
        counted=None if counts is None else await _counted(server, counts),
    )


def _thread_seconds(task: Path) -> float:
    with contextlib.suppress(OSError):
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    return 0.0


async def _counted(server: OwnServer, counts: Path) -> dict[str, Any]:
    counts.unlink(missing_ok=True)
    server.signal(signal.SIGUSR1)
    deadline = time.monotonic() + _SECONDS_TO_WRITE
    while not counts.exists():
        if time.monotonic() > deadline:
            raise LoadFailed("the server with probes in it did not say what it has counted")
        await asyncio.sleep(0.01)
    found: dict[str, Any] = json.loads(counts.read_bytes())
    return found


async def _run(server: OwnServer, name: str, count: int, tell: Tell, counts: Path | None) -> _Ran:
    http = Http(Address(server.url, server.token))
    group, samples = group_of_sandboxes(server.sandbox_ids()), _Samples()
    try:
        async with _WAYS[name](Channel(http)) as execute:
            for number in range(_WARM_UP):
                await execute(-number, _Samples())
            before = await _look(server, counts, group)
            for number in range(count):
                await execute(number, samples)
                tell(name, number + 1, count)
            after = await _look(server, counts, group)
    except Failed as error:
        raise LoadFailed(f"{name}: {error}") from error
    finally:
        http.close()
    return _Ran(samples=samples, before=before, after=after)


def _way(name: str, bare: _Ran, probed: _Ran, count: int) -> Way:
    first, last = probed.before.counted, probed.after.counted
    assert first is not None
    assert last is not None
    samples, before, after = probed.samples, bare.before, bare.after
    sandboxes = None
    if before.sandboxes is not None and after.sandboxes is not None:
        sandboxes = (after.sandboxes - before.sandboxes) / count * 1e6
    moments = last["moments"][len(first["moments"]) :][-count:]
    return Way(
        name=name,
        program=" ".join(PROGRAM.argv),
        count=count,
        whole=median(bare.samples.totals) * 1e6,
        clock=clock_of(moments, samples.totals, samples.programs, samples.waits),
        server=server_of(first, last, count, main=(after.main - before.main) / count * 1e6),
        processes={
            "server": (after.server - before.server) / count * 1e6,
            "… of it the event loop's thread": (after.main - before.main) / count * 1e6,
            "sandboxes: agent, program, kernel": sandboxes,
            "client": (after.own - before.own) / count * 1e6,
            "the whole machine, neighbours too": (after.machine - before.machine) / count * 1e6,
        },
    )
