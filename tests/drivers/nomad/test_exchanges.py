"""The driver against what a real Nomad has said: where there is one, and where there is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchanges import FILE, Replayer, scenario, serving

RECORDED: dict[str, Any] = json.loads(FILE.read_text())


async def replay(exchanges: list[dict[str, Any]]) -> Replayer:
    replayer = Replayer(exchanges)
    async with serving(replayer) as options:
        registry = RECORDED["image"].rpartition("/")[0]
        await scenario(options, RECORDED["image"], registry)
    return replayer


async def test_the_driver_asks_what_a_real_nomad_was_asked() -> None:
    replayer = await replay(RECORDED["exchanges"])
    assert replayer.wrong == []
    assert replayer.left == 0


async def test_a_request_that_is_another_one_is_noticed() -> None:
    changed = json.loads(json.dumps(RECORDED["exchanges"]))
    job = next(each for each in changed if each["path"] == "/v1/jobs" and each["method"] == "POST")
    job["body"]["Job"]["TaskGroups"][0]["RestartPolicy"]["Attempts"] = 1
    with pytest.raises(Exception, match="Nomad could not do it"):
        await replay(changed)
