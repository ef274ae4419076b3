"""Environments with less of a sandbox: a few, forgotten when nobody uses them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from assay.bootstrap.variants import Variants, room_of, variant_of
from assay.domain.errors import InvalidInput
from assay.domain.limits import MIB, SandboxLimits
from assay.environments.served import Origin, ServedEnvironment
from assay.pool.plan import Position
from assay.pool.shelf import Shelf

BASE = ServedEnvironment(name="python", language="python", pool_size=7)


class Stock:
    def __init__(self) -> None:
        self.known: dict[str, ServedEnvironment] = {}
        self.told: list[str] = []

    def set_environment(self, environment: ServedEnvironment) -> None:
        self.told.append(environment.name)
        self.known[environment.name] = environment

    def remove_environment(self, name: str) -> None:
        del self.known[name]


def less(mib: int) -> SandboxLimits:
    return SandboxLimits(memory_bytes=mib * MIB, disk_bytes=8 * MIB, processes=8)


def test_a_variant_differs_in_its_sandbox_and_keeps_none_warm() -> None:
    variant = variant_of(BASE, less(32))
    assert (variant.name, variant.pool_size, variant.origin) == (
        "python~32m-8p-8m",
        0,
        Origin.REQUEST,
    )
    assert (variant.language, variant.execution) == (BASE.language, BASE.execution)
    assert variant.version != BASE.version


def test_nobody_else_can_have_its_name() -> None:
    for origin in (Origin.API, Origin.CONFIGURATION):
        with pytest.raises(InvalidInput):
            ServedEnvironment(name="python~32m-8p-8m", language="python", origin=origin)


def test_the_environments_own_sandbox_needs_no_variant() -> None:
    stock = Stock()
    with Variants(stock).using(BASE, BASE.sandbox) as name:
        assert name == "python"
    assert stock.known == {}


def test_the_least_recently_used_is_forgotten_unless_somebody_uses_it() -> None:
    stock = Stock()
    variants = Variants(stock, most=2)
    with variants.using(BASE, less(16)) as first:
        for mib in (32, 64, 128):
            with variants.using(BASE, less(mib)):
                pass
        assert first in stock.known
        assert len(stock.known) <= 3
    with variants.using(BASE, less(200)):
        pass
    assert first not in stock.known
    assert len(stock.known) == 2


def test_a_variant_changes_with_its_environment() -> None:
    stock = Stock()
    variants = Variants(stock)
    with variants.using(BASE, less(32)) as name:
        pass
    changed = ServedEnvironment(name="python", image="debian:12", language="python")
    with variants.using(changed, less(32)) as again:
        assert again == name
        assert stock.known[name].image == "debian:12"


def room(mib: int = 112) -> ServedEnvironment:
    wanted = replace(
        BASE, sandbox=less(mib), working_folder="/task", folders=("/archive", "/course")
    )
    return room_of(wanted)


def test_a_room_has_a_stock_a_version_and_a_name_of_its_own() -> None:
    found = room()
    assert found.name.startswith("python~112m-8p-8m-")
    assert found.pool_size >= 2
    assert found.version != variant_of(BASE, less(112)).version
    other = room_of(replace(BASE, sandbox=less(112), folders=("/course",)))
    assert other.name != found.name


def test_each_server_has_its_own_rooms_and_a_share_of_everything_else() -> None:
    third = Position(rank=2, servers=3)
    assert Shelf(environment=room(), position=third).target == room().pool_size
    assert Shelf(environment=replace(BASE, pool_size=2), position=third).target == 0


def test_when_an_environment_changes_what_was_derived_from_it_is_forgotten_or_looked_for() -> None:
    stock = Stock()
    variants = Variants(stock)
    with variants.known(room(112)) as used, variants.known(room(128)):
        pass
    with variants.known(room(112)):
        stock.told.clear()
        variants.forget("python")
        assert set(stock.known) == {used}
        assert stock.told == [used]
        variants.forget("pyth")
        assert set(stock.known) == {used}
