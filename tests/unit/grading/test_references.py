"""What is made once for all gradings, and what of it is kept."""

from __future__ import annotations

import asyncio
import gc

import pytest

from assay.grading.references import References


async def test_who_comes_at_once_gets_what_one_has_made_and_nothing_else_is_kept() -> None:
    references, made = References(), 0

    async def make() -> int:
        nonlocal made
        made += 1
        await asyncio.sleep(0.01)
        return made

    all_of_it = [references.once("a", make) for _ in range(10)]
    assert await asyncio.gather(*all_of_it) == [1] * 10
    for nth in range(50):
        await references.once(nth, make)
    gc.collect()
    assert (len(references), references.making) == (8, 0)


async def test_what_can_never_be_made_leaves_nothing_behind() -> None:
    references = References()

    async def fail() -> int:
        raise ValueError("no compiler")

    for nth in range(100):
        with pytest.raises(ValueError, match="no compiler"):
            await references.once(nth, fail)
    gc.collect()
    assert (len(references), references.making) == (0, 0)
