"""What a server among several goes by: places, names of notes, epochs, what tokens have."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from assay.bootstrap.cluster import Epochs, name_of, place_of
from assay.config.server import ServerSettings


def test_servers_that_start_together_find_one_place(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        places = set(threads.map(lambda _: place_of(tmp_path, "lean"), range(64)))
    (place,) = places
    assert place.startswith("lean@")
    assert len(place) > 10
    assert place_of(tmp_path, "lean") == place != place_of(tmp_path, "crun")
    assert [file.name for file in tmp_path.iterdir()] == ["place"]


def test_notes_have_a_name_for_each_database_and_address(settings: ServerSettings) -> None:
    other = replace(settings, database="postgresql://a@b/c")
    names = [name_of(each, address) for each in (settings, other) for address in ("", "a", "b")]
    assert len(set(names)) == 6
    assert name_of(settings) == name_of(settings)


def test_numbers_of_connections_rise_with_each_epoch_that_is_taken() -> None:
    epochs, later = Epochs(1), Epochs(2)
    first = [epochs() for _ in range(3)]
    assert first == sorted(set(first))
    assert first[-1] < later()
    epochs.rise(3)
    assert epochs() > later()
    before = epochs()
    epochs.rise(1)
    assert epochs() > before
