"""Where settings come from, and what is said about wrong ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from assay.config import read_settings
from assay.domain.devices import Device
from assay.domain.errors import InvalidInput


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "assay.toml"
    path.write_text(
        'state = "/var/lib/assay"\nenvironments = ["/srv/one", "/srv/two"]\ndriver = "runc"\n'
        '[runtimes]\ncrun = "/opt/crun"\n'
    )
    return path


def test_without_anything_there_are_defaults(tmp_path: Path) -> None:
    settings = read_settings(variables={}, configuration=tmp_path / "none")
    expected = "/run/assay" if os.geteuid() == 0 else f"/tmp/assay-{os.geteuid()}/assay"
    assert settings.state == Path(expected)
    assert (settings.driver, settings.environments, dict(settings.runtimes)) == (None, (), {})


def test_the_file_is_read(file: Path) -> None:
    settings = read_settings(variables={}, configuration=file)
    assert settings.state == Path("/var/lib/assay")
    assert settings.environments == (Path("/srv/one"), Path("/srv/two"))
    assert (settings.driver, dict(settings.runtimes)) == ("runc", {"crun": "/opt/crun"})


def test_variables_win_over_the_file_and_flags_over_variables(file: Path) -> None:
    variables = {
        "ASSAY_CONFIG": str(file),
        "ASSAY_STATE": "/a",
        "ASSAY_DRIVER": "crun",
        "ASSAY_ENVIRONMENTS": "/b:/c",
        "ASSAY_RUNC": "myrunc",
    }
    settings = read_settings(variables=variables)
    assert (settings.state, settings.driver) == (Path("/a"), "crun")
    assert settings.environments == (Path("/b"), Path("/c"))
    assert dict(settings.runtimes) == {"crun": "/opt/crun", "runc": "myrunc"}
    settings = read_settings(state="/d", driver="fake", environments=("/e",), variables=variables)
    assert (settings.state, settings.driver) == (Path("/d"), "fake")
    assert settings.environments == (Path("/e"),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("driver = 3", "driver: this must be a text"),
        ('state = "here"', "state: this must be an absolute path"),
        ('environments = "x"', "environments: this must be a list of absolute paths"),
        ('devices = "/dev/ttyUSB0"', "devices: this must be a list of texts"),
        ('devices = ["/dev/*"]', "devices: '/dev/*' would allow every disk"),
        ("runtimes = 1", "runtimes: this must be a table"),
        ('[runtimes]\nkata = "x"', "runtimes.kata: there are only lean, crun, runc"),
        ("[runtimes]\ncrun = 1", "runtimes.crun: this must be"),
        ('drivers = "crun"', "drivers: there is no such key; keys:"),
        ("driver =", "this is not TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "assay.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput) as raised:
        read_settings(variables={}, configuration=path)
    assert raised.value.message.startswith(f"{path}: ")
    assert words in raised.value.message


def test_no_device_is_allowed_unless_the_file_or_the_variable_says_so(tmp_path: Path) -> None:
    path = tmp_path / "assay.toml"
    path.write_text('devices = ["/dev/ttyUSB*"]')
    device = Device(name="/dev/ttyUSB0")
    assert not read_settings(variables={}, configuration=tmp_path / "none").devices.allow(device)
    assert read_settings(variables={}, configuration=path).devices.allow(device)
    named = {"ASSAY_DEVICES": "nvidia.com/gpu=*, /dev/gpiochip0"}
    settings = read_settings(variables=named, configuration=path)
    assert settings.devices.patterns == ("nvidia.com/gpu=*", "/dev/gpiochip0")
    with pytest.raises(InvalidInput, match="ASSAY_DEVICES: '/etc/passwd' is no device"):
        read_settings(variables={"ASSAY_DEVICES": "/etc/passwd"})


def test_a_file_that_is_named_must_be_there() -> None:
    with pytest.raises(InvalidInput, match="ASSAY_CONFIG: there is no file /nowhere"):
        read_settings(variables={"ASSAY_CONFIG": "/nowhere"})
