"""Dockerfiles: built by buildah, kept while nothing that goes into them has changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from making import Layout, entry
from registry import push, real_registry

from assay.agent.native import program
from assay.domain.errors import BuildFailed, ImageUnavailable, InvalidInput
from assay.images import Images, Progress

NEEDED = ("buildah", "skopeo", "docker-registry")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("CI") and (None in map(shutil.which, NEEDED) or os.geteuid() != 0),
        reason=f"needs root and {', '.join(NEEDED)}",
    ),
]


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """An image of a registry that holds one static program and nothing else."""
    folder = Path(tempfile.mkdtemp(prefix="assay-registry-", dir="/dev/shm"))
    try:
        layout = Layout(folder / "layout")

        layout.image([entry("probe", program("probe").read_bytes(), mode=0o755)])
        with real_registry(folder) as host:
            push(layout.reference, f"{host}/probe:1")
            yield f"{host}/probe:1"
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def images(on_disk: Path) -> Iterator[Images]:
    """On disk: buildah's overlays need a file system with extended attributes."""
    yield Images(on_disk / "images")
    assert str(on_disk) not in Path("/proc/self/mounts").read_text()
    assert programs_about(on_disk) == []


def programs_about(folder: Path) -> list[str]:
    found = []
    for process in Path("/proc").iterdir():
        try:
            line = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in line and process.name != str(os.getpid()):
            found.append(line.replace(b"\0", b" ").decode())
    return found


@pytest.fixture
def write(on_disk: Path) -> Callable[..., Path]:
    def write(*lines: str) -> Path:
        file = on_disk / "recipe/Dockerfile"
        file.parent.mkdir(exist_ok=True)
        file.write_text("\n".join(lines) + "\n")
        return file

    return write


def test_a_dockerfile_of_three_lines_is_an_image(base, images, write):
    file = write(f"FROM {base}", 'RUN ["/probe", "write", "/made", "5"]', "COPY text /srv/")
    (file.parent / "text").write_text("hello")
    told: list[Progress] = []
    image = images.get(str(file), on_progress=told.append)
    assert (image.root.path / "made").read_text() == "5"
    assert (image.root.path / "srv/text").read_text() == "hello"
    assert [told.done for told in told if told.unit == "steps"] == [1, 2, 3]
    assert images.find(str(file.parent)) == image


def test_nothing_is_built_while_nothing_has_changed(base, images, write, monkeypatch):
    file = write(f"FROM {base}", "COPY . /srv/")
    (file.parent / "text").write_text("one")
    image = images.build(file)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", "/nowhere")  # buildah can't be found
        assert images.build(file) == image
        assert images.find(str(file)) == image
    (file.parent / "text").write_text("two")
    assert images.find(str(file)) is None
    changed = images.build(file)
    assert (changed.root.path / "srv/text").read_text() == "two"
    assert images.find(str(file)) == changed


def test_a_folder_of_which_nothing_is_copied_may_change(base, images, write):
    file = write(f"FROM {base}", "WORKDIR /srv", 'RUN ["/probe", "write", "/made", "5"]')
    (file.parent / "hello.py").write_text("one")
    image = images.build(file)
    (file.parent / "hello.py").write_text("one, and more")
    told: list[Progress] = []
    assert images.find(str(file)) == image
    assert images.get(str(file), on_progress=told.append) == image
    assert told == []
    file.write_text(file.read_text() + "COPY hello.py /srv/\n")
    assert images.find(str(file)) is None
    copied = images.build(file)
    (file.parent / "hello.py").write_text("two")
    assert images.find(str(file)) is None
    assert (copied.root.path / "srv/hello.py").read_text() == "one, and more"


def test_what_a_base_copies_by_itself_counts_as_copied(base, images, write, on_disk):
    """ONBUILD is in no line of the Dockerfile that is built."""
    parent, pushed = write(f"FROM {base}", "ONBUILD COPY text /srv/"), f"{base}-onbuild"
    buildah = (
        "unshare", "--mount", "--propagation", "private", "--", "buildah",
        "--root", str(on_disk / "other"), "--runroot", str(on_disk / "run"),
        "--storage-driver", "overlay",
    )  # fmt: skip
    for arguments in (
        ("bud", "--isolation", "chroot", "--format", "docker", "--tag", pushed,
         "--file", str(parent), str(parent.parent)),
        ("push", pushed, f"docker://{pushed}"),
    ):  # fmt: skip
        command = (*buildah, arguments[0], "--tls-verify=false", *arguments[1:])
        subprocess.run(command, check=True, capture_output=True)
    child = write(f"FROM {pushed}", "USER 1000")
    (child.parent / "text").write_text("one")
    assert (images.build(child).root.path / "srv/text").read_text() == "one"
    (child.parent / "text").write_text("two, longer")
    assert images.find(str(child)) is None
    assert (images.build(child).root.path / "srv/text").read_text() == "two, longer"


