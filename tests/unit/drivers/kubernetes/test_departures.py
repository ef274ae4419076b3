"""Who is to leave a node, with a Kubernetes that is a model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from assay.domain.errors import DriverUnavailable
from assay.driver.port import Leaves
from assay.drivers.kubernetes import KubernetesDriver, Options, departures
from assay.drivers.kubernetes.departures import Departures, stays_away
from assay.drivers.kubernetes.pod import pod_name

FIRST, SECOND = (f"a{number:026d}" for number in (1, 2))


class Model:
    """Pods by their nodes, and which of these are cordoned."""

    def __init__(self) -> None:
        self.nodes = {"one": [FIRST], "two": [SECOND]}
        self.closed: list[str] = []
        self.answers = True
        self.looks = 0

    async def cordoned(self) -> list[str]:
        self.looks += 1
        if not self.answers:
            raise DriverUnavailable("this account may not")
        return self.closed

    async def pods(self, selector: str, *, node: str = "") -> list[Mapping[str, Any]]:
        assert selector == "assay-server=mark"
        names = [*map(pod_name, self.nodes[node]), "another"]
        return [{"metadata": {"name": each}} for each in names]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest_asyncio.fixture
async def going(model: Model, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Departures]:
    monkeypatch.setattr(departures, "_SECONDS_TO_NEXT_LOOK", 0.01)
    monkeypatch.setattr(departures, "_SECONDS_AFTER_A_FAILURE", 0.01)
    made = Departures(model, lambda: "mark")  # type: ignore[arg-type]
    yield made
    await made.aclose()


async def known(going: Departures, model: Model) -> set[str]:
    """What a look has found that began by now, and has ended: the next one has begun."""
    going.known()
    looks = model.looks
    async with asyncio.timeout(10):
        while model.looks < looks + 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return set(going.known())


async def test_nobody_leaves_where_no_node_is_cordoned(model: Model, going: Departures) -> None:
    assert await known(going, model) == set()


async def test_who_is_on_a_cordoned_node_is_to_leave_until_that_is_taken_back(
    model: Model, going: Departures
) -> None:
    model.closed = ["two"]
    assert await known(going, model) == {SECOND}
    model.closed = []
    assert await known(going, model) == set()


async def test_what_was_known_holds_while_nobody_answers(model: Model, going: Departures) -> None:
    model.closed = ["one"]
    assert await known(going, model) == {FIRST}
    model.answers = False
    assert await known(going, model) == {FIRST}


async def test_an_answer_that_nobody_expects_ends_no_looking(
    model: Model, going: Departures
) -> None:
    told: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    model.closed = ["three"]  # of which the model knows nothing
    assert await known(going, model) == set()
    assert [type(each) for each in told[:1]] == [KeyError]
    model.closed = ["two"]
    assert await known(going, model) == {SECOND}


async def test_nobody_looks_before_somebody_asks(model: Model, going: Departures) -> None:
    await asyncio.sleep(0.05)
    assert model.looks == 0


def test_the_driver_says_who_leaves() -> None:
    assert issubclass(KubernetesDriver, Leaves)


@pytest.mark.parametrize(
    ("toleration", "stays"),
    [
        ({"key": "sandboxes", "operator": "Exists"}, True),
        ({"operator": "Exists", "effect": "NoExecute"}, True),
        ({"key": "node.kubernetes.io/unschedulable", "value": "other"}, True),
        ({"operator": "Exists"}, False),
        ({"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}, False),
        ({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}, False),
    ],
)
def test_sandboxes_that_bear_a_cordon_are_not_moved_in_circles(
    toleration: dict[str, str], stays: bool
) -> None:
    assert stays_away(Options(tolerations=(toleration,))) is stays
