"""One sandbox that is made before somebody asks for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from assay.agent.witness import surely
from assay.domain.errors import AssayError
from assay.grading.places import Place
from assay.grading.script.rooms import Room, Rooms

_Made = tuple[contextlib.AsyncExitStack, Place]
_MORE_FILES: Final = 16 * 1024 * 1024
"""What a sandbox takes beyond what it was made for: see `Room.disk_bytes`."""


class Spare:
    """Of the room that is asked for most; nobody has used it, and nobody will after its use."""

    def __init__(self, rooms: Rooms, usual: Room) -> None:
        self._rooms = rooms
        self._usual = usual
        self._making: asyncio.Task[_Made] | None = None

    def make(self) -> None:
        """Begin to make it, unless it is there."""
        if self._making is None:
            self._making = asyncio.create_task(self._make())

    async def _make(self) -> _Made:
        stack = contextlib.AsyncExitStack()
        return stack, await stack.enter_async_context(self._rooms.room(self._usual))

    @contextlib.asynccontextmanager
    async def room(self, room: Room) -> AsyncIterator[Place]:
        """The spare one if it will do, or else another one."""
        made = await self._take() if self._serves(room) else None
        if made is None:
            async with self._rooms.room(room) as place:
                yield place
            return
        stack, place = made
        async with stack:
            yield place

    def _serves(self, room: Room) -> bool:
        usual = self._usual
        alike = (room.environment, room.memory_bytes) == (usual.environment, usual.memory_bytes)
        return alike and room.files_bytes <= usual.files_bytes + _MORE_FILES

    async def _take(self) -> _Made | None:
        making, self._making = self._making, None
        if making is None:
            return None
        try:
            return await asyncio.shield(making)
        except AssayError:
            return None
        except asyncio.CancelledError:
            await surely(_end(making))
            raise

    async def aclose(self) -> None:
        """Destroy it."""
        making, self._making = self._making, None
        if making is not None:
            await surely(_end(making))


async def _end(making: asyncio.Task[_Made]) -> None:
    making.cancel()
    await asyncio.wait((making,))
    if not making.cancelled() and making.exception() is None:
        stack, _ = making.result()
        await stack.aclose()
