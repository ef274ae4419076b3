"""From an environment and a source file to commands."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.domain.errors import InvalidInput, LimitOverCeiling, UnknownEnvironment
from assay.domain.limits import MIB
from assay.driver.port import RootFilesystem
from assay.environments import (
    bundled_folder,
    for_file,
    load,
    load_all,
    placed,
    plan,
    plan_program,
    select,
)
from assay.environments.plan import variables_in
from assay.environments.template import fill, problem_with
from assay.environments.users import home_folder

ENVIRONMENTS, _ = load_all([bundled_folder()])
PYTHON, C = select(ENVIRONMENTS, "python"), select(ENVIRONMENTS, "c")


def test_a_script_is_run_with_its_arguments_and_never_by_a_shell() -> None:
    planned = plan(PYTHON, "prime.py", ["$(reboot)", "a b", "{source}"])
    assert planned.compile is None
    assert planned.run.argv == (
        "/usr/bin/python3", "prime.py", "$(reboot)", "a b", "{source}",
    )  # fmt: skip
    assert planned.run.environment["PYTHONUNBUFFERED"] == "1"
    assert planned.run.environment["HOME"] == "/workspace"
    assert planned.run.environment["SHELL"] == "/bin/sh"
    assert planned.run.limits == PYTHON.run.limits


def test_a_program_is_compiled_first_and_gets_its_arguments_when_it_runs() -> None:
    compile_, run = plan(C, "src/prime.c", ["100"])
    assert compile_ is not None
    assert "src/prime.c" in compile_.argv
    assert "100" not in compile_.argv
    assert run.argv == ("./prime.out", "100")
    assert compile_.limits.wall_seconds == 30


@pytest.mark.parametrize("name", ["-o.c", "@options.c", "--help.c"])
def test_a_file_named_like_an_option_is_still_a_file(name: str) -> None:
    compile_, _ = plan(C, name)
    assert compile_ is not None
    assert f"./{name}" in compile_.argv


@pytest.mark.parametrize("name", ["", ".", "/etc/passwd", "../x.c", "a/../../x.c", "x\0.c"])
def test_a_source_outside_of_the_workspace_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="inside of the sandbox"):
        plan(C, name)


def test_a_request_may_ask_for_other_limits_up_to_the_ceiling() -> None:
    asked = replace(PYTHON.run.limits, cpu_seconds=1)
    assert plan(PYTHON, "x.py", limits=asked).run.limits.cpu_seconds == 1
    for beyond in (replace(asked, wall_seconds=121), replace(asked, output_bytes=None)):
        with pytest.raises(LimitOverCeiling):
            plan(PYTHON, "x.py", limits=beyond)
    with pytest.raises(LimitOverCeiling, match="memory_bytes"):
        plan(PYTHON, "x.py", sandbox=replace(PYTHON.sandbox, memory_bytes=4096 * MIB))


def test_a_runtime_with_a_heap_is_told_the_memory_of_its_sandbox() -> None:
    java = select(ENVIRONMENTS, "java")
    smaller = replace(java.sandbox, memory_bytes=200 * MIB)
    assert "-Xmx200m" in plan(java, "Hello.java", sandbox=smaller).run.argv


def test_limits_of_a_program_that_must_not_compile_are_the_compilers() -> None:
    program = next(each for each in C.programs if each.last_step == "compile")
    compile_, run = plan_program(C, program)
    assert compile_ is not None
    assert compile_.limits == program.limits
    assert run.limits == C.run.limits


def test_a_name_that_is_nearly_right_gets_a_suggestion() -> None:
    with pytest.raises(UnknownEnvironment, match="did you mean python"):
        select(ENVIRONMENTS, "Pyhton")
    with pytest.raises(UnknownEnvironment, match="there are bash, c, cpp"):
        select(ENVIRONMENTS, "cobol-85")
    with pytest.raises(UnknownEnvironment, match="none here"):
        select((), "python")


def test_a_file_finds_its_environment_by_its_ending() -> None:
    folder = bundled_folder()
    assert for_file(ENVIRONMENTS, folder / "any.cc").name == "cpp"
    assert for_file(ENVIRONMENTS, folder / "any.mjs").name == "javascript"
    for name in ("Makefile", "any.PY", ".py"):
        with pytest.raises(UnknownEnvironment, match=r"\.py.*-e"):
            for_file(ENVIRONMENTS, folder / name)


def test_of_two_that_take_the_same_ending_the_first_does() -> None:
    other = replace(load(bundled_folder() / "python"), name="other")
    assert for_file([other, PYTHON], bundled_folder() / "x.py") is other


@given(st.text())
def test_an_argument_without_a_problem_can_be_filled_in(argument: str) -> None:
    values = {"source": "a.c", "name": "a", "memory_mib": "64"}
    if problem_with(argument) is None:
        assert len(fill([argument], values, ["x"])) == 1


@given(st.lists(st.text()))
def test_arguments_arrive_as_they_are(arguments: list[str]) -> None:
    assert fill(["{args}"], {}, arguments) == tuple(arguments)


def test_places_for_arguments_are_filled_or_empty() -> None:
    template = ["cc", "{compile_args}", "{source}", "{link_args}", "x{name}"]
    values = {"source": "a.c", "name": "a"}
    lists = {"compile_args": ["-x", "c"], "link_args": []}
    assert fill(template, values, (), lists) == ("cc", "-x", "c", "a.c", "xa")
    assert fill(template, values, ()) == ("cc", "a.c", "xa")
    assert problem_with("{link_args}") is None
    assert "argument of its own" in str(problem_with("-D{compile_args}"))


def test_arguments_without_a_place_are_refused() -> None:
    made = plan(C, "a.c", lists={"compile_args": ()})
    assert made == plan(C, "a.c")
    with pytest.raises(InvalidInput, match="no place for compile args"):
        plan(C, "a.c", lists={"compile_args": ("-Wall",)})


def test_a_programs_name_may_differ_from_its_sources() -> None:
    assert plan(C, "a.c", name="b").run.argv == ("./b.out",)


def test_the_tools_that_jobes_clients_use_are_found_in_an_image_too(tmp_path: Path) -> None:
    program_in(tmp_path, "/usr/local/bin/python3")
    root = RootFilesystem(digest="x", path=tmp_path)
    jobe = placed(replace(PYTHON, image="python:3.12"), root).jobe
    assert jobe is not None
    assert jobe.check is not None
    assert jobe.version is not None
    for argv in (jobe.run.argv, jobe.check, jobe.version.argv):
        assert argv[0] == "/usr/local/bin/python3"


def test_text_is_utf_8_unless_somebody_names_a_language() -> None:
    root = RootFilesystem(digest="x", path=Path("/nowhere"))
    assert variables_in(root, {})["LC_CTYPE"] == "C.UTF-8"
    assert "LANG" not in variables_in(root, {})
    for name in ("LANG", "LC_ALL", "LC_CTYPE"):
        found = variables_in(root, {name: "de_DE.ISO-8859-1"})
        language = {key: value for key, value in found.items() if key.startswith(("LC_", "LANG"))}
        assert language == {name: "de_DE.ISO-8859-1"}


def test_an_images_user_folder_and_variables_hold_beneath_the_environments(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "home/app").mkdir(parents=True)
    (tmp_path / "etc/passwd").write_text("broken\nroot:x:0:0::/root:\napp:x:1234:5::/home/app:\n")
    root = RootFilesystem(
        digest="x", path=tmp_path, user=1234, group=1235, working_folder="/app",
        environment={"PYTHONUNBUFFERED": "0", "LANG": "de", "PATH": "/opt/bin:/usr/bin"},
    )  # fmt: skip
    run = plan(PYTHON, "x.py", root=root).run
    assert (run.uid, run.gid, run.working_directory) == (1234, 1235, "/app")
    assert run.environment["HOME"] == "/home/app"
    assert run.environment["PYTHONUNBUFFERED"] == "1"
    assert run.environment["LANG"] == "de"
    assert "LC_CTYPE" not in run.environment
    assert run.environment["PATH"] == "/opt/bin:/usr/bin"


@pytest.mark.parametrize(
    "accounts",
    ["", "app:x:1234:5::/not/there:\n", "app:x:1234:5::relative:\n", "app:x:1234\n",
     "app:x:1234:5::/a\x1bb:\n", "other:x:1:1::/home/app:\n"],
)  # fmt: skip
def test_who_has_no_home_is_at_home_in_the_working_folder(tmp_path: Path, accounts: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "home/app").mkdir(parents=True)
    (tmp_path / "etc/passwd").write_text(accounts)
    root = RootFilesystem(digest="x", path=tmp_path, user=1234, working_folder="/app")
    assert home_folder(root) == "/app"


def test_an_accounts_file_that_is_a_trick_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").symlink_to("/dev/zero")
    root = RootFilesystem(digest="x", path=tmp_path, working_folder="/app")
    assert home_folder(root) == "/app"
    (tmp_path / "dev").mkdir()
    os.mkfifo(tmp_path / "dev/zero")
    assert home_folder(root) == "/app"


def program_in(root: Path, path: str, mode: int = 0o755) -> None:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("")
    file.chmod(mode)


def test_tools_are_where_the_image_has_them(tmp_path: Path) -> None:
    root = RootFilesystem(
        digest="x", path=tmp_path, environment={"PATH": "relative:/closed:/usr/local/bin:/usr/bin"}
    )
    mine = replace(PYTHON, image="python:3")
    assert placed(mine, root) == mine  # it is nowhere: `require_tools` says so
    program_in(tmp_path, "/closed/python3", 0o644)
    program_in(tmp_path, "/usr/local/bin/python3")
    assert placed(mine, root).run.argv[0] == "/usr/local/bin/python3"
    assert placed(mine, root).tools[0].path == "/usr/local/bin/python3"
    program_in(tmp_path, "/usr/bin/python3")
    assert placed(mine, root).run.argv[0] == "/usr/bin/python3"  # as the author wrote
    assert placed(mine, root, overriding=True).run.argv[0] == "/usr/local/bin/python3"
    assert placed(PYTHON, root) == PYTHON  # of the machine's own image nothing is looked up


def test_what_is_compiled_is_not_looked_up_and_headers_stay(tmp_path: Path) -> None:
    root = RootFilesystem(digest="x", path=tmp_path, environment={"PATH": "/opt/bin"})
    program_in(tmp_path, "/opt/bin/gcc")
    program_in(tmp_path, "/opt/bin/stdio.h")
    moved = placed(replace(C, image="gcc"), root)
    assert moved.compile is not None
    assert moved.compile.argv[0] == "/opt/bin/gcc"
    assert moved.run.argv[0] == "./{name}.out"
    assert [tool.path for tool in moved.tools] == ["/opt/bin/gcc", "/usr/include/stdio.h"]
