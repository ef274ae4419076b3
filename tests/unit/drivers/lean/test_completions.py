"""Second plans that are made once for many sandboxes are those that each would have had."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from assay.domain.limits import SandboxLimits
from assay.driver.port import RootFilesystem, SandboxSpec, Secret
from assay.drivers.lean.plan import Completions
from assay.drivers.linux.users import host_id

ROOT = RootFilesystem(digest="d", path=Path("/root"), user=10_001, group=1_000)
FIRST = 1_900_000_000


def spec(secret: bytes = b"s" * 32, root: RootFilesystem = ROOT) -> SandboxSpec:
    return SandboxSpec(root=root, secret=Secret(secret))


class Plans:
    """Makes them of all that is a sandbox's own, and counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made = 0
        self.now = 7.5
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def make(self, spec: SandboxSpec, first: int) -> bytes:
        self.made += 1
        owner = host_id(first, spec.root.user), host_id(first, spec.root.group)
        limits, wait = spec.limits, spec.unclaimed_seconds
        told = (first, *owner, spec.secret.reveal().hex(), limits, wait, spec.root.digest)
        return "\0".join(map(str, told)).encode()


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> Plans:
    return Plans(monkeypatch)


def test_each_has_its_own_users_and_secret(plans: Plans) -> None:
    completions = Completions(plans.make)
    for number in range(3):
        wanted = spec(bytes([number]) * 32), FIRST + number * 65_537
        assert completions.of(*wanted) == plans.make(*wanted)
    assert plans.made == 3 + 1


@pytest.mark.parametrize(
    "other",
    [
        replace(spec(), limits=SandboxLimits(disk_bytes=1 << 20)),
        replace(spec(), unclaimed_seconds=1),
        spec(root=replace(ROOT, digest="another")),
        spec(root=replace(ROOT, user=0, group=0)),
    ],
)
def test_who_differs_in_more_has_another(plans: Plans, other: SandboxSpec) -> None:
    completions = Completions(plans.make)
    for each in (spec(), other, spec()):
        assert completions.of(each, FIRST) == plans.make(each, FIRST)


def test_they_are_made_anew_each_second(plans: Plans) -> None:
    completions = Completions(plans.make)
    for seconds, made in ((0.0, 1), (0.4, 1), (0.6, 2), (2.0, 3)):
        plans.now = 7.5 + seconds
        completions.of(spec(), FIRST)
        assert plans.made == made
