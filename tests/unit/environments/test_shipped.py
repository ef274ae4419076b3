"""The environments that come with Assay, as data."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import pytest

from assay.domain.limits import require_within
from assay.domain.outcome import OutcomeKind
from assay.environments import (
    ExecutionEnvironment,
    StepKind,
    bundled_folder,
    for_file,
    load_all,
    plan_program,
)

ENVIRONMENTS, PROBLEMS = load_all([bundled_folder()])
each_environment = pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda each: each.name)


def test_all_load_and_nothing_is_wrong() -> None:
    assert PROBLEMS == ()
    assert [each.name for each in ENVIRONMENTS] == [
        "bash", "c", "cpp", "go", "haskell", "java", "javascript", "kotlin", "php", "python",
        "python-data", "r", "ruby", "rust", "sql",
    ]  # fmt: skip


@each_environment
def test_there_is_a_program_for_every_outcome(environment: ExecutionEnvironment) -> None:
    ends = {
        (program.outcome.kind, program.outcome.clock)
        for program in environment.programs
        if program.last_step is StepKind.RUN
    }
    assert ends == {
        (OutcomeKind.EXITED, None),
        (OutcomeKind.SIGNALED, None),
        (OutcomeKind.TIMED_OUT, "wall"),
        (OutcomeKind.TIMED_OUT, "cpu"),
        (OutcomeKind.OUT_OF_MEMORY, None),
        (OutcomeKind.OUTPUT_LIMIT, None),
    }
    codes = {program.outcome.code for program in environment.programs}
    assert {0, 3} <= codes
    does_not_compile = any(
        program.last_step is StepKind.COMPILE and not program.outcome.success
        for program in environment.programs
    )
    assert does_not_compile == (environment.compile is not None)


@each_environment
def test_every_file_of_an_environment_is_a_program_of_it(
    environment: ExecutionEnvironment,
) -> None:
    files = {path for path in environment.folder.rglob("*") if path.is_file()}
    own = {environment.folder / name for name in ("environment.toml", "Dockerfile")}
    programs = environment.programs
    beside = {file for program in programs for file in program.files}
    assert files - own == {program.source for program in programs} | beside


@each_environment
def test_programs_that_run_into_a_limit_do_so_soon(environment: ExecutionEnvironment) -> None:
    for program in environment.programs:
        if program.outcome.clock == "wall":
            assert (program.limits.wall_seconds or 99) <= 2
        if program.outcome.clock == "cpu":
            assert (program.limits.cpu_seconds or 99) <= 1
        if program.outcome.kind is OutcomeKind.OUTPUT_LIMIT:
            assert (program.limits.output_bytes or 99) <= 64 * 1024


@each_environment
def test_every_program_has_a_plan_within_the_ceilings(environment: ExecutionEnvironment) -> None:
    for program in environment.programs:
        planned = plan_program(environment, program)
        assert (planned.compile is None) == (environment.compile is None)
        assert not re.search(r"[{}]", " ".join(planned.run.argv))
        require_within(planned.run.limits, environment.ceilings.run)


@each_environment
def test_the_dockerfile_installs_the_packages_of_the_tools(
    environment: ExecutionEnvironment,
) -> None:
    dockerfile = (environment.folder / "Dockerfile").read_text()
    installed = re.search(r"--no-install-recommends (.*) \\", dockerfile)
    assert installed is not None
    assert set(installed[1].split()) == {tool.package for tool in environment.tools}
    # On a machine without the public registry, it builds on another Debian.
    assert re.search(
        r"^ARG BASE=docker\.io/library/debian:\d+-slim\nFROM \$\{BASE\}$", dockerfile, re.MULTILINE
    )
    assert dockerfile.endswith("WORKDIR /workspace\n")
    assert environment.image in ("host", str(environment.folder / "Dockerfile"))


@each_environment
def test_the_first_program_to_show_says_hello(environment: ExecutionEnvironment) -> None:
    assert environment.hello.outcome.success
    assert environment.hello.stdout == "Hello, world!\n"
    if environment.extensions:  # else people name it: `assay run -e python-data plot.py`
        assert for_file(ENVIRONMENTS, PurePosixPath(environment.hello.source)) is environment


@each_environment
def test_a_sandbox_keeps_its_files_in_at_most_half_of_its_memory(
    environment: ExecutionEnvironment,
) -> None:
    limits = [environment.sandbox, *(program.sandbox for program in environment.programs)]
    assert all(each.disk_bytes * 2 <= each.memory_bytes for each in limits)
