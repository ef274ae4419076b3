"""What a server offers: refused when it is nonsense, kept as JSON, and versioned."""

from dataclasses import replace
from pathlib import Path

import pytest

from assay.domain.devices import devices_of
from assay.domain.errors import InvalidInput, LimitOverCeiling
from assay.domain.limits import MIB, ExecutionLimits, SandboxLimits
from assay.driver.port import RootFilesystem, Secret
from assay.environments import Blueprint, Origin, ServedEnvironment
from assay.environments.loader import bundled_folder, load
from assay.environments.served import from_json, to_json

PYTHON = ServedEnvironment(
    name="python",
    language="python",
    sandbox=SandboxLimits(memory_bytes=64 * MIB),
    ceiling=ExecutionLimits(wall_seconds=60.0),
    exposed_ports=(8080,),
    pool_size=4,
    variables={"CODEOCEAN": "true"},
    origin=Origin.CONFIGURATION,
)


def test_it_comes_back_from_json_as_it_was() -> None:
    assert from_json(to_json(PYTHON)) == PYTHON


@pytest.mark.parametrize("text", [b"", b"[]", b'{"name": 7}', b'{"name": "x", "image": null}'])
def test_what_is_no_environment_is_an_error_of_ours(text: bytes) -> None:
    with pytest.raises(InvalidInput):
        from_json(text)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Python"},
        {"name": ""},
        {"name": "../etc"},
        {"name": "python\n"},
        {"name": "a" * 65},
        {"language": None},
        {"image": "a\0b"},
        {"image": "a" * 2000},
        {"pool_size": -1},
        {"pool_size": 10**9},
        {"exposed_ports": (0,)},
        {"exposed_ports": (65536,)},
        {"exposed_ports": (80, 80)},
        {"variables": {"A=B": ""}},
        {"variables": {"": ""}},
        {"variables": {"A": "\0"}},
        {"cpu_shares": -1},
    ],
)
def test_nonsense_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        replace(PYTHON, **change)


def test_its_own_limits_must_be_within_its_ceiling() -> None:
    with pytest.raises(LimitOverCeiling):
        replace(PYTHON, execution=ExecutionLimits(wall_seconds=61.0))


@pytest.mark.parametrize(
    "change",
    [
        {"image": "docker.io/library/python:3.12"},
        {"language": "c"},
        {"sandbox": SandboxLimits()},
        {"network": True},
        {"devices": devices_of(["/dev/ttyUSB0"])},
    ],
)
def test_the_version_changes_with_what_sandboxes_are_made_of(change: dict[str, object]) -> None:
    assert replace(PYTHON, **change).version != PYTHON.version


@pytest.mark.parametrize(
    "change",
    [
        {"pool_size": 40},
        {"execution": ExecutionLimits(wall_seconds=1.0)},
        {"exposed_ports": ()},
        {"variables": {}},
        {"cpu_shares": 20},
    ],
)
def test_the_version_stays_when_sandboxes_need_not_change(change: dict[str, object]) -> None:
    assert replace(PYTHON, **change).version == PYTHON.version


def test_a_blueprint_has_the_version_of_its_image_too() -> None:
    one, other = (
        Blueprint(environment=PYTHON, root=RootFilesystem(digest=digest, path=Path("/")))
        for digest in ("sha256:1", "sha256:2")
    )
    assert one.version != other.version


def test_a_blueprint_says_what_to_ask_a_driver_for() -> None:
    root = RootFilesystem(digest="none", path=Path("/"))
    secret = Secret(bytes(32))
    spec = Blueprint(environment=PYTHON, root=root).spec(secret)
    assert (spec.root, spec.secret, spec.limits) == (root, secret, PYTHON.sandbox)
    assert spec.unclaimed_seconds == 900
    assert (spec.network, spec.devices) == (False, ())


def test_an_environment_has_its_languages_devices_unless_it_has_others() -> None:
    root = RootFilesystem(digest="none", path=Path("/"))
    serial, graphics = devices_of(["/dev/ttyUSB0", "nvidia.com/gpu=all"])
    folder = replace(load(bundled_folder() / "bash"), devices=(serial,))
    for own, expected in (((), serial), ((graphics,), graphics)):
        blueprint = Blueprint(environment=replace(PYTHON, devices=own), root=root, folder=folder)
        assert blueprint.spec(Secret(bytes(32))).devices == (expected,)
        assert from_json(to_json(blueprint.environment)) == blueprint.environment
