"""Environments with less of a sandbox: a few, forgotten when nobody uses them."""

from __future__ import annotations

import pytest

from assay.bootstrap.variants import Variants, variant_of
from assay.domain.errors import InvalidInput
from assay.domain.limits import MIB, SandboxLimits
from assay.environments.served import Origin, ServedEnvironment

BASE = ServedEnvironment(name="python", language="python", pool_size=7)


class Stock:
    def __init__(self) -> None:
        self.known: dict[str, ServedEnvironment] = {}

    def set_environment(self, environment: ServedEnvironment) -> None:
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
