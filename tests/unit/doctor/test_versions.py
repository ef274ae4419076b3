from __future__ import annotations

import re

import pytest

from assay.doctor.advisories import ADVISORIES, Advisory
from assay.doctor.programs import KNOWN
from assay.doctor.versions import is_fixed, parse

BRANCHES = ("1.2.8", "1.3.3", "1.4.0-rc.3")


@pytest.mark.parametrize(
    ("version", "fixed"),
    [
        ("1.1.15", False),
        ("1.2.7", False),
        ("1.2.8", True),
        ("1.2.9", True),
        ("1.3.0", False),
        ("1.3.3", True),
        ("1.4.0-rc.2", False),
        ("1.4.0-rc.3", True),
        ("1.4.0", True),
        ("2.0", True),
        ("v1.3.4", True),
        ("1.2.8+ds1-2", True),
        ("1.2.8~rc1", False),
        ("unknown", None),
        ("", None),
    ],
)
def test_every_branch_has_its_own_fix(version: str, fixed: bool | None) -> None:
    assert is_fixed(version, BRANCHES) is fixed


def test_versions_before_the_hole_do_not_have_it() -> None:
    assert is_fixed("1.0.0-rc92", ("1.1.12",), since="1.0.0-rc93") is True
    assert is_fixed("1.0.0-rc93", ("1.1.12",), since="1.0.0-rc93") is False


def test_release_candidates_come_before_the_release() -> None:
    texts = ["1.0.0-alpha.1", "1.0.0-beta.2", "1.0.0-rc7", "1.0.0-rc.10", "1.0.0", "1.0.1", "1.10"]
    found = [parse(text) for text in texts]
    assert None not in found
    assert found == sorted(found)  # type: ignore[type-var]


EVERY = [(name, hole) for name, holes in ADVISORIES.items() for hole in holes]


@pytest.mark.parametrize(
    ("name", "hole"), EVERY, ids=lambda value: str(getattr(value, "ids", value))
)
def test_every_advisory_can_be_used(name: str, hole: Advisory) -> None:
    assert name in {known.name for known in KNOWN}
    assert all(re.fullmatch(r"CVE-20\d\d-\d{4,}", number) for number in hole.ids)
    assert all(parse(version) for version in hole.fixed_in)
    assert not hole.since or parse(hole.since)
    assert all(is_fixed(version, hole.fixed_in, hole.since) for version in hole.fixed_in)
    assert hole.what
