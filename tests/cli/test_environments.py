"""The environments that come with Assay, in real sandboxes.

Those whose tools `./dev` does not install are tested where somebody else has. Compilers take their
time, so of the languages with a large one only the program that says hello is run here; `assay env
test` runs them all.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command_line import Assay

from assay.environments import ExecutionEnvironment, bundled_folder, load_all

ENVIRONMENTS = {each.name: each for each in load_all([bundled_folder()])[0]}
SLOW_TO_COMPILE = {"cpp", "haskell", "java", "kotlin", "rust"}
NOT_INSTALLED = {"haskell", "kotlin", "python-data", "r", "rust"}

pytestmark = pytest.mark.root


@pytest.fixture(params=ENVIRONMENTS)
def environment(request: pytest.FixtureRequest, assay: Assay) -> ExecutionEnvironment:
    """Each environment that can be used here; all must be that `./dev test` installs tools for."""
    name = request.param
    listed = assay("env", "list", "--json").json["environments"]
    problem = next(each["problem"] for each in listed if each["name"] == name)
    if problem and (name in NOT_INSTALLED or not os.environ.get("CI")):
        pytest.skip(problem)
    assert not problem
    return ENVIRONMENTS[name]


def test_programs_end_as_the_environment_promises(
    assay: Assay, environment: ExecutionEnvironment
) -> None:
    if environment.name in SLOW_TO_COMPILE:
        ended = assay("run", environment.hello.source)
        assert (ended.status, ended.stdout) == (0, b"Hello, world!\n"), ended.stderr
        return
    found = assay("env", "test", environment.name, "--json").json
    assert [each for each in found["programs"] if each["complaint"]] == []
    assert len(found["programs"]) == len(environment.programs)


def test_packages_that_can_not_be_imported_beforehand_are_named(
    assay: Assay, tmp_path: Path
) -> None:
    folder = tmp_path / "wrong"
    folder.mkdir()
    (folder / "hello.py").write_text("print('Hello, world!')\n")
    (folder / "environment.toml").write_text(
        'name = "wrong"\ntitle = "Wrong"\nimage = "host"\nextensions = []\nhello = "hello.py"\n'
        'preimport = ["json", "no_such_thing"]\n'
        '[[tools]]\npath = "/usr/bin/python3"\npackage = "python3"\n'
        '[run]\nargv = ["/usr/bin/python3", "{source}", "{args}"]\n'
        '[[programs]]\nfile = "hello.py"\noutcome = "exited(0)"\n'
    )
    found = assay("--environments", str(tmp_path), "env", "test", "wrong", "--json").json
    assert "preimport" in found["programs"][0]["complaint"]
    assert "no_such_thing" in found["programs"][0]["complaint"]
