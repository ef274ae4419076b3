"""Folders of environments, right and wrong ones."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from assay.domain.errors import InvalidEnvironment
from assay.domain.limits import MIB
from assay.domain.outcome import Outcome, OutcomeKind
from assay.environments import StepKind, load, load_all
from assay.environments.document import TABLES

GOOD = """\
name = "lua"
title = "Lua 5.4"
image = "host"
extensions = [".lua"]
hello = "hello.lua"

[[tools]]
path = "/usr/bin/lua5.4"
package = "lua5.4"

[compile]
argv = ["/usr/bin/lua5.4", "-c", "{source}"]

[run]
argv = ["/usr/bin/lua5.4", "{source}", "{args}"]
limits = { wall_seconds = 5 }

[variables]
LUA_PATH = "./?.lua"

[sandbox]
memory = "128 MiB"

[ceilings]
run = { wall_seconds = 60, cpu_seconds = 60 }
sandbox = { memory = "1 GiB" }

[[programs]]
file = "hello.lua"
outcome = "exited(0)"
stdout = "Hello, world!\\n"

[[programs]]
file = "outcomes/spin.lua"
outcome = "timed_out(cpu)"
limits = { cpu_seconds = 0.5 }
sandbox = { memory = "16 MiB" }
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Makes a folder `lua` with these words in its environment.toml, and returns it."""

    def make(text: str, name: str = "lua") -> Path:
        folder = tmp_path / name
        (folder / "outcomes").mkdir(parents=True, exist_ok=True)
        (folder / "environment.toml").write_text(text)
        (folder / "hello.lua").write_text('print("Hello, world!")\n')
        (folder / "outcomes/spin.lua").write_text("while true do end\n")
        return folder

    return make


def test_an_environment_is_what_its_file_says(write: Write) -> None:
    lua = load(write(GOOD))
    assert (lua.name, lua.title, lua.image, lua.extensions) == ("lua", "Lua 5.4", "host", (".lua",))
    assert [(tool.path, tool.package) for tool in lua.tools] == [("/usr/bin/lua5.4", "lua5.4")]
    assert lua.variables == {"LUA_PATH": "./?.lua"}
    assert lua.run.argv == ("/usr/bin/lua5.4", "{source}", "{args}")
    assert (lua.run.limits.wall_seconds, lua.run.limits.cpu_seconds) == (5, 10)
    assert lua.compile is not None
    assert lua.compile.limits.wall_seconds == 30
    assert lua.sandbox.memory_bytes == 128 * MIB
    assert lua.ceilings.sandbox.memory_bytes == 1024 * MIB
    assert lua.hello.source.read_text() == 'print("Hello, world!")\n'
    spin = lua.programs[1]
    assert spin.outcome == Outcome(kind=OutcomeKind.TIMED_OUT, clock="cpu")
    assert spin.last_step is StepKind.RUN
    assert (spin.limits.cpu_seconds, spin.limits.wall_seconds) == (0.5, 5)


JOBE = """
[jobe]
source = "prog.lua"
version = { argv = ["/usr/bin/lua5.4", "-v"], pattern = 'Lua ([0-9.]+)' }
check = ["/usr/bin/lua5.4", "-c", "{source}"]
interpreter_args = ["-W"]
strict = true
least = { memory = "16 MiB" }
"""


def test_what_jobes_clients_expect_is_the_environments_own_unless_it_says_otherwise(
    write: Write,
) -> None:
    lua = load(write(GOOD + JOBE))
    assert lua.jobe is not None
    assert (lua.jobe.language, lua.jobe.source, lua.jobe.strict) == ("lua", "prog.lua", True)
    assert (lua.jobe.compile, lua.jobe.run) == (lua.compile, lua.run)
    assert lua.jobe.least.memory_bytes == 16 * MIB
    assert lua.jobe.lists["interpreter_args"] == ("-W",)
    assert load(write(GOOD)).jobe is None


@pytest.mark.parametrize(
    ("written", "instead", "key"),
    [
        ("Lua ([0-9.]+)", "Lua (", "jobe.version.pattern"),
        ("Lua ([0-9.]+)", "Lua", "jobe.version.pattern"),
        ('["/usr/bin/lua5.4", "-v"]', '["/usr/bin/luac"]', "jobe.version.argv"),
        ('"-c", "{source}"]\ninterp', '"x{args}"]\ninterp', "jobe.check.argv"),
        ('"16 MiB"', '"1 GiB"', "jobe.least"),
        ("strict", "severe", "jobe.severe"),
        ('"prog.lua"', '"../x"', "jobe.source"),
    ],
)
def test_what_is_wrong_about_jobe_is_named(
    write: Write, written: str, instead: str, key: str
) -> None:
    assert written in JOBE
    with pytest.raises(InvalidEnvironment, match=re.escape(key)):
        load(write(GOOD + JOBE.replace(written, instead)))


def test_less_memory_leaves_less_room_for_files(write: Write) -> None:
    assert load(write(GOOD)).programs[1].sandbox.disk_bytes == 8 * MIB


def test_a_limit_without_a_ceiling_is_its_own_ceiling(write: Write) -> None:
    lua = load(write(GOOD))
    assert lua.ceilings.run.output_bytes == lua.run.limits.output_bytes
    assert lua.ceilings.sandbox.processes == lua.sandbox.processes


def test_what_a_python_that_waits_has_imported(write: Write) -> None:
    assert load(write(GOOD)).preimport is None
    assert load(write("preimport = []\n" + GOOD)).preimport == ()
    assert load(write('preimport = ["a", "b.c_2"]\n' + GOOD)).preimport == ("a", "b.c_2")


@pytest.mark.parametrize("module", ["", "a b", "-c", "a..b", "a/b", "os; x"])
def test_what_is_no_modules_name_can_not_be_imported_beforehand(write: Write, module: str) -> None:
    with pytest.raises(InvalidEnvironment, match=r"preimport.*wrong form"):
        load(write(f'preimport = ["{module}"]\n' + GOOD))


def test_devices_are_named(write: Write) -> None:
    assert load(write(GOOD)).devices == ()
    serial = load(write('devices = ["/dev/ttyUSB0", "nvidia.com/gpu=all"]\n' + GOOD))
    assert [each.name for each in serial.devices] == ["/dev/ttyUSB0", "nvidia.com/gpu=all"]


@pytest.mark.parametrize("name", ["/etc/passwd", "/dev/../etc/passwd", "/dev/tty*", "", "gpu"])
def test_what_is_no_device_is_refused(write: Write, name: str) -> None:
    with pytest.raises(
        InvalidEnvironment, match=r"environment\.toml: devices: .*; write a list of"
    ):
        load(write(f'devices = ["{name}"]\n' + GOOD))


def test_only_a_program_that_is_given_its_source_can_wait(write: Write) -> None:
    wrong = GOOD.replace('"{source}", "{args}"]\nlimits', '"-q", "{source}", "{args}"]\nlimits')
    assert wrong != GOOD
    with pytest.raises(InvalidEnvironment, match=r"preimport.*runs something else"):
        load(write("preimport = []\n" + wrong))


WRONG = {
    # case: (in GOOD, instead, what the message says)
    "unknown key": ('title = "L', 'colour = "L', ["colour", "no such key", "title"]),
    "unknown key in a table": (
        "limits = { wall_seconds = 5 }",
        "limits = { wall = 5 }",
        ["run.limits.wall", "no such key", "wall_seconds"],
    ),
    "unknown key of a program": (
        "limits = { cpu_seconds = 0.5 }",
        'expect = "x"',
        ["programs[1].expect", "no such key", "outcome"],
    ),
    "missing key": ('title = "Lua 5.4"\n', "", ["title", "missing", "one line"]),
    "missing table": (
        '[run]\nargv = ["/usr/bin/lua5.4", "{source}", "{args}"]\n',
        "[ran]\n",
        ["ran", "no such key"],
    ),
    "wrong type": ("wall_seconds = 5 ", 'wall_seconds = "5" ', ["run.limits.wall_seconds", "str"]),
    "a shell's line": (
        'argv = ["/usr/bin/lua5.4", "{source}", "{args}"]',
        'argv = "lua {source}"',
        ["run.argv", "array", "a list such as"],
    ),
    "no argument": (
        'argv = ["/usr/bin/lua5.4", "{source}", "{args}"]',
        "argv = []",
        ["run.argv", "length >= 1"],
    ),
    "not TOML": ("[run]", "[run", ["not TOML"]),
    "other name than the folder's": ('name = "lua"', 'name = "moon"', ["name", "moon", "lua"]),
    "bad name": ('name = "lua"', 'name = "Lua 5"', ["name", "wrong form", "lower-case"]),
    "bad extension": ('[".lua"]', '["lua"]', ["extensions[0]", "with their dot"]),
    "bad size": ('"128 MiB"', '"128MB"', ["sandbox.memory", 'such as "256 MiB"']),
    "a size as a number": ('"128 MiB"', "128", ["sandbox.memory", 'such as "256 MiB"']),
    "relative path of a tool": (
        'path = "/usr/bin/lua5.4"',
        'path = "lua5.4"',
        ["tools[0].path", "absolute"],
    ),
    "package that is an option": (
        'package = "lua5.4"',
        'package = "--force"',
        ["tools[0].package"],
    ),
    "program that is no tool": (
        'argv = ["/usr/bin/lua5.4", "{source}", "{args}"]',
        'argv = ["/usr/bin/moon", "{source}"]',
        ["run.argv[0]", "/usr/bin/moon", "[[tools]]"],
    ),
    "unknown placeholder": ('"{args}"', '"{home}"', ["run.argv[2]", "{home}", "{source}"]),
    "attribute of a placeholder": (
        '"{args}"',
        '"{source.parent}"',
        ["run.argv[2]", "{source.parent}"],
    ),
    "lone brace": ('"{args}"', '"{"', ["run.argv[2]", "{{"]),
    "arguments within an argument": ('"{args}"', '"-a{args}"', ["run.argv[2]", "its own"]),
    "variable that cannot be": ("LUA_PATH", '"A=B"', ["variables.A=B", "letters"]),
    "variable that is a number": ('"./?.lua"', "1", ["variables", "quotation marks"]),
    "limit of nothing": (
        "wall_seconds = 5 ",
        "wall_seconds = 0 ",
        ["run.limits", "more than zero"],
    ),
    "limit without end": ("wall_seconds = 5 ", "wall_seconds = inf ", ["run.limits", "wall_sec"]),
    "limit that is no number": ("wall_seconds = 5 ", "wall_seconds = nan ", ["run.limits"]),
    "too little memory": ('"128 MiB"', '"1 MiB"', ["sandbox", "at least 4 MiB"]),
    "limit over its ceiling": (
        "wall_seconds = 5 ",
        "wall_seconds = 61 ",
        ["ceilings", "at most 60"],
    ),
    "program's limit over the ceiling": (
        "cpu_seconds = 0.5 ",
        "cpu_seconds = 99 ",
        ["programs[1]", "cpu_seconds is 99", "at most 60"],
    ),
    "program's sandbox over the ceiling": (
        '"16 MiB"',
        '"2 GiB"',
        ["programs[1]", "memory_bytes", "at most"],
    ),
    "hello that is no program": ('hello = "hello.lua"', 'hello = "hi.lua"', ["hello", "hi.lua"]),
    "missing file": ('"outcomes/spin.lua"', '"outcomes/x.lua"', ["programs[1].file", "no file"]),
    "folder as a file": ('"outcomes/spin.lua"', '"outcomes"', ["programs[1].file", "no file"]),
    "path upwards": (
        '"outcomes/spin.lua"',
        '"../lua/hello.lua"',
        ["programs[1].file", "leads out"],
    ),
    "absolute path": ('"outcomes/spin.lua"', '"/etc/passwd"', ["programs[1].file", "leads out"]),
    "data that is not there": (
        "limits = { cpu_seconds = 0.5 }",
        'files = ["data.csv"]',
        ["programs[1].files", "no file 'data.csv'"],
    ),
    "data from elsewhere": (
        "limits = { cpu_seconds = 0.5 }",
        'files = ["/etc/passwd"]',
        ["programs[1].files", "leads out"],
    ),
    "the same program twice": ('"outcomes/spin.lua"', '"hello.lua"', ["programs[1].file", "twice"]),
    "unknown outcome": (
        "timed_out(cpu)",
        "timed_out(sun)",
        ["programs[1].outcome", "exited(CODE)"],
    ),
    "outcome that is too much": ("exited(0)", "exited(256)", ["programs[0].outcome"]),
    "outcome that nobody promises": ("exited(0)", "lost(me)", ["programs[0].outcome"]),
    "unknown step": (
        "limits = { cpu_seconds = 0.5 }",
        'last_step = "link"',
        ["programs[1].last_step", "link"],
    ),
}


@pytest.mark.parametrize(("old", "new", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named_with_file_and_key(
    write: Write, old: str, new: str, said: list[str]
) -> None:
    assert old in GOOD
    folder = write(GOOD.replace(old, new))
    with pytest.raises(InvalidEnvironment) as caught:
        load(folder)
    assert caught.value.message.startswith(f"{folder / 'environment.toml'}: ")
    for words in said:
        assert words in caught.value.message


def test_a_step_that_is_not_there_cannot_be_the_last(write: Write) -> None:
    compile_step = '[compile]\nargv = ["/usr/bin/lua5.4", "-c", "{source}"]\n'
    text = GOOD.replace(compile_step, "").replace(
        'outcome = "timed_out(cpu)"', 'outcome = "exited(1)"\nlast_step = "compile"'
    )
    with pytest.raises(InvalidEnvironment, match=r"programs\[1\].last_step: nothing is compiled"):
        load(write(text))


def test_a_link_may_not_lead_out_of_the_folder(write: Write, tmp_path: Path) -> None:
    folder = write(GOOD)
    (tmp_path / "elsewhere.lua").write_text("")
    (folder / "hello.lua").unlink()
    (folder / "hello.lua").symlink_to("../elsewhere.lua")
    with pytest.raises(InvalidEnvironment, match=r"programs\[0\].file: .* leads out"):
        load(folder)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"name = '\x00'"])
def test_bytes_that_are_no_text_are_no_environment(write: Write, content: bytes) -> None:
    folder = write(GOOD)
    (folder / "environment.toml").write_bytes(content)
    with pytest.raises(InvalidEnvironment, match="not TOML"):
        load(folder)


def test_a_folder_without_environment_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InvalidEnvironment, match=r"environment\.toml: No such file"):
        load(tmp_path)


def test_of_two_with_one_name_the_first_in_the_search_path_counts(
    write: Write, tmp_path: Path
) -> None:
    write(GOOD)
    mine = tmp_path / "mine"
    mine.mkdir()
    (tmp_path / "lua").rename(mine / "lua")
    write(GOOD)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "lua").rename(tmp_path / "theirs/lua")
    environments, problems = load_all([mine, tmp_path / "theirs"])
    assert problems == ()
    assert [each.folder for each in environments] == [mine / "lua"]


def test_one_wrong_environment_hides_no_right_one(write: Write, tmp_path: Path) -> None:
    write(GOOD)
    (tmp_path / "broken").mkdir()
    (tmp_path / ".git").mkdir()
    environments, problems = load_all([tmp_path / "nowhere", tmp_path])
    assert [each.name for each in environments] == ["lua"]
    assert [problem.message.partition(":")[0] for problem in problems] == [
        str(tmp_path / "nowhere"),
        str(tmp_path / "broken/environment.toml"),
    ]


def test_the_documentation_names_every_key() -> None:
    page = (Path(__file__).parents[3] / "docs/environments.md").read_text()
    for table in set(TABLES.values()):
        for field in msgspec.structs.fields(table):
            assert f"`{field.encode_name}`" in page, f"{table.__name__}.{field.encode_name}"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("debian:12", "debian:12"),
        ("./Dockerfile", "{folder}/Dockerfile"),
        (".", "{folder}"),
        ("../shared", "{folder}/../shared"),
        ("oci:layout:1.0", "oci:{folder}/layout:1.0"),
        ("docker-archive:/srv/saved.tar", "docker-archive:/srv/saved.tar"),
    ],
)
def test_an_images_paths_begin_at_the_environments_folder(
    write: Write, written: str, meant: str
) -> None:
    folder = write(GOOD.replace('image = "host"', f'image = "{written}"'))
    meant = meant.replace("{folder}/..", str(folder.parent)).replace("{folder}", str(folder))
    assert load(folder).image == meant
