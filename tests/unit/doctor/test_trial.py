"""Drivers are tried for real; those that fail are the fake with something broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from assay.doctor.environments import examine_environments
from assay.doctor.trial import explained, try_driver
from assay.domain.errors import InvalidEnvironment, RuntimeFailed, Unavailable
from assay.driver.port import Driver, Health, Problem, RootFilesystem, Sandbox, SandboxSpec
from assay.drivers.fake import FakeDriver
from assay.environments import bundled_folder, load_all


@pytest.fixture
def root(tmp_path: Path) -> RootFilesystem:
    return RootFilesystem(digest="none", path=tmp_path)


async def test_a_driver_that_works_is_timed(root: RootFilesystem) -> None:
    report = await try_driver("fake", lambda name: FakeDriver(), root)
    assert report.works
    assert report.problems == ()
    assert report.timings is not None
    assert 0 < report.timings.run < 5
    assert report.capabilities is not None


async def test_without_a_root_file_system_its_own_word_counts() -> None:
    report = await try_driver("fake", lambda name: FakeDriver(), None)
    assert report.works
    assert report.timings is None


class Sick(FakeDriver):
    async def probe(self) -> Health:
        return Health(works=False, problems=(Problem(summary="no", remedy="yes"),))


class Failing(FakeDriver):
    async def create(self, spec: SandboxSpec) -> Sandbox:
        raise RuntimeFailed("it broke", detail="in two\n parts")


class Defective(FakeDriver):
    async def probe(self) -> Health:
        raise ZeroDivisionError("oh")


def not_built(name: str) -> Driver:
    raise Unavailable(f"{name} was not built")


@pytest.mark.parametrize(
    ("make", "summary"),
    [
        (lambda name: Sick(), "no"),
        (lambda name: Failing(), "it broke: in two parts"),
        (lambda name: Defective(), "ZeroDivisionError: oh"),
        (not_built, "broken was not built"),
    ],
)
async def test_a_driver_that_does_not_work_says_why(
    make: Callable[[str], Driver], summary: str, root: RootFilesystem
) -> None:
    report = await try_driver("broken", make, root)
    assert not report.works
    assert report.problems[-1].summary == summary


class Unrooted(FakeDriver):
    async def probe(self) -> Health:
        problems = (Problem(summary="no namespace", remedy="assay doctor"), Problem(summary="more"))
        return Health(works=False, problems=problems)


async def test_a_driver_that_leaves_it_to_the_doctor_is_told_what_that_has_found() -> None:
    report = await try_driver("fake", lambda name: Unrooted(), None)
    cause = Problem(summary="subordinate-ids: too few", remedy="usermod ann")
    assert explained(report, cause).problems == (cause, Problem(summary="more"))
    assert explained(report, None) == report


def test_an_environment_without_its_tools_names_the_packages(root: RootFilesystem) -> None:
    environments, _ = load_all([bundled_folder()])
    broken = InvalidEnvironment("/x/environment.toml: key: wrong")
    reports = examine_environments(environments, [broken], lambda image: root)
    java = next(report for report in reports if report.name == "java")
    assert not java.usable
    assert all(problem.remedy.startswith("apt-get install ") for problem in java.problems)
    assert reports[-1].problems[0].summary == "/x/environment.toml: key: wrong"


def test_an_environment_without_its_image_says_so() -> None:
    def no_image(image: str) -> RootFilesystem:
        raise Unavailable(f"no {image}")

    environments, _ = load_all([bundled_folder()])
    reports = examine_environments(environments, [], no_image)
    for environment, report in zip(environments, reports, strict=True):
        assert report.problems == (Problem(summary=f"no {environment.image}"),)
