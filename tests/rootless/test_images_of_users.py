"""Images as an ordinary user: built, pulled, run, seen by nobody else, and collected."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ordinary import Ordinary, ordinary_user

from assay.agent.native import program

sys.path.insert(0, str(Path(__file__).parents[1] / "images"))

from making import Layout, entry, folder
from registry import push, real_registry

NEEDED = ("buildah", "skopeo", "docker-registry")

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not os.environ.get("CI") and None in map(shutil.which, NEEDED),
        reason=f"needs {', '.join(NEEDED)}",
    ),
]

DOCKERFILE = """\
FROM {base}
RUN ["/probe", "write", "/srv/made", "built"]
COPY --chown=1000:1000 --chmod=600 text /srv/
"""


@pytest.fixture
def base() -> Iterator[str]:
    """In a registry of this machine; its programs are ann's, user 1000, as is a file."""
    place = Path(tempfile.mkdtemp(prefix="assay-registry-", dir="/dev/shm"))
    try:
        layout = Layout(place / "layout")
        layout.image(
            [
                folder("etc"),
                entry("etc/passwd", b"ann:x:1000:1000::/srv:/\n"),
                entry("probe", program("probe").read_bytes(), mode=0o755),
                folder("srv", owner=1000, group=1000),
                entry("srv/hers", b"ann's", owner=1000, group=1000, mode=0o600),
                entry("roots", b"secret", mode=0o600),
            ],
            config={"User": "ann", "WorkingDir": "/srv"},
        )
        with real_registry(place) as host:
            push(layout.reference, f"{host}/base:1")
            yield f"{host}/base:1"
    finally:
        shutil.rmtree(place)


def reads(user: Ordinary, image: str, path: str) -> str:
    """What a program of an image reads in a file, or the kernel's word for why it may not."""
    done = user.assay("run", "--image", image, "--", "/probe", "read", path)
    return done.stdout if done.returncode == 0 else done.stderr.split()[-2]


def test_images_are_built_pulled_run_hidden_and_collected(ordinary: Ordinary, base: str) -> None:
    recipe = ordinary.home / "recipe"
    recipe.mkdir()
    (recipe / "Dockerfile").write_text(DOCKERFILE.format(base=base))
    (recipe / "text").write_text("copied")
    subprocess.run(["chown", "-R", str(ordinary.uid), str(recipe)], check=True)

    assert reads(ordinary, "./recipe", "text") == "copied"
    assert reads(ordinary, "./recipe", "made") == "built"
    assert reads(ordinary, base, "hers") == "ann's"  # pulled, and run as ann where she lives
    assert reads(ordinary, base, "/roots") == "EACCES"

    images = ordinary.home / ".local/share/assay/images"
    hers = list(images.glob("roots/*/root/srv/hers"))
    assert {file.stat().st_uid for file in hers} == {ordinary.subordinate[1000]}
    ordinary.home.chmod(0o711)
    with ordinary_user() as other:
        readable = next(images.glob("roots/*/root/etc/passwd"))
        assert readable.stat().st_mode & 0o004
        assert "Permission denied" in other.run("cat", readable).stderr
    ordinary.home.chmod(0o700)

    collected = json.loads(ordinary.assay("env", "gc", "--json").stdout)
    assert len(collected["removed"]) == 2
    assert list(images.glob("roots/*")) == []
