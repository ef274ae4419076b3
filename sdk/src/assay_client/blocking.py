"""The same for programs without an event loop: one runs in a thread, and all is done there.

Every method here hands its call over and waits; what is done is in client.py, runner.py and
process.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any, Self, TypeVar

from assay_client.client import Client
from assay_client.errors import InvalidRequest
from assay_client.http import Patience
from assay_client.process import Process
from assay_client.runner import Runner
from assay_client.values import Chunk, End, Execution, FileInfo, Lease, PoolState, Result

Answer = TypeVar("Answer")


def connect(
    url: str, token: str | None = None, *, patience: Patience | None = None, ssl: Any = True
) -> BlockingClient:
    """A server, to be used in `with`; the arguments are those of `Client`."""
    return BlockingClient(Client(url, token, patience=patience, ssl=ssl))


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._started: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None

    def start(self) -> None:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="assay-client", daemon=True)
        thread.start()
        self._started = loop, thread

    def stop(self) -> None:
        assert self._started is not None
        loop, thread = self._started
        self._started = None
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Do it there, and wait here; Ctrl-C cancels it, and waits until it has cleaned up."""
        done = threading.Event()

        async def finished() -> Answer:
            try:
                return await work
            finally:
                done.set()

        if self._started is None:
            work.close()
            raise InvalidRequest("the client is closed; use it in `with`")
        future = asyncio.run_coroutine_threadsafe(finished(), self._started[0])
        try:
            return future.result()
        except CancelledError:
            raise
        except BaseException:
            if future.cancel():
                done.wait()
            raise


class BlockingClient:
    """See `Client`. May be used by several threads at once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._loop = _Loop()

    def __repr__(self) -> str:
        return f"Blocking{self._client!r}"

    def __enter__(self) -> Self:
        self._loop.start()
        self._loop.run(self._client.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._loop.run(self._client.__aexit__())
        finally:
            self._loop.stop()

    @contextlib.contextmanager
    def runner(self, environment: str, **options: Any) -> Iterator[BlockingRunner]:
        """See `Client.runner`."""
        runner = self.create_runner(environment, **options)
        try:
            yield runner
        finally:
            runner.delete()

    def create_runner(self, environment: str, **options: Any) -> BlockingRunner:
        """See `Client.create_runner`."""
        made = self._loop.run(self._client.create_runner(environment, **options))
        return BlockingRunner(self._loop, made)

    def attach_runner(self, runner_id: str) -> BlockingRunner:
        """See `Client.attach_runner`."""
        return BlockingRunner(self._loop, self._client.attach_runner(runner_id))

    def runners(self) -> list[BlockingRunner]:
        """See `Client.runners`."""
        found = self._loop.run(self._client.runners())
        return [BlockingRunner(self._loop, runner) for runner in found]

    def run(self, environment: str, source: str | None = None, **options: Any) -> Result:
        """See `Client.run`."""
        return self._loop.run(self._client.run(environment, source, **options))

    def version(self) -> str:
        """See `Client.version`."""
        return self._loop.run(self._client.version())

    def health(self) -> None:
        """See `Client.health`."""
        self._loop.run(self._client.health())

    def pool(self) -> dict[str, PoolState]:
        """See `Client.pool`."""
        return self._loop.run(self._client.pool())


class BlockingRunner:
    """See `Runner`."""

    def __init__(self, loop: _Loop, runner: Runner) -> None:
        self._loop = loop
        self._runner = runner

    def __repr__(self) -> str:
        return f"Blocking{self._runner!r}"

    @property
    def id(self) -> str:
        """See `Runner.id`."""
        return self._runner.id

    @property
    def lease(self) -> Lease:
        """See `Runner.lease`."""
        return self._runner.lease

    def write(self, files: Mapping[str, str | bytes], *, delete: Sequence[str] = ()) -> None:
        """See `Runner.write`."""
        self._loop.run(self._runner.write(files, delete=delete))

    def read(self, path: str, *, privileged: bool = False) -> bytes:
        """See `Runner.read`."""
        return self._loop.run(self._runner.read(path, privileged=privileged))

    def files(self, path: str = "./", **options: Any) -> list[FileInfo]:
        """See `Runner.files`."""
        return self._loop.run(self._runner.files(path, **options))

    def run(self, *argv: str, **options: Any) -> Result:
        """See `Runner.run`."""
        return self._loop.run(self._runner.run(*argv, **options))

    @contextlib.contextmanager
    def start(self, *argv: str, **options: Any) -> Iterator[BlockingProcess]:
        """See `Runner.start`."""
        process = self.spawn(*argv, **options)
        try:
            yield process
        finally:
            process.close()

    def spawn(self, *argv: str, **options: Any) -> BlockingProcess:
        """See `Runner.spawn`."""
        made = self._loop.run(self._runner.spawn(*argv, **options))
        return BlockingProcess(self._loop, made)

    def attach(self, execution_id: str, *, offset: int = 0) -> BlockingProcess:
        """See `Runner.attach`."""

        async def attached() -> Process:
            return self._runner.attach(execution_id, offset=offset)

        return BlockingProcess(self._loop, self._loop.run(attached()))

    def executions(self) -> list[Execution]:
        """See `Runner.executions`."""
        return self._loop.run(self._runner.executions())

    def cancel(self, execution_id: str) -> None:
        """See `Runner.cancel`."""
        self._loop.run(self._runner.cancel(execution_id))

    def reset(self) -> None:
        """See `Runner.reset`."""
        self._loop.run(self._runner.reset())

    def delete(self) -> None:
        """See `Runner.delete`."""
        self._loop.run(self._runner.delete())

    def port_url(self, port: int, path: str = "") -> str:
        """See `Runner.port_url`."""
        return self._runner.port_url(port, path)


class BlockingProcess:
    """See `Process`."""

    def __init__(self, loop: _Loop, process: Process) -> None:
        self._loop = loop
        self._process = process

    def __repr__(self) -> str:
        return f"Blocking{self._process!r}"

    @property
    def execution_id(self) -> str:
        """See `Process.execution_id`."""
        return self._process.execution_id

    def __iter__(self) -> Iterator[Chunk]:
        while (chunk := self._loop.run(self._next())) is not None:
            yield chunk

    async def _next(self) -> Chunk | None:
        async for chunk in self._process:
            return chunk
        return None

    def wait(self) -> End:
        """See `Process.wait`."""
        return self._loop.run(self._process.wait())

    def collect(self, **options: int) -> tuple[bytes, bytes, End]:
        """See `Process.collect`."""
        return self._loop.run(self._process.collect(**options))

    def write(self, data: bytes | str) -> None:
        """See `Process.write`."""
        self._loop.run(self._process.write(data))

    def end_input(self) -> None:
        """See `Process.end_input`."""
        self._loop.run(self._process.end_input())

    def signal(self, number: int) -> None:
        """See `Process.signal`."""
        self._loop.run(self._process.signal(number))

    def resize(self, rows: int, columns: int) -> None:
        """See `Process.resize`."""
        self._loop.run(self._process.resize(rows, columns))

    def cancel(self) -> None:
        """See `Process.cancel`."""
        self._loop.run(self._process.cancel())

    def detach(self) -> None:
        """See `Process.detach`."""
        self._loop.run(self._process.detach())

    def close(self) -> None:
        """See `Process.aclose`."""
        self._loop.run(self._process.aclose())
