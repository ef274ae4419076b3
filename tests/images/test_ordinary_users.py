"""An ordinary user with subordinate ids: the same images, owners shifted by one, no privilege."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from making import Layout, entry, folder, link, same

from assay.agent.native import program

USER = 54321
FIRST = 200_000

pytestmark = pytest.mark.skipif(
    not os.environ.get("CI") and (os.geteuid() != 0 or shutil.which("unshare") is None),
    reason="needs root, to become somebody else, and unshare",
)

BUILD = """
import json, sys
from pathlib import Path
from assay.images import Images
images = Images(Path(sys.argv[1]), owner_offset=1)
image = images.build(Path(sys.argv[2]))
print(json.dumps([str(image.root.path), image.root.user]))
"""

PULL = """
import json, sys
from pathlib import Path
from assay.images import Images
images = Images(Path(sys.argv[1]), owner_offset=1)
first, second = (images.pull(reference) for reference in sys.argv[2:4])
same = (first.root.path / "app").samefile(second.root.path / "app")
removed = images.collect_garbage(lambda: [first.digest]).images
print(json.dumps([str(first.root.path), same, removed]))
"""


def run_as_user(program: str, *arguments: str) -> str:
    """Run a program of ours as an ordinary user, in a user namespace as `newuidmap` makes them."""
    process = subprocess.Popen(
        ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups",
         "unshare", "--user", "sh", "-c", 'echo ready; read -r go; exec "$@"', "sh",
         sys.executable, "-c", program, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd="/", env={**os.environ, "HOME": arguments[0]},
    )  # fmt: skip
    assert process.stdout
    assert process.stdin
    assert process.stdout.readline() == "ready\n"
    for kind in ("uid", "gid"):
        Path(f"/proc/{process.pid}/{kind}_map").write_text(f"0 {USER} 1\n1 {FIRST} 65536\n")
    output, errors = process.communicate("go\n", timeout=60)
    assert process.returncode == 0, errors
    return output


@pytest.fixture
def place(on_disk: Path) -> Path:
    """A folder of the user's, which they can reach."""
    place = on_disk / "mine"
    place.mkdir()
    os.chown(place, USER, USER)
    return place


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("CI") and None in map(shutil.which, ("buildah", "skopeo")),
    reason="needs buildah and skopeo",
)
def test_an_ordinary_user_builds_too(place: Path, on_disk: Path) -> None:
    (on_disk / "Dockerfile").write_text(
        'FROM scratch\nCOPY probe /\nRUN ["/probe", "write", "/made", "x"]\nUSER 1000\n'
    )
    shutil.copy(program("probe"), on_disk / "probe")
    path, user = json.loads(run_as_user(BUILD, str(place), str(on_disk / "Dockerfile")))
    assert user == 1000
    assert (Path(path) / "made").read_text() == "x"
    assert (Path(path) / "made").stat().st_uid == FIRST


def test_an_ordinary_user_has_images_too(layout: Layout, place: Path, tmp_path: Path) -> None:
    layers = [
        folder("home", owner=1000),
        entry("home/f", b"x", owner=1000, group=65535, mode=0o600),
        folder("root", mode=0o700),
        entry("root/secret", b"x"),
        link("root/l", "secret"),
        same("root/h", "root/secret"),
        entry("dev/null", kind=b"3"),
        entry("app", b"program" * 1000, mode=0o4755),
    ]
    layout.image(layers, tag="a")
    layout.image(layers, [entry("more", owner=65535), entry(".wh.home")], tag="b")
    tmp_path.chmod(0o755)
    output = run_as_user(PULL, str(place), f"{layout.reference}:a", f"{layout.reference}:b")
    path, shared, removed = json.loads(output)
    assert shared
    assert removed == 1
    root = Path(path)
    assert (root / "app").stat().st_uid == FIRST
    assert (root / "app").stat().st_mode & 0o7777 == 0o755
    facts = (root / "home/f").stat()
    assert (facts.st_uid, facts.st_gid) == (FIRST + 1000, FIRST + 65535)
    assert (root / "root/secret").stat().st_ino == (root / "root/h").stat().st_ino
