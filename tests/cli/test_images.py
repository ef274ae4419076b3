"""`assay run --image` and the commands about images, with images made of this machine's files."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import Assay, finish, read_until, until

from assay.agent.native import program
from assay.bench.sample_images import Item, file_of_machine, write_layout

pytestmark = pytest.mark.root

MakeImage = Callable[..., str]
TOOLS = ("/usr/bin/dash", "/usr/bin/ls", "/usr/bin/id", "/usr/bin/cat", "/usr/bin/env")


def with_libraries(programs: tuple[str, ...]) -> list[Item]:
    """Programs, and the libraries that they need, where they look for them."""
    paths = set()
    for path in programs:
        said = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
        paths |= {word for word in said.split() if word.startswith("/")}
    items = [file_of_machine(path) for path in programs]
    return items + [file_of_machine(str(Path(path).resolve()), path) for path in sorted(paths)]


@pytest.fixture(scope="module")
def system() -> list[Item]:
    return [
        *with_libraries(TOOLS),
        Item(path="/usr/bin/sh", link="dash"),
        Item(path="/bin", link="usr/bin"),
        Item(path="/home/app", user=1234, group=1235),
        Item(
            path="/etc/passwd", mode=0o644,
            content=b"root:x:0:0::/root:/bin/sh\napp:x:1234:1235::/home/app:/bin/sh\n",
        ),
        Item(path="/app"),
        Item(path="/app/data.txt", content=b"data\n", mode=0o644, user=1234, group=1235),
        Item(path="/app/secret", content=b"secret\n", mode=0o600),
    ]  # fmt: skip


@pytest.fixture
def folder_of_images(assay: Assay, tmp_path: Path) -> Path:
    assay.variables["ASSAY_IMAGES"] = str(tmp_path / "images")
    return tmp_path / "images"


@pytest.fixture
def make(tmp_path: Path, folder_of_images: Path, system: list[Item]) -> Iterator[MakeImage]:
    def made(name: str = "image", more: list[Item] | None = None, **meant: Any) -> str:
        reference = write_layout(tmp_path / name, [system, more or []], meant)
        return f"oci:./{name}" if meant.pop("relative", False) else reference

    yield made
    assert not list(folder_of_images.glob("drafts/*"))


def test_an_image_runs_its_own_program_as_its_author_meant_it(
    assay: Assay, make: MakeImage
) -> None:
    image = make(
        User="app", WorkingDir="/app", Env=["GREETING=hi", "PATH=/usr/bin"],
        Entrypoint=["sh", "-c", 'echo $GREETING "$@"; id -u; id -g; pwd; echo $HOME; ls', "sh"],
        Cmd=["one", "two"],
    )  # fmt: skip
    ended = assay("run", "--image", image)
    assert ended.status == 0, ended.stderr
    assert ended.stdout.decode().split("\n")[:5] == [
        "hi one two",
        "1234",
        "1235",
        "/app",
        "/home/app",
    ]
    assert b"data.txt\nsecret\n" in ended.stdout
    ended = assay("run", "--image", image, "--", "three", "-x")
    assert ended.stdout.startswith(b"hi three -x\n")
    assert ended.stderr == b""  # it is known by now
    assert assay("run", "--image", image, "four").stdout.startswith(b"hi four\n")


def test_an_image_without_user_folder_or_entrypoint_runs_commands(
    assay: Assay, make: MakeImage
) -> None:
    image = make(Cmd=["/usr/bin/id", "-u"], User="root", WorkingDir="/")
    assert assay("run", "--image", image).stdout == b"10001\n"
    shown = assay("run", "--image", image, "--", "sh", "-c", "pwd; echo $HOME; echo x > new; ls")
    assert shown.stdout == b"/workspace\n/workspace\nnew\n"


def test_a_user_that_the_image_does_not_know_is_said(assay: Assay, make: MakeImage) -> None:
    ended = assay("run", "--image", make(User="somebody", Cmd=["id"]))
    assert ended.status == 123
    assert "'somebody' is not in its /etc/passwd" in ended.stderr.decode().splitlines()[-1]


def test_a_working_folder_keeps_nothing_from_one_run_to_the_next(
    assay: Assay, make: MakeImage
) -> None:
    image = make(User="app", WorkingDir="/app")
    change = "echo more >> data.txt; cat data.txt; echo new > new; cat secret"
    ended = assay("run", "--image", image, "--", "sh", "-c", change)
    assert ended.stdout == b"data\nmore\n"
    assert b"secret: Permission denied" in ended.stderr
    assert assay("run", "--image", image, "--", "ls").stdout == b"data.txt\nsecret\n"


def test_a_file_is_run_by_the_environment_of_its_ending_with_the_images_programs(
    assay: Assay, make: MakeImage
) -> None:
    # Its "python3" is in /usr/local/bin, and is a shell that says who it is.
    tool = Item(
        path="/usr/local/bin/python3", content=b'#!/usr/bin/sh\necho "mine: $@"; cat "$1"; pwd\n'
    )
    image = make(more=[tool], User="app", WorkingDir="/app", Env=["PATH=/usr/local/bin:/usr/bin"])
    assay.write("hello.py", "print('x')\n")
    ended = assay("run", "--image", image, "hello.py", "argument")
    assert (ended.status, ended.stdout) == (0, b"mine: hello.py argument\nprint('x')\n/app\n")
    ended = assay("run", "--image", image, "-e", "c", "hello.py")
    assert ended.status == 112
    assert "/usr/bin/gcc" in ended.complaint.lower()


def test_an_image_that_holds_one_static_program_is_enough(
    assay: Assay, tmp_path: Path, folder_of_images: Path
) -> None:
    only = Item(path="/program", content=program("probe").read_bytes())
    image = write_layout(tmp_path / "one", [[only]], {"Entrypoint": ["/program"]})
    assert assay("run", "--image", image, "--", "exit", "7").status == 7
    ended = assay("run", "--image", image, "--json", "--", "exit", "0")
    assert (ended.json["environment"], ended.json["success"]) == (image, True)
    assert ended.stderr == b""


def test_an_environment_names_an_image_beside_its_own_file(
    assay: Assay, tmp_path: Path, make: MakeImage, environments: Callable[..., str]
) -> None:
    folder = environments(tool="/usr/bin/sh")
    image = make(User="app", WorkingDir="/app", Env=["PATH=/usr/bin"])
    shutil.move(tmp_path / "image", f"{folder}/sh/image")
    file = Path(folder, "sh", "environment.toml")
    file.write_text(file.read_text().replace('image = "host"', 'image = "oci:image"'))
    assay.write("who.sh", "id -u; pwd")
    unknown = assay("--environments", folder, "env", "list", "--json").json["environments"]
    (mine,) = (each for each in unknown if each["name"] == "sh")
    assert (mine["usable"], "env pull" in mine["problem"]) == (False, True)
    ended = assay("--environments", folder, "run", "-e", "sh", "who.sh")
    assert ended.stdout == b"1234\n/app\n", (ended.stderr, image)
    assert assay("--environments", folder, "env", "test", "sh").status == 0
    assert assay("--environments", folder, "env", "gc").status == 0  # the environment keeps it
    (kept,) = assay("--environments", folder, "env", "images", "--json").json["images"]
    assert kept["needed_by"] == "the environment sh"
    assert assay("env", "gc", "--json").json["removed"][0]["digest"] == kept["digest"]


def test_garbage_collection_keeps_the_image_of_a_sandbox_that_lives(
    assay: Assay, make: MakeImage, tmp_path: Path
) -> None:
    image, other = (
        make(Cmd=["sh", "-c", "echo ready; cat; cat data.txt"], WorkingDir="/app"),
        make("other", more=[Item(path="/other")]),
    )
    running = assay.start("run", "--time", "100", "--image", image)
    read_until(running, b"ready\n")
    assert assay("env", "pull", other).status == 0
    would = assay("env", "gc", "--dry-run", "--json").json
    assert [each["reference"] for each in would["removed"]] == [other]
    assert len(assay("env", "images", "--json").json["images"]) == 2
    # Its server is killed: the sandbox itself has still to be found.
    os.kill(running.pid, signal.SIGSTOP)
    ended = assay("env", "gc")
    assert (ended.status, b"1 images removed" in ended.stdout) == (0, True), ended
    (left,) = assay("env", "images", "--json").json["images"]
    assert (left["reference"], left["needed_by"]) == (image, "a sandbox")
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    # Nor does it matter that somebody collects who keeps sandboxes in another place.
    elsewhere = replace(assay, variables={**assay.variables, "ASSAY_STATE": str(tmp_path / "own")})
    assert assay.sandboxes()
    assert elsewhere("env", "gc", "--json").json["removed"] == []
    until(lambda: not assay.sandboxes() or assay("run", "--", "true").status)
    (gone,) = assay("env", "gc", "--json").json["removed"]
    assert gone["reference"] == image
    assert finish(running).status == -signal.SIGKILL


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("run", "--image", "oci:./nowhere"), 122, "nowhere"),
        (("run", "--image", "127.0.0.1:1/no/registry"), 122, "127.0.0.1:1"),
        (("run", "--image", "Not An Image"), 2, "image"),
        (("run", "--image", "./no-dockerfile"), 122, "no-dockerfile"),
        (("run", "--image", "oci:./broken"), 123, "broken"),
        (("run",), 2, "FILE-OR-COMMAND"),
        (("env", "pull", "oci:./nowhere"), 122, "nowhere"),
        (("env", "build", "bashful"), 110, "did you mean bash"),
    ],
)
def test_an_image_that_cannot_be_had_is_one_line_and_its_own_status(
    assay: Assay, folder_of_images: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    (assay.folder / "broken").mkdir()
    assay.write("broken/index.json", "{")
    assay.write("broken/oci-layout", '{"imageLayoutVersion": "1.0.0"}')
    ended = assay(*arguments)
    assert (ended.status, ended.stdout) == (status, b"")
    last = ended.stderr.decode().splitlines()[-1]
    assert last.startswith("assay: ")
    assert said in last
    if arguments[0] == "run" and len(arguments) > 1:
        answer = assay(*arguments, "--json").json if len(arguments) == 3 else {}
        assert answer["exit_status"] == status


def test_a_terminal_shows_bars_and_is_left_as_it_was(assay: Assay, make: MakeImage) -> None:
    image = make(Cmd=["id", "-u"])
    ours, theirs = pty.openpty()
    try:
        process = assay.start("run", "--image", image, stderr=theirs)
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: nobody has it open any more
            while data := os.read(ours, 4096):
                shown += data
        assert finish(process).stdout == b"10001\n"
    finally:
        os.close(ours)
    assert b"unpacking" in shown
    assert b"MB" in shown
    assert shown.count(b"\x1b[?25l") == shown.count(b"\x1b[?25h") == 1  # the cursor is back
    assert b"assay:" not in shown


def test_an_image_that_names_no_program_says_how_to_name_one(assay: Assay, make: MakeImage) -> None:
    image = make()
    ended = assay("run", "--image", image)
    assert ended.status == 2
    assert f"assay run --image {image} -- PROGRAM" in ended.stderr.decode().splitlines()[-1]
    ended = assay("run", "--image", image, "--", "no-such-program")
    assert ended.status == 127
    assert image in ended.complaint


@pytest.mark.skipif(
    shutil.which("buildah") is None and not os.environ.get("CI"), reason="needs buildah"
)
def test_three_lines_of_a_dockerfile_become_a_running_program_in_one_command(
    assay: Assay, folder_of_images: Path
) -> None:
    assay.write("df/probe", program("probe").read_bytes()).chmod(0o755)
    assay.write("df/Dockerfile", 'FROM scratch\nCOPY probe /probe\nENTRYPOINT ["/probe", "exit"]\n')
    first = assay("run", "--image", "./df", "--", "5")
    assert (first.status, first.stdout) == (5, b"")
    steps = first.stderr.decode().splitlines()
    assert all(line.startswith("assay: ") for line in steps)
    assert any("FROM scratch" in line for line in steps)
    again = assay("run", "--image", "./df/Dockerfile", "--", "6")
    assert (again.status, again.stderr) == (6, b"")
    made = assay("env", "build", "./df", "--json")
    assert (len(made.json["images"]), made.stderr) == (1, b"")


@pytest.mark.skipif(
    shutil.which("buildah") is None and not os.environ.get("CI"), reason="needs buildah"
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_build_that_is_interrupted_leaves_nothing_half_made(
    assay: Assay, folder_of_images: Path, number: signal.Signals
) -> None:
    assay.write("df/probe", program("probe").read_bytes()).chmod(0o755)
    assay.write("df/Dockerfile", 'FROM scratch\nCOPY probe /p\nRUN ["/p", "sleep", "3600"]\n')
    building = assay.start("run", "--image", "./df")
    assert building.stderr is not None
    seen = b""
    while b"RUN" not in seen:
        seen += os.read(building.stderr.fileno(), 4096)
    os.kill(building.pid, number)
    ended = finish(building, seconds=20)
    assert ended.status == 130
    assert json.loads(assay("env", "images", "--json").stdout) == {"images": []}
    assert not list(folder_of_images.glob("drafts/*"))
