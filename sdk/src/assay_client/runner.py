"""A runner: a sandbox that is leased to us. Files go in and out, programs run in it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import msgspec

from assay_client.answers import FileList, Ran, Stored
from assay_client.errors import NotFound, RunnerGone, UnknownExecution
from assay_client.http import Http, as_base64
from assay_client.process import Process
from assay_client.values import Execution, FileInfo, Lease, Limits, Result, TerminalSize

if TYPE_CHECKING:
    from yarl import URL

READ_BYTES: Final = 64 * 1024


class Runner:
    """A leased sandbox; made by `Client.runner` or `Client.create_runner`."""

    def __init__(self, http: Http, lease: Lease) -> None:
        self.lease = lease
        self._http = http

    def __repr__(self) -> str:
        return f"Runner({self.id!r})"

    @property
    def id(self) -> str:
        """Its name on the server."""
        return self.lease.runner_id

    def _url(self, *path: str, **query: str | int | bool | None) -> URL:
        return self._http.url("runners", self.id, *path, **query)

    # --- files -----------------------------------------------------------------------------------

    async def write(self, files: Mapping[str, str | bytes], *, delete: Sequence[str] = ()) -> None:
        """Write files, after removing the paths in `delete`. A name that ends in / is a folder.

        Names are relative to the working folder, or absolute; missing folders are made. Raises
        FileError or ServerFailed when one can't be written; the others are, then.
        """
        copy = [
            {"path": name, "content": as_base64(data.encode() if isinstance(data, str) else data)}
            for name, data in files.items()
        ]
        await self._http.call(
            "PATCH", self._url("files"), body={"delete": list(delete), "copy": copy},
            answer=NoneType, again=True, seconds=None,
        )  # fmt: skip

    async def read(self, path: str, *, privileged: bool = False) -> bytes:
        """A file's content. Raises FileError."""
        return await self._http.call("GET", self._raw(path, privileged), answer=bytes, again=True)

    @contextlib.asynccontextmanager
    async def open(
        self, path: str, *, privileged: bool = False
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """A file's content in pieces, for what is too large for memory. Raises FileError."""
        async with self._http.stream("GET", self._raw(path, privileged)) as response:
            yield response.content.iter_chunked(READ_BYTES)

    def _raw(self, path: str, privileged: bool) -> URL:
        return self._url("files", "raw", path=path, privilegedExecution=privileged)

    async def files(
        self, path: str = "./", *, recursive: bool = True, privileged: bool = False
    ) -> list[FileInfo]:
        """What is in a folder."""
        url = self._url("files", path=path, recursive=recursive, privilegedExecution=privileged)
        return list((await self._http.call("GET", url, answer=FileList, again=True)).files)

    # --- programs --------------------------------------------------------------------------------

    async def run(
        self,
        *argv: str,
        stdin: bytes | str = b"",
        environment: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        privileged: bool = False,
        output_bytes: int | None = None,
        seconds: float | None = None,
    ) -> Result:
        """Run a program to its end, in one request, and return all of its output.

        `seconds` is for the whole request; the program's own limits are `limits`. Raises
        ConnectionLost when the connection broke: the program may have run. For anything long
        or interactive there is `start`, whose connection may break.
        """
        given = stdin.encode() if isinstance(stdin, str) else stdin
        body: dict[str, Any] = {
            "argv": argv,
            "environment": dict(environment or {}),
            "privilegedExecution": privileged,
            **_input(given),
        }
        if limits is not None:
            body["limits"] = limits
        if output_bytes is not None:
            body["outputBytes"] = output_bytes
        url = self._url("run")
        ran = await self._http.call(
            "POST", url, body=body, answer=Ran, again=False, seconds=seconds
        )
        return ran.result()

    @contextlib.asynccontextmanager
    async def start(self, *argv: str, **options: Any) -> AsyncIterator[Process]:
        """Start a program and follow it; see `spawn`. If it still runs at the end, it is ended."""
        process = await self.spawn(*argv, **options)
        try:
            yield process
        finally:
            await process.aclose()

    async def spawn(
        self,
        *argv: str,
        terminal: TerminalSize | None = None,
        separate_stderr: bool = True,
        stdin: bool = False,
        environment: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        privileged: bool = False,
    ) -> Process:
        """Start a program; the caller calls `aclose` of what this returns.

        With `terminal` its standard streams are a terminal (its standard error too, unless
        `separate_stderr`), and it has standard input whatever `stdin` says.
        """
        body: dict[str, Any] = {
            "argv": argv,
            "environment": dict(environment or {}),
            "privilegedExecution": privileged,
            "terminal": terminal,
            "separateStderr": separate_stderr,
            "stdin": stdin or terminal is not None,
        }
        if limits is not None:
            body["limits"] = limits
        # Only stored by this: nothing runs before the stream is connected, so twice does no harm.
        stored = await self._http.call(
            "POST", self._url("execute"), body=body, answer=Stored, again=True
        )
        return self._follow(stored.execution_id, None)

    def attach(self, execution_id: str, *, offset: int = 0) -> Process:
        """Follow an execution that was started before, from an offset of its output on."""
        return self._follow(execution_id, offset)

    def _follow(self, execution_id: str, offset: int | None) -> Process:
        async def connect(at: int | None) -> aiohttp.ClientWebSocketResponse:
            url = self._url("websocket", executionID=execution_id, offset=at)
            try:
                return await self._http.websocket(url)
            except RunnerGone:
                raise
            except NotFound as error:
                raise UnknownExecution(
                    f"the server knows no execution {execution_id}", status=error.status
                ) from error

        patience = self._http.patience.resume_seconds
        return Process(connect, execution_id, resume_seconds=patience, offset=offset)

    async def executions(self) -> list[Execution]:
        """What runs in it, and what ran."""
        content = await self._http.call("GET", self._url("executions"), answer=bytes, again=True)
        return _listed(content)

    async def cancel(self, execution_id: str) -> None:
        """End an execution that nobody here follows."""
        url = self._url("executions", execution_id)
        await self._http.call("DELETE", url, answer=NoneType, again=True)

    # --- the lease -------------------------------------------------------------------------------

    async def reset(self) -> None:
        """A fresh sandbox under the same name; its generation is the next one."""
        lease = await self._http.call("POST", self._url("reset"), answer=Lease, again=False)
        self.lease = msgspec.structs.replace(lease, runner_id=self.id)

    async def delete(self) -> None:
        """Give it back: the sandbox ends, with all that runs in it. Gone already is fine."""
        with contextlib.suppress(RunnerGone):
            await self._http.call("DELETE", self._url(), answer=NoneType, again=True)

    def port_url(self, port: int, path: str = "") -> str:
        """Where the server forwards HTTP and WebSockets to a port that the environment exposes.

        Requests there need the token as well.
        """
        return f"{self._url('ports', str(port))}/{path.lstrip('/')}"


def _input(given: bytes) -> dict[str, str]:
    if not given:
        return {}
    try:
        return {"stdin": given.decode()}
    except UnicodeDecodeError:
        return {"stdin": as_base64(given), "stdinEncoding": "base64"}


def _listed(content: bytes) -> list[Execution]:
    found = msgspec.json.decode(content)
    items = found.get("executions", []) if isinstance(found, dict) else found
    return msgspec.convert(items, list[Execution])
