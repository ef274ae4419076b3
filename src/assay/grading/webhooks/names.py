"""Looks up receivers' names: one that nobody answers for keeps no other course waiting.

A look-up cannot be broken off: its thread waits for as long as the system's resolver does, half a
minute and more. So each course has threads of its own, as many as it may have webhooks, and those
who want the same name wait for the same thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Final
from weakref import WeakValueDictionary

from aiohttp.abc import AbstractResolver, ResolveResult

LOOK_UPS: Final = 10
"""Of one course at one time."""
SECONDS: Final = 5.0
"""How long anybody waits for one."""

Key = tuple[str, int, socket.AddressFamily]
LookUp = Callable[[str, int, socket.AddressFamily], list[ResolveResult]]


def addresses_of(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    """All addresses of a name, as the system knows them. Raises OSError."""
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    return [
        ResolveResult(
            hostname=host, host=str(address[0]), port=port, family=kind, proto=protocol,
            flags=socket.AI_NUMERICHOST,
        )
        for kind, _, protocol, _, address in found
    ]  # fmt: skip


class Names:
    """Resolvers, one for each course."""

    def __init__(self, look_up: LookUp = addresses_of) -> None:
        self._look_up = look_up
        self._of: WeakValueDictionary[str, _OfCourse] = WeakValueDictionary()
        """As long as anybody asks, or any of its threads waits."""

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._of)

    def of(self, course: str) -> AbstractResolver:
        """That of a course."""
        return self._of.setdefault(course, _OfCourse(self._look_up))


class _OfCourse(AbstractResolver):
    def __init__(self, look_up: LookUp) -> None:
        self._look_up = look_up
        self._under_way: dict[Key, asyncio.Future[list[ResolveResult]]] = {}
        self._room = asyncio.Semaphore(LOOK_UPS)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """All addresses of a name. Raises OSError, as TimeoutError is one."""
        key = (host, port, family)
        async with asyncio.timeout(SECONDS):
            if key not in self._under_way:
                await self._room.acquire()
                if key in self._under_way:  # somebody has begun meanwhile
                    self._room.release()
                else:
                    return await asyncio.shield(self._begin(key))
            return await asyncio.shield(self._under_way[key])

    def _begin(self, key: Key) -> asyncio.Future[list[ResolveResult]]:
        loop = asyncio.get_running_loop()
        future = self._under_way[key] = loop.create_future()

        def look() -> None:
            found: list[ResolveResult] | OSError
            try:
                found = self._look_up(*key)
            except OSError as error:
                found = error
            except Exception as error:  # such as a name that is none
                found = OSError(str(error))
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._end, key, found)

        try:
            threading.Thread(target=look, name="assay-names", daemon=True).start()
        except RuntimeError as error:  # the system has no thread more: later it may have
            self._end(key, OSError(f"the name can't be looked up: {error}"))
        return future

    def _end(self, key: Key, found: list[ResolveResult] | OSError) -> None:
        self._room.release()
        future = self._under_way.pop(key)
        if isinstance(found, OSError):
            future.set_exception(found)
            future.exception()  # perhaps nobody waits any more
        else:
            future.set_result(found)

    async def close(self) -> None:
        """Nothing: connectors call this, and the threads are there for all of them."""
