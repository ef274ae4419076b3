"""The environments that come with Assay, in real sandboxes.

Those whose tools `./dev` does not install are tested where somebody else has. Compilers take their
time, so of the languages with a large one only the program that says hello is run here; `assay env
test` runs them all.
"""

from __future__ import annotations

import os

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
