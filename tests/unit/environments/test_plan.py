"""From an environment and a source file to commands."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.domain.errors import InvalidInput, LimitOverCeiling, UnknownEnvironment
from assay.domain.limits import MIB
from assay.environments import bundled_folder, for_file, load, load_all, plan, plan_program, select
from assay.environments.template import fill, problem_with

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
