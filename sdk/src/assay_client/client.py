"""The way in: one server, and what can be asked of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from types import NoneType
from typing import Any, Self

import msgspec

from assay_client.answers import Leases, Ran
from assay_client.http import Http, Patience, as_base64
from assay_client.runner import Runner
from assay_client.values import Lease, Limits, PoolState, Result


class Client:
    """A server; to be used in `async with`.

    async with assay_client.Client("http://127.0.0.1:7200", token=token) as client:
        async with client.runner("python") as runner:
            await runner.write({"hello.py": "print('hi')"})
            result = await runner.run("python3", "hello.py")
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        patience: Patience | None = None,
        ssl: Any = True,
    ) -> None:
        """`ssl`: as aiohttp takes it, such as a context with the server's own authority.

        Raises InvalidRequest for what is no address, or no token.
        """
        self._http = Http(url, token, patience=patience or Patience(), ssl=ssl)

    def __repr__(self) -> str:
        return f"Client({str(self._http.base)!r})"

    async def __aenter__(self) -> Self:
        await self._http.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    # --- runners -----------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def runner(self, environment: str, **options: Any) -> AsyncIterator[Runner]:
        """A runner that is given back at the end; see `create_runner`."""
        runner = await self.create_runner(environment, **options)
        try:
            yield runner
        finally:
            await runner.delete()

    async def create_runner(
        self,
        environment: str,
        *,
        inactivity_seconds: int = 300,
        most_seconds: float | None = None,
        deadline_seconds: float | None = None,
    ) -> Runner:
        """Lease a sandbox; the caller calls `delete`.

        It ends by itself after `inactivity_seconds` without a program or file operation (0:
        never), and `most_seconds` after now in any case. Waits at most `deadline_seconds` for one
        to be free (None: as long as the server likes). Raises UnknownEnvironment, PoolExhausted,
        QuotaExceeded.
        """
        body: dict[str, Any] = {
            "environment": environment,
            "inactivityTimeout": inactivity_seconds,
        }
        if most_seconds is not None:
            body["maximumSeconds"] = most_seconds
        if deadline_seconds is not None:
            body["deadlineSeconds"] = deadline_seconds
        seconds = 60.0 + (deadline_seconds or 0.0)
        lease = await self._http.call(
            "POST", self._http.url("runners"), body=body, answer=Lease, again=False, seconds=seconds
        )
        return Runner(self._http, lease)

    def attach_runner(self, runner_id: str) -> Runner:
        """One that was leased before, by this program or another one of the same token."""
        return Runner(self._http, Lease(runner_id=runner_id))

    async def runners(self) -> list[Runner]:
        """All that the token has."""
        found = await self._http.call("GET", self._http.url("runners"), answer=Leases, again=True)
        return [Runner(self._http, lease) for lease in found.runners]

    # --- programs without a runner ---------------------------------------------------------------

    async def run(
        self,
        environment: str,
        source: str | None = None,
        *,
        filename: str | None = None,
        files: Mapping[str, str | bytes] | None = None,
        argv: Sequence[str] | None = None,
        args: Sequence[str] = (),
        stdin: str = "",
        limits: Limits | None = None,
        seconds: float | None = None,
    ) -> Result:
        """Run a source text (compiled first, if its language wants that) in a sandbox of its own.

        Or `argv`, with `files` beside it. All in one request; nothing of it stays.
        """
        body: dict[str, Any] = {
            "environment": environment, "source": source, "filename": filename, "argv": argv,
            "args": args, "stdin": stdin or None, "limits": limits, "files": _files(files),
        }  # fmt: skip
        ran = await self._http.call(
            "POST", self._http.url("run"), answer=Ran, again=False, seconds=seconds,
            body={key: value for key, value in body.items() if value is not None},
        )  # fmt: skip
        return ran.result()

    # --- the server --------------------------------------------------------------------------

    async def version(self) -> str:
        """The server's."""
        return await self._http.call("GET", self._http.url("version"), answer=str, again=True)

    async def health(self) -> None:
        """Return if the server is well. Raises Unreachable, or Busy with what is wrong."""
        await self._http.call("GET", self._http.url("health"), answer=NoneType, again=True)

    async def pool(self) -> dict[str, PoolState]:
        """The stock of warm sandboxes, by environment."""
        content = await self._http.call("GET", self._http.url("pool"), answer=bytes, again=True)
        found = msgspec.json.decode(content)
        return msgspec.convert(found.get("environments", found), dict[str, PoolState])


def _files(files: Mapping[str, str | bytes] | None) -> list[dict[str, str]] | None:
    if files is None:
        return None
    return [
        {"path": name, "content": as_base64(data.encode() if isinstance(data, str) else data)}
        for name, data in files.items()
    ]
