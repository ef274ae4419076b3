"""Requests to Nomad's HTTP API, by the version that all of today's know."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from assay.domain.errors import (
    CreateTimeout,
    DriverUnavailable,
    RuntimeFailed,
)
from assay.drivers.nomad.options import Options
from assay.drivers.nomad.tls import context, refused

_SECONDS: Final = 30.0
_SECONDS_TO_CONNECT: Final = 5.0
_SECONDS_WITHOUT_LEADER: Final = 20.0
"""A new one is chosen in two or three; nothing was done meanwhile."""
_SECONDS_BETWEEN_TRIES: Final = 0.25
_MOST_BYTES: Final = 64 * 1024 * 1024
"""Of an answer; a list of 1,000 allocations has some 3 MB."""
_MOST_MESSAGE: Final = 4 * 1024 * 1024
_NO_LEADER: Final = ("no cluster leader", "rpc error: eof", "not ready to serve")
_UNKNOWN_TO_IT: Final = "acl token"
_GONE: Final = "job not found"
"""With 500, where two end a job at one time."""
_TLS: Final = "HTTP request to an HTTPS server"
_REMEDY: Final = "start it, or say where it is in NOMAD_ADDR"

Parameters = Mapping[str, str | int]


class NotThere(RuntimeFailed):
    """Nomad does not know what was asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Data, and the number of the state that it is of, for a question that waits for the next."""

    data: Any
    index: int


class Nomad:
    """One cluster, asked from the event loop. What it says is taken for input."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._preferred = 0
        """Which of its addresses has answered last."""

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        headers = {"X-Nomad-Token": self.options.token} if self.options.token else {}
        # A connection for each request: one that is kept may lead to a server that is gone, and
        # beside what a request makes Nomad do it costs nothing.
        connector = aiohttp.TCPConnector(limit=0, force_close=True, ssl=context(self.options))
        return aiohttp.ClientSession(connector=connector, headers=headers)

    async def aclose(self) -> None:
        """Let go of all connections."""
        if "_session" in self.__dict__:
            await self._session.close()

    # --- requests ---------------------------------------------------------------------------------

    async def ask(self, method: str, path: str, body: object = None, **more: str | int) -> Answer:
        """Its answer. Raises NotThere, RuntimeFailed, DriverUnavailable where nobody
        listens, or CreateTimeout when there is no answer in time.

        All that is asked for may be asked for again: who has no leader has done nothing.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _SECONDS_WITHOUT_LEADER
        while True:
            status, answer, index = await self._exchange(method, path, body, more)
            if status < 400:
                return Answer(data=_parsed(answer), index=index)
            said = answer.decode(errors="replace").strip()
            if status < 500 or not any(word in said.lower() for word in _NO_LEADER):
                raise _refusal(status, said)
            if loop.time() > deadline:
                raise DriverUnavailable(
                    "Nomad has no leader; look at `nomad server members`", detail=said
                )
            await asyncio.sleep(_SECONDS_BETWEEN_TRIES)

    async def _exchange(
        self, method: str, path: str, body: object, more: Parameters
    ) -> tuple[int, bytes, int]:
        addresses = self.options.addresses
        for turn in range(len(addresses)):
            number = (self._preferred + turn) % len(addresses)
            try:
                found = await self._ask_one(addresses[number], method, path, body, more)
            except aiohttp.ClientConnectorError as error:
                if turn + 1 < len(addresses):
                    continue
                raise self._unreachable(addresses[number], error) from error
            except TimeoutError as error:
                raise CreateTimeout(
                    f"Nomad at {addresses[number]} did not answer in time", detail=path
                ) from error
            except (aiohttp.ClientError, OSError) as error:
                raise _broken(addresses[number], path, error) from error
            self._preferred = number
            return found
        raise AssertionError

    async def _ask_one(
        self, address: str, method: str, path: str, body: object, more: Parameters
    ) -> tuple[int, bytes, int]:
        waits = more.get("index") is not None
        timeout = aiohttp.ClientTimeout(
            total=None if waits else _SECONDS, connect=_SECONDS_TO_CONNECT, sock_read=2 * _SECONDS
        )
        async with self._session.request(
            method, f"{address}/v1{path}", params=self._parameters(more), timeout=timeout,
            data=None if body is None else json.dumps(body).encode(),
        ) as response:  # fmt: skip
            answer = bytearray()
            async for piece in response.content.iter_any():
                answer += piece
                if len(answer) > _MOST_BYTES:
                    raise RuntimeFailed("Nomad's answer is too long", detail=path)
            index = response.headers.get("X-Nomad-Index", "")
            return response.status, bytes(answer), int(index) if index.isdecimal() else 0

    def _parameters(self, more: Parameters) -> dict[str, str]:
        own = {"namespace": self.options.namespace, "region": self.options.region}
        given = {name: str(value) for name, value in more.items()}
        return {name: value for name, value in own.items() if value} | given

    # --- what is asked for ------------------------------------------------------------------------

    async def version(self) -> str:
        """Of the agent that answers."""
        found = await self.ask("GET", "/agent/self")
        config = _object(_object(found.data).get("config"))
        return str(_object(config.get("Version")).get("Version", "unknown"))[:64]

    async def clients(self) -> int:
        """How many machines are ready for allocations."""
        found = _list((await self.ask("GET", "/nodes")).data)
        return sum(1 for each in found if each.get("Status") == "ready")

    async def oversubscribes(self) -> bool:
        """Whether the scheduler lets tasks have more memory than it counts. For a token that may
        not ask it does not: then all that they may have is counted."""
        with contextlib.suppress(DriverUnavailable):
            found = await self.ask("GET", "/operator/scheduler/configuration")
            told = _object(_object(found.data).get("SchedulerConfig"))
            return told.get("MemoryOversubscriptionEnabled") is True
        return False

    async def register(self, job: Mapping[str, Any]) -> None:
        """Make a job, or leave it as it is if that was done already."""
        await self.ask("POST", "/jobs", {"Job": job})

    async def jobs(self, prefix: str) -> list[Mapping[str, Any]]:
        """A line for each job whose name begins so."""
        return _list((await self.ask("GET", "/jobs", prefix=prefix)).data)

    async def stop(self, job: str, *, purge: bool = False) -> None:
        """End a job, and forget it if that is said. One that is not there is no error."""
        with contextlib.suppress(NotThere):
            await self.ask("DELETE", f"/job/{quote(job)}", purge=str(purge).lower())

    async def allocations(self, job: str, index: int = 0, seconds: int = 0) -> Answer:
        """The allocations of a job, as they are; with `index`, as soon as that is no longer so."""
        waiting: Parameters = {"index": index, "wait": f"{seconds}s"} if seconds else {}
        found = await self.ask("GET", f"/job/{quote(job)}/allocations", all="true", **waiting)
        return Answer(data=_list(found.data), index=found.index)

    async def signal(self, allocation: str, task: str, name: str) -> None:
        """Send a signal to the first process of a task."""
        body = {"Task": task, "Signal": name}
        await self.ask("POST", f"/client/allocation/{quote(allocation)}/signal", body)

    async def evaluations(self, job: str) -> list[Mapping[str, Any]]:
        """What the scheduler has made of a job."""
        return _list((await self.ask("GET", f"/job/{quote(job)}/evaluations")).data)

    async def run(
        self, allocation: str, task: str, command: tuple[str, ...]
    ) -> aiohttp.ClientWebSocketResponse:
        """A connection to a program that is started in an allocation."""
        address = self.options.addresses[self._preferred]
        parameters = self._parameters({
            "task": task, "tty": "false", "command": json.dumps(command),
        })  # fmt: skip
        try:
            async with asyncio.timeout(_SECONDS):
                return await self._session.ws_connect(
                    f"{address}/v1/client/allocation/{quote(allocation)}/exec",
                    params=parameters, max_msg_size=_MOST_MESSAGE, autoping=True,
                )  # fmt: skip
        except aiohttp.WSServerHandshakeError as error:
            raise _refusal(error.status, error.message) from error
        except TimeoutError as error:
            raise CreateTimeout("Nomad did not start a program in time") from error
        except aiohttp.ClientConnectorError as error:
            raise self._unreachable(address, error) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _broken(address, "exec", error) from error

    def _unreachable(self, address: str, error: Exception) -> DriverUnavailable:
        return refused(address, error) or DriverUnavailable(
            f"no Nomad listens at {self.options.address}: {_REMEDY}", detail=_plain(error)
        )


def _broken(address: str, path: str, error: Exception) -> DriverUnavailable:
    return refused(address, error) or DriverUnavailable(
        f"Nomad at {address} broke off", detail=f"{path}: {_plain(error)}"
    )


def _plain(error: Exception) -> str:
    """Its words. Its `repr` may have all headers of the request, and the token with them."""
    return f"{type(error).__name__}: {error}"


def _refusal(status: int, said: str) -> RuntimeFailed | DriverUnavailable:
    if _UNKNOWN_TO_IT in said.lower():  # with 500, as Nomad has it
        return DriverUnavailable(
            "Nomad does not know this token, or it has expired: have another one made (`nomad acl"
            " token create -policy assay`), and say it in NOMAD_TOKEN",
            detail=said[:500],
        )
    if status == 400 and _TLS in said:
        return DriverUnavailable("Nomad speaks TLS: say https:// in NOMAD_ADDR", detail=said[:500])
    if status == 403:
        return DriverUnavailable(
            "Nomad does not let this token do it, or does not know it, or was shown none: it needs"
            " what deploy/assay-nomad-policy.hcl says, in the namespace of its own (NOMAD_TOKEN,"
            " NOMAD_NAMESPACE)",
            detail=said[:500],
        )
    if status == 404 or _GONE in said.lower():
        return NotThere("Nomad does not know it", detail=said[:500])
    return RuntimeFailed(
        "Nomad could not do it; `assay doctor` looks for the cause",
        detail=f"{status}: {said[:500]}",
    )


def _parsed(answer: bytes) -> Any:
    if not answer:
        return None
    try:
        return json.loads(answer)
    except ValueError as error:
        raise RuntimeFailed("Nomad's answer is no JSON", detail=repr(answer[:200])) from error


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Mapping[str, Any]]:
    found = value if isinstance(value, list) else []
    return [each for each in found if isinstance(each, dict)]
