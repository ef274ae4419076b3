"""The conformance suites' program `probe` as coroutines: agent/probe.c says what each verb does."""

from __future__ import annotations

import asyncio
import errno
import signal as signals
import zlib
from collections.abc import Awaitable, Callable
from typing import Final

from assay.domain.limits import MIB
from assay.drivers.fake.process import STDERR, STDOUT, Process
from assay.drivers.fake.stream import MemoryStream

_BLOCK: Final = 4096
_TOGETHER: Final = 8
_FILLING: Final = bytes(ord("A") + (i * 7 + i // 26) % 26 for i in range(16, _BLOCK - 1)) + b"\n"
_BEAT_SECONDS: Final = 0.005
_OPEN_AT_START: Final = 3
_UNLIMITED_FILES: Final = 1024
_USAGE: Final = 64


async def probe(process: Process) -> int:
    """Run `probe VERB ARGUMENTS…`."""
    verb = process.argv[1] if len(process.argv) > 1 else ""
    try:
        return await _VERBS[verb](process, *process.argv[2:]) or 0
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "EIO")
        await process.write(f"{name} {error.filename or verb}\n".encode(), STDERR)
        return 1
    except (KeyError, TypeError, ValueError):
        await process.write(b"usage: probe VERB ARGUMENTS... (see probe.c)\n", STDERR)
        return _USAGE


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogateescape")


async def _say(process: Process, text: str) -> None:
    await process.write(_bytes(text))


# --- what it was given ---------------------------------------------------------------------------


async def _echo(process: Process, *arguments: str) -> None:
    await _say(process, " ".join(arguments) + "\n")


async def _args(process: Process, *arguments: str) -> None:
    await _say(process, "".join(f"{argument}\0" for argument in arguments))


async def _env(process: Process) -> None:
    pairs = process.environment.items()
    await _say(process, "".join(f"{name}={value}\0" for name, value in pairs))


async def _who(process: Process) -> None:
    directory = process.working_directory
    await _say(process, f"uid={process.uid} gid={process.gid} groups=- cwd={directory}\n")


async def _open_files(process: Process) -> None:
    limit = process.open_files or _UNLIMITED_FILES
    await _say(process, f"opened={limit - _OPEN_AT_START} error=EMFILE\n")


# --- how it ends ---------------------------------------------------------------------------------


async def _exit(_: Process, code: str) -> int:
    return int(code)


async def _signal(process: Process, number: str) -> None:
    await process.die(int(number))


async def _sleep(process: Process, seconds: str) -> None:
    await process.sleep(float(seconds))


async def _prompt(process: Process, text: str, seconds: str) -> None:
    await _say(process, text)
    await process.sleep(float(seconds))


async def _spin(process: Process, seconds: str) -> None:
    await process.compute(float(seconds))


async def _alloc(process: Process, mebibytes: str, seconds: str) -> None:
    for _ in range(int(mebibytes)):
        await process.allocate(MIB)
    await _say(process, f"touched {mebibytes}\n")
    await process.sleep(float(seconds))


# --- streams -------------------------------------------------------------------------------------


async def _cat(process: Process) -> None:
    while data := await process.read():
        await process.write(data)


async def _count(process: Process) -> None:
    count = crc = 0
    while data := await process.read():
        count += len(data)
        crc = zlib.crc32(data, crc)
    await _say(process, f"bytes={count} crc32={crc:08x}\n")


async def _shut(process: Process, seconds: str) -> None:
    process.close_input()
    await _say(process, "shut\n")
    await process.sleep(float(seconds))


async def _flood(process: Process, stream: str, size: str) -> None:
    streams = {"out": (STDOUT,), "err": (STDERR,), "both": (STDOUT, STDERR)}[stream]
    # With one stream nobody can tell one write from eight.
    step = _BLOCK if len(streams) > 1 else _BLOCK * _TOGETHER
    left = int(size)
    for start in range(0, left, step):
        data = b"".join(
            b"%015x\n" % number + _FILLING
            for number in range(start // _BLOCK, (start + step) // _BLOCK)
        )[:left]
        for each in streams:
            await process.write(data, each)
        left -= len(data)


async def _drip(process: Process, stream: str, count: str, milliseconds: str) -> None:
    for number in range(int(count)):
        await process.write(b"%015x\n" % number, STDERR if stream == "err" else STDOUT)
        await process.sleep(float(milliseconds) / 1000)


async def _interleave(process: Process, count: str, milliseconds: str) -> None:
    for number in range(int(count)):
        for name, stream in (("out", STDOUT), ("err", STDERR)):
            await process.write(f"{name} {number}\n".encode(), stream)
            await process.sleep(float(milliseconds) / 1000)


# --- terminals and signals -----------------------------------------------------------------------


async def _tty(process: Process) -> None:
    kinds = (f"{name}={process.is_terminal(i):d}" for i, name in enumerate(_STREAM_NAMES))
    rows, columns = _terminal_size(process)
    await _say(process, f"{' '.join(kinds)} rows={rows} columns={columns}\n")


def _terminal_size(process: Process) -> tuple[int, int]:
    size = process.terminal_size
    return (0, 0) if size is None else (size.rows, size.columns)


async def _size(process: Process) -> None:
    process.catch(signals.SIGWINCH)
    reporter = asyncio.create_task(_report_sizes(process))
    try:
        while await process.read():
            pass
    finally:
        reporter.cancel()


async def _report_sizes(process: Process) -> None:
    while True:
        rows, columns = _terminal_size(process)
        await _say(process, f"rows={rows} columns={columns}\n")
        await process.next_signal()


async def _trap(process: Process) -> None:
    process.catch(1, 2, 15, 10, 12)
    await _say(process, "ready\n")
    while (number := await process.next_signal()) != signals.SIGUSR2:
        await _say(process, f"signal {number}\n")


async def _ignore(process: Process, seconds: str) -> None:
    process.ignore_signals()
    await _say(process, "ready\n")
    await process.sleep(float(seconds))


# --- files ---------------------------------------------------------------------------------------


async def _read(process: Process, name: str) -> None:
    await process.write(process.files.read(process.path(name), process.uid))


async def _write(process: Process, name: str, text: str) -> None:
    process.files.write(process.path(name), _bytes(text), process.uid)


async def _stat(process: Process, name: str) -> None:
    node = process.files.find(process.path(name), process.uid, follow=False)
    await _say(
        process,
        f"type={node.kind} mode={node.mode:04o} uid={node.uid} gid={node.uid} size={node.size}\n",
    )


async def _link(process: Process, target: str, name: str) -> None:
    process.files.make_link(process.path(name), target, process.uid)


# --- other processes -----------------------------------------------------------------------------


async def _leave(process: Process, kind: str, name: str) -> None:
    path = process.path(name)
    started = asyncio.Event()

    async def beat(child: Process) -> None:
        child.ignore_signals()
        while True:
            child.files.write(path, b"x", child.uid, append=True)
            started.set()
            await child.sleep(_BEAT_SECONDS)

    process.spawn(beat, own_group=kind != "child")
    await started.wait()
    await _say(process, "left\n")


async def _serve(process: Process, port: str) -> None:
    async def send_back(_: Process, stream: MemoryStream) -> None:
        while data := await stream.read(65_536):
            await stream.write(data)

    process.listen(int(port), send_back)
    await _say(process, "listening\n")
    await asyncio.Event().wait()


async def _many(process: Process, count: str, milliseconds: str) -> None:
    async def child(one: Process) -> None:
        await one.sleep(float(milliseconds) / 1000)

    children = [process.spawn(child) for _ in range(int(count))]
    for one in children:
        await process.wait_for(one)
    await _say(process, f"reaped={len(children)}\n")


_STREAM_NAMES: Final = ("stdin", "stdout", "stderr")
_VERBS: Final[dict[str, Callable[..., Awaitable[int | None]]]] = {
    "echo": _echo,
    "args": _args,
    "env": _env,
    "who": _who,
    "exit": _exit,
    "signal": _signal,
    "sleep": _sleep,
    "prompt": _prompt,
    "spin": _spin,
    "alloc": _alloc,
    "cat": _cat,
    "count": _count,
    "shut": _shut,
    "flood": _flood,
    "drip": _drip,
    "interleave": _interleave,
    "tty": _tty,
    "size": _size,
    "trap": _trap,
    "ignore": _ignore,
    "open-files": _open_files,
    "read": _read,
    "write": _write,
    "stat": _stat,
    "link": _link,
    "leave": _leave,
    "serve": _serve,
    "many": _many,
}