def test_an_image_of_nothing_but_a_program_needs_no_registry(images, write):
    file = write("FROM scratch", "COPY probe /bin/", "USER 1000", 'ENTRYPOINT ["/bin/probe"]')
    shutil.copy(program("probe"), file.parent / "probe")
    image = images.build(file)
    assert (image.root.user, image.root.group) == (1000, 1000)
    assert image.configuration.entrypoint == ("/bin/probe",)
    assert os.access(image.root.path / "bin/probe", os.X_OK)


def test_arguments_and_another_context_are_other_images(base, images, write, on_disk):
    file = write(f"FROM {base}", "ARG NAME=none", "ENV NAME=$NAME", "COPY where /")
    (file.parent / "where").write_text("beside")
    (on_disk / "context").mkdir()
    (on_disk / "context/where").write_text("context")
    plain = images.build(file)
    other = images.build(file, context=on_disk / "context", arguments={"NAME": "x"})
    assert plain.root.environment["NAME"] == "none"
    assert other.root.environment["NAME"] == "x"
    assert (other.root.path / "where").read_text() == "context"
    assert images.find(str(file)) == plain


@pytest.mark.parametrize(
    ("lines", "error", "message"),
    [
        (['RUN ["/probe", "exit", "7"]'], BuildFailed, "exit status 7"),
        (['RUN ["/nothing"]'], BuildFailed, "could not be built"),
        (["COPY nothing /"], BuildFailed, "nothing"),
        (["NONSENSE x"], BuildFailed, "NONSENSE"),
        (["FROM 127.0.0.1:1/nothing"], ImageUnavailable, "nobody answers"),
    ],
)
def test_what_cannot_be_built_is_one_clear_error(lines, error, message, base, images, write):
    file = write(f"FROM {base}", *lines)
    with pytest.raises(error, match=message):
        images.build(file)
    assert images.all() == []


def test_a_dockerfile_that_is_not_there_is_one_clear_error(images, on_disk):
    with pytest.raises(ImageUnavailable, match="Dockerfile can't be read"):
        images.get(f"{on_disk}/nothing/Dockerfile")


def test_a_context_that_nobody_can_mean_is_refused(images, write, monkeypatch):
    monkeypatch.setattr("assay.images.build._MOST_FILES", 10)
    file = write("FROM scratch")
    for number in range(20):
        (file.parent / str(number)).touch()
    with pytest.raises(InvalidInput, match="a folder of its own"):
        images.build(file)


def test_pulling_a_dockerfile_asks_for_its_base_again(base, images, write, on_disk):

    moving = base.replace("probe:1", "moving:1")
    layout = Layout(on_disk / "layout")
    layout.image([entry("old")], tag="old")
    layout.image([entry("new")], tag="new")
    push(f"{layout.reference}:old", moving)
    file = write(f"FROM {moving}", "USER 5")
    images.build(file)
    push(f"{layout.reference}:new", moving)
    assert not (images.get(str(file)).root.path / "new").exists()
    assert (images.pull(str(file)).root.path / "new").exists()


BUILD = """
import sys
from pathlib import Path
from assay.images import Images
Images(Path(sys.argv[1])).build(Path(sys.argv[2]))
"""


OURS = f"61.{os.getpid()}"
"""Seconds by which a program is known from those of the same test elsewhere on this machine."""


def test_a_build_that_is_killed_leaves_nothing_running_and_nothing_to_keep(
    base, images, write, on_disk
):
    file = write(f"FROM {base}", f'RUN ["/probe", "sleep", "{OURS}"]')
    process = subprocess.Popen([sys.executable, "-c", BUILD, str(on_disk / "images"), str(file)])
    deadline = time.monotonic() + 60
    while not sleeping() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert sleeping()
    process.kill()
    process.wait()
    looks = 0  # a program that is just replacing another has no name for a moment
    while looks < 3 and time.monotonic() < deadline:
        looks = 0 if sleeping() or programs_about(on_disk) else looks + 1
        time.sleep(0.1)
    assert looks == 3
    write(f"FROM {base}", "USER 5")
    assert images.build(file).root.user == 5
    images.collect_garbage(list)
    left = [path for path in (on_disk / "images").rglob("*") if not path.is_dir()]
    assert left == []


def sleeping() -> bool:
    """Whether the program of the build runs, here or in a namespace of its own."""
    for process in Path("/proc").iterdir():
        try:
            if f"sleep\0{OURS}\0".encode() in (process / "cmdline").read_bytes():
                return True
        except OSError:
            continue
    return False
