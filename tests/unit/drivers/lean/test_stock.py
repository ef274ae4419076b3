"""The folder of what is prepared, of which several servers sweep what is abandoned."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from assay.domain.errors import RuntimeFailed
from assay.drivers.lean import stock as module
from assay.drivers.lean.stock import Prepared, Stock
from assay.drivers.linux.folder import SandboxFolder, new_id


def stock_in(path: Path) -> Stock:
    async def never(_: object) -> Prepared:
        raise AssertionError("nobody asked for one")

    async def give_up(_: Prepared) -> None:
        raise AssertionError("there is none")

    async def discard(folder: SandboxFolder) -> None:
        folder.remove()

    return Stock(path, 0, prepare=never, give_up=give_up, discard=discard)


async def test_what_is_just_being_made_is_there_once_it_is_locked_however_often_others_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ATTEMPTS", 10_000)  # they do nothing else here
    ours, others, stop = stock_in(tmp_path / "prepared"), stock_in(tmp_path / "prepared"), False

    def sweep() -> None:
        while not stop:
            asyncio.run(others.aclose())  # it sweeps, and removes the folder of all if it is empty
            time.sleep(0.0002)

    sweepers = [threading.Thread(target=sweep) for _ in range(2)]
    for each in sweepers:
        each.start()
    try:
        for _ in range(300):
            folder, lock = await ours.lay(new_id())
            folder.agent_log.write_text("here")
            folder.remove()
            os.close(lock)
    finally:
        stop = True
        for each in sweepers:
            each.join()
    assert not (tmp_path / "prepared").exists() or not list((tmp_path / "prepared").iterdir())


async def test_what_was_abandoned_is_removed_and_what_is_locked_stays(tmp_path: Path) -> None:
    stock = stock_in(tmp_path / "prepared")
    abandoned = await stock.lay(new_id())
    kept, lock = await stock.lay(new_id())
    os.close(abandoned[1])
    await stock.aclose()
    assert not abandoned[0].path.exists()
    assert kept.path.exists()
    os.close(lock)
    await stock.aclose()
    assert not (tmp_path / "prepared").exists()


async def test_a_sweeper_that_hangs_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock, sandbox_id = stock_in(tmp_path / "prepared"), new_id()
    opened = os.open

    def opened_late(path: Path, flags: int) -> int:
        held = opened(path, flags)  # the sweeper's, who is a moment earlier
        fcntl.flock(held, fcntl.LOCK_EX)
        sweepers.append(held)
        return opened(path, flags)

    sweepers: list[int] = []
    monkeypatch.setattr(os, "open", opened_late)
    with pytest.raises(RuntimeFailed, match="others remove"):
        async with asyncio.timeout(5):
            await stock.lay(sandbox_id)
    monkeypatch.undo()
    for each in sweepers:
        os.close(each)
