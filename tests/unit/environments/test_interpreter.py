"""Which Python waits in the warm sandboxes of an environment, if any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from assay.domain.command import Interpreter
from assay.domain.errors import InvalidInput
from assay.driver.port import RootFilesystem
from assay.environments import Blueprint, ServedEnvironment, bundled_folder, interpreter_of, load
from assay.environments.plan import plan

ROOT = RootFilesystem(digest="none", path=Path("/nowhere"), user=1234, group=1235)
PYTHON = load(bundled_folder() / "python")
VARIABLES = {"PATH": "/usr/bin:/bin", "HOME": "/workspace"}


def test_it_is_as_the_environments_programs_are() -> None:
    environment = replace(PYTHON, preimport=("json", "xml.dom"))
    made = interpreter_of(environment, ROOT, variables=VARIABLES, open_files=64)
    assert made == Interpreter(
        path="/usr/bin/python3",
        packages=("json", "xml.dom"),
        environment=VARIABLES,
        uid=1234,
        gid=1235,
        open_files=64,
    )


def test_none_waits_unless_the_environment_says_so() -> None:
    environment = replace(PYTHON, preimport=None)
    assert interpreter_of(environment, ROOT, variables=VARIABLES, open_files=64) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PYTHONPATH", "/workspace/lib"),
        ("PYTHONPATH", "/opt/lib:/tmp"),
        ("PYTHONPATH", "lib"),
        ("PYTHONPATH", "/opt/../workspace"),
        ("PYTHONPATH", ""),
        ("PYTHONPATH", "/home/course"),
        ("PYTHONPYCACHEPREFIX", "/tmp/cache"),
        ("LD_PRELOAD", "/opt/good.so /dev/shm/bad.so"),
        ("PATH", "/usr/bin:/workspace/bin"),
    ],
)
def test_none_waits_where_it_would_run_what_learners_write(name: str, value: str) -> None:
    root = replace(ROOT, working_folder="/home/course")
    variables = {**VARIABLES, name: value}
    assert interpreter_of(PYTHON, root, variables=variables, open_files=64) is None


def test_folders_that_learners_only_read_do_no_harm() -> None:
    variables = {**VARIABLES, "PYTHONPATH": "/opt/course:/usr/share/lib"}
    assert interpreter_of(PYTHON, ROOT, variables=variables, open_files=64) is not None


def test_none_waits_that_no_frame_could_ask_for() -> None:
    variables = {**VARIABLES, "LONG": "x" * 20_000}
    assert interpreter_of(PYTHON, ROOT, variables=variables, open_files=64) is None


def test_root_has_no_interpreter_that_waits() -> None:
    with pytest.raises(InvalidInput, match="never for root"):
        Interpreter(path="/usr/bin/python3", uid=0)


def test_a_served_environments_interpreter_fits_the_commands_of_its_runners() -> None:
    served = ServedEnvironment(name="python", language="python", variables={"COURSE": "1"})
    blueprint = Blueprint(environment=served, root=ROOT, folder=PYTHON)
    waits = blueprint.interpreter()
    assert waits is not None
    assert waits.environment == blueprint.variables()
    assert waits.environment["COURSE"] == "1"
    assert waits.open_files == served.execution.open_files
    command = plan(PYTHON, "main.py", root=ROOT).run
    assert command.argv[0] == waits.path
    assert waits.environment == {**command.environment, "COURSE": "1"}
    assert Blueprint(environment=served, root=ROOT).interpreter() is None
