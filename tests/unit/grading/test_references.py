"""What is made of reference solutions is made once, by whoever is first, and the last ones stay."""

from __future__ import annotations

import asyncio
import gc

import pytest

from assay.grading import references
from assay.grading.references import References


class Compiler:
    """Makes something of anything, and counts."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.fails = False

    async def __call__(self, name: str) -> str:
        self.made.append(name)
        await asyncio.sleep(0)
        if self.fails:
            raise ValueError(name)
        return f"{name} made"


async def wanted(kept: References, compiler: Compiler, *names: str) -> list[str]:
    return [await kept.once(each, lambda name=each: compiler(name)) for each in names]  # type: ignore[misc]


async def test_of_many_that_want_one_at_a_time_one_makes_it() -> None:
    kept, compiler = References(), Compiler()
    found = await asyncio.gather(*(wanted(kept, compiler, "a", "b") for _ in range(20)))
    assert set(map(tuple, found)) == {("a made", "b made")}
    assert sorted(compiler.made) == ["a", "b"]


async def test_different_ones_do_not_wait_for_one_another() -> None:
    kept, begun, over = References(), asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        begun.set()
        await over.wait()
        return "slow"

    waiting = asyncio.ensure_future(kept.once("slow", slow))
    await begun.wait()
    assert await asyncio.wait_for(wanted(kept, Compiler(), "quick"), 5) == ["quick made"]
    over.set()
    assert await waiting == "slow"


async def test_what_could_not_be_made_is_tried_by_the_next_one() -> None:
    kept, compiler = References(), Compiler()
    compiler.fails = True
    for _ in range(2):
        with pytest.raises(ValueError, match="a"):
            await wanted(kept, compiler, "a")
    assert len(kept) == 0
    compiler.fails = False
    assert await wanted(kept, compiler, "a") == ["a made"]
    assert compiler.made == ["a", "a", "a"]


async def test_the_last_ones_used_are_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "_KEPT", 3)
    kept, compiler = References(), Compiler()
    await wanted(kept, compiler, "a", "b", "c", "a", "d")
    assert len(kept) == 3
    await wanted(kept, compiler, "a", "c", "d")
    assert compiler.made == ["a", "b", "c", "d"]
    await wanted(kept, compiler, "b")
    assert compiler.made[-1] == "b"
    for name in map(str, range(100)):
        await wanted(kept, compiler, name)
    assert (len(kept), kept.making) == (3, 0)


async def test_what_can_never_be_made_leaves_nothing_behind() -> None:
    kept, compiler = References(), Compiler()
    compiler.fails = True
    for name in map(str, range(100)):
        with pytest.raises(ValueError, match=name):
            await wanted(kept, compiler, name)
    gc.collect()
    assert (len(kept), kept.making) == (0, 0)
