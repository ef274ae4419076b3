"""The generator: a process of its own, so that what it takes is not counted as the server's.

    python -m assay.bench.load.generator

The first line of its standard input is an Order, each further one a Job. It answers in lines, too:
{"progress": …} about once a second, {"result": …} or {"failed": "…"} at a job's end. SIGUSR1 ends a
job early; end of input ends the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec
import uvloop

from assay.bench.load.afresh import fresh
from assay.bench.load.connection import Address, Http
from assay.bench.load.crowd import Crowd
from assay.bench.load.journal import Result
from assay.bench.load.journey import Channel, Failed
from assay.bench.load.plan import (
    Claims,
    Closed,
    Fresh,
    Job,
    Keys,
    Lease,
    Open,
    Order,
    Release,
    Storm,
)
from assay.bench.load.work import claims, closed, keys, opened, storm

_decode_order: Final = msgspec.json.Decoder(Order).decode
_decode_job: Final = msgspec.json.Decoder(Job).decode
_Work = Callable[[Crowd, Any, asyncio.Event], Coroutine[Any, Any, Result]]


def say(**line: Any) -> None:
    """A line to whoever started us."""
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


async def _lease(crowd: Crowd, job: Lease, stop: asyncio.Event) -> Result:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await crowd.lease(job, progress=_progress("runners", job.count))
    return Result(seconds=loop.time() - began)


async def _release(crowd: Crowd, job: Release, stop: asyncio.Event) -> Result:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await crowd.release(job.at_once, progress=_progress("runners given back", crowd.count))
    return Result(seconds=loop.time() - began)


def _progress(what: str, whole: int) -> Callable[[int], None]:
    def tell(done: int) -> None:
        if done % 10 == 0 or done == whole:
            say(progress={"what": what, "done": done, "whole": whole})

    return tell


_WORK: Final[dict[type, _Work]] = {
    Lease: _lease,
    Release: _release,
    Open: lambda crowd, job, stop: opened(crowd, job, stop, say),
    Fresh: lambda crowd, job, stop: fresh(crowd, job, stop, say),
    Closed: closed,
    Claims: claims,
    Storm: storm,
    Keys: keys,
}


async def serve() -> None:
    """Do one job after the other, to the end of standard input."""
    loop = asyncio.get_running_loop()
    # A job with a large mix is a long line.
    reader = asyncio.StreamReader(limit=16 * 1024 * 1024)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    order = _decode_order(await reader.readline())
    http = Http(Address(order.url, order.token))
    crowd = Crowd(Channel(http))
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, stop.set)
    say(progress={"what": "ready", "done": 1, "whole": 1})
    try:
        while line := await reader.readline():
            await _one(crowd, _decode_job(line), stop)
    finally:
        http.close()


async def _one(crowd: Crowd, job: Job, stop: asyncio.Event) -> None:
    try:
        result = await _WORK[type(job)](crowd, job, stop)
    except (Failed, ExceptionGroup) as error:
        say(failed=_reason(error))
        return
    # What the crowd did besides belongs to the job in which it happened.
    for name in ("claims", "releases"):
        if not getattr(result, name).seconds:
            setattr(result, name, getattr(crowd, name))
        setattr(crowd, name, type(getattr(crowd, name))())
    counts = crowd.channel.counts
    result.resumed, result.repeated = counts.resumed, counts.repeated
    result.unanswered = counts.unanswered
    crowd.channel.counts = type(counts)()
    result.runners, result.stopped = crowd.count, stop.is_set()
    stop.clear()
    say(result=result)


def _reason(error: Failed | ExceptionGroup[Exception]) -> str:
    """The first of several workers' failures says enough; what is no failure is a fault of ours."""
    while isinstance(error, ExceptionGroup):
        first = error.exceptions[0]
        if not isinstance(first, Failed | ExceptionGroup):
            raise error
        error = first
    return str(error)


def _raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for most in (max(hard, 65536), hard):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
            return


def main() -> None:
    """Run until the end of standard input."""
    _raise_descriptor_limit()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for who started us
    with (
        contextlib.suppress(BrokenPipeError),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(serve())


if __name__ == "__main__":
    main()
