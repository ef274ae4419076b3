"""The driver against what a real Kubernetes has said: with one at hand, and without."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kube_exchanges import FILE, Replayer, scenario, serving

RECORDED: dict[str, Any] = json.loads(FILE.read_text())


async def replay(exchanges: list[dict[str, Any]]) -> Replayer:
    replayer = Replayer(exchanges)
    async with serving(replayer) as address:
        registry = RECORDED["image"].rpartition("/")[0]
        await scenario(address, RECORDED["image"], registry)
    return replayer


async def test_the_driver_asks_what_a_real_kubernetes_was_asked() -> None:
    replayer = await replay(RECORDED["exchanges"])
    assert replayer.wrong == []
    assert replayer.left == []


async def test_a_request_that_is_another_one_is_noticed() -> None:
    changed = json.loads(json.dumps(RECORDED["exchanges"]))
    made = next(each for each in changed if each["method"] == "POST")
    made["body"]["spec"]["restartPolicy"] = "Always"
    with pytest.raises(Exception, match="Kubernetes could not do it"):
        await replay(changed)
