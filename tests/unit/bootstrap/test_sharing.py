"""Which drivers' sandboxes all servers of a database have in common, and by what they know them."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.bootstrap.cluster import place_of
from assay.bootstrap.drivers import make_driver
from assay.bootstrap.sharing import Sharing
from assay.config import Settings
from assay.driver.port import Installation, Secret
from assay.drivers.nomad import NomadDriver
from assay.storage.database import Storage


def installation(key: bytes = bytes(32)) -> Installation:
    return Installation(key=Secret(key), epoch=lambda: 1)


def settings_in(state: Path) -> Settings:
    return Settings(state=state, images=state / "images")


@pytest.mark.parametrize(
    ("name", "shared"), [("nodes", True), ("nomad", True), ("lean", False), ("fake", False)]
)
def test_servers_anywhere_share_what_is_reached_from_everywhere(
    tmp_path: Path, name: str, shared: bool
) -> None:
    places = set()
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        sharing = Sharing(settings_in(folder), installation())
        assert sharing.applies_to(sharing.make(name)) is shared
        places.add(place_of(folder, name, shared=shared))
    assert len(places) == (1 if shared else 2)


def test_without_a_database_of_several_nothing_is_shared(tmp_path: Path) -> None:
    sharing = Sharing(settings_in(tmp_path), None)
    assert not sharing.applies_to(sharing.make("nodes"))


def test_jobs_of_nomads_are_marked_by_the_database_or_else_by_the_state_folder(
    tmp_path: Path,
) -> None:
    marks = []
    for folder, of in (
        ("a", installation()), ("b", installation()), ("c", installation(bytes(range(32)))),
        ("a", None), ("b", None),
    ):  # fmt: skip
        driver = Sharing(settings_in(tmp_path / folder), of).share(
            make_driver(settings_in(tmp_path / folder), "nomad")
        )
        assert isinstance(driver, NomadDriver)
        marks.append(driver.mark)
        assert len(driver.mark) == 16
    assert marks[0] == marks[1]
    assert len(set(marks)) == 4


async def test_a_file_is_one_servers_and_has_no_key_for_several(tmp_path: Path) -> None:
    storage = await Storage.open(f"sqlite:///{tmp_path}/a.db")
    try:
        assert await storage.installation() is None
        assert not Sharing(settings_in(tmp_path), None).applies_to(
            make_driver(settings_in(tmp_path), "nodes")
        )
    finally:
        await storage.aclose()
