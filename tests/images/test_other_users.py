"""Other users of the machine: they neither read, change nor hold up what is the images' owner's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from making import Layout, entry, folder

from assay.bootstrap import needed, open_images, prepare_process
from assay.config import Settings
from assay.domain.errors import Unavailable
from assay.images import Images

SOMEBODY = 1000
"""Whom images call theirs, and who on most machines is the first user."""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


def as_somebody(*command: str | Path) -> subprocess.CompletedProcess[str]:
    change = ["setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups", "--"]
    return subprocess.run([*change, *command], capture_output=True, text=True, check=False)


def settings(place: Path) -> Settings:
    return Settings(state=place / "state", images=place / "images")


@pytest.fixture
def place(on_disk: Path) -> Path:
    """A folder of root's that everybody may look into, as /var/lib is."""
    assert as_somebody("ls", on_disk).returncode == 0
    return on_disk


def test_files_of_an_image_are_not_those_of_whoever_has_their_ids_here(
    place: Path, layout: Layout
) -> None:
    layout.image(
        [folder("app", owner=SOMEBODY), entry("app/run", b"mine", owner=SOMEBODY, mode=0o666)]
    )
    image = Images(place / "images").get(layout.reference)
    (place / "images").chmod(0o755)  # as whoever made it for a disk of its own may have left it
    file = image.root.path / "app/run"

    assert as_somebody("tee", file).returncode != 0
    assert as_somebody("touch", file.with_name("more")).returncode != 0
    assert as_somebody("cat", file).returncode != 0
    assert file.read_text() == "mine"


def test_folders_that_were_open_are_closed_by_the_next_pull(place: Path, layout: Layout) -> None:
    for name in ("roots", "pins", "drafts"):
        (place / "images" / name).mkdir(parents=True)
        (place / "images" / name).chmod(0o755)
    layout.image([entry("f", b"x")])

    Images(place / "images").pull(layout.reference)

    for item in (place / "images").iterdir():
        assert item.stat().st_mode & 0o077 == 0, item


def test_nobody_else_can_lock_images_for_ever(place: Path, layout: Layout) -> None:
    layout.image([entry("f", b"x")])
    image = Images(place / "images").get(layout.reference)
    (place / "images").chmod(0o755)
    locked = [place / "images", *(place / "images").iterdir()]
    hold = ("flock", "--nonblock", "--shared")
    held = [path.name for path in locked if as_somebody(*hold, path, "true").returncode == 0]

    assert held == ["images"]  # which nobody of us locks
    assert as_somebody(*hold, image.root.path.parent, "true").returncode != 0
    with subprocess.Popen(["flock", place / "images", "sleep", "60"]) as process:
        Images(place / "images").collect_garbage(list)
        process.kill()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: os.chown(path, SOMEBODY, SOMEBODY), "others can change"),
        (lambda path: path.chmod(0o777), "others can change"),
        (lambda path: (os.chown(path, 0, SOMEBODY), path.chmod(0o775)), "others can change"),
        (lambda path: path.chmod(0o1777), None),
        (lambda path: path.chmod(0o775), None),
    ],
)
def test_a_folder_that_others_can_change_holds_neither_images_nor_sandboxes(
    spoil: Callable[[Path], object], message: str | None, place: Path
) -> None:
    shared = place / "shared"
    shared.mkdir()
    spoil(shared)
    for use in (open_images, prepare_process):
        if message is None:
            use(settings(shared))
        else:
            with pytest.raises(Unavailable, match=message):
                use(settings(shared))


def test_links_put_into_a_folder_for_images_lead_to_nothing_being_removed(
    place: Path, outside: Path
) -> None:
    """A folder that somebody has prepared, in a place where anybody may make one."""
    prepared = place / "images"
    prepared.mkdir()
    (prepared / "drafts").symlink_to(outside.parent)
    os.chown(prepared, SOMEBODY, SOMEBODY)

    with pytest.raises(Unavailable, match="others can change"):
        open_images(settings(place)).collect_garbage(list)

    assert outside.exists()


def test_a_state_folder_that_came_back_as_anothers_is_not_read(place: Path) -> None:
    states = place / "images/states"
    states.mkdir(parents=True)
    (states / "old").symlink_to(place / "gone")
    sandbox = place / "gone/crun/sandboxes/a"
    sandbox.mkdir(parents=True)
    os.mkfifo(sandbox / "notes")  # who opens it waits for ever
    os.chown(place / "gone", SOMEBODY, SOMEBODY)

    assert needed(settings(place), ()) == {}
