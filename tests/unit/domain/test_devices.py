"""Names of devices, and what an operator allows."""

import pytest

from assay.domain.devices import AllowedDevices, Device, devices_of
from assay.domain.errors import DeviceUnavailable, InvalidInput


@pytest.mark.parametrize(
    "name",
    [
        "/dev/ttyUSB0",
        "/dev/gpiochip0",
        "/dev/serial/by-path/pci-0000:00:14.0-usb-0:1:1.0-port0",
        "/dev/..data",
        "nvidia.com/gpu=all",
        "nvidia.com/gpu=GPU-8f2c:0",
        "vendor.example.org/class_1=0",
    ],
)
def test_a_path_below_dev_or_a_name_of_the_container_device_interface_is_a_device(
    name: str,
) -> None:
    assert Device(name=name).name == name


@pytest.mark.parametrize(
    "name",
    [
        "", "/", "/dev", "/dev/", "dev/ttyUSB0", "/etc/passwd", "/dev/../etc/passwd", "/dev/./tty9",
        "/dev/a/../../etc/shadow", "/dev//sda", "/dev/tty USB", "/dev/tty\n", "/dev/a,b", "/dev/\0",
        "/dev/ttyUSB*", "/dev/ttyUSB0/", "/dev/" + "a" * 300, "gpu", "gpu=0", "nvidia.com/gpu",
        "nvidia.com/gpu=", "nvidia.com/gpu=*", "../x=y", "/x/gpu=0", "nvidia.com//gpu=0",
        "/dev/ttyUSB0\n", "nvidia.com/gpu=all\n",
    ],
)  # fmt: skip
def test_anything_else_is_none(name: str) -> None:
    with pytest.raises(InvalidInput):
        Device(name=name)


@pytest.mark.parametrize(
    "name",
    [
        "/dev/null",
        "/dev/tty",
        "/dev/ptmx",
        "/dev/stdin",
        "/dev/shm",
        "/dev/shm/x",
        "/dev/fd/3",
        "/dev/mqueue/q",
        "/dev/pts",
        "/dev/pts/3",
    ],
)
def test_what_every_sandbox_has_of_its_own_is_none_to_ask_for(name: str) -> None:
    with pytest.raises(InvalidInput):
        Device(name=name)


def test_devices_are_few_and_each_is_named_once() -> None:
    assert [each.name for each in devices_of(["/dev/a1", "/dev/a2"])] == ["/dev/a1", "/dev/a2"]
    for names in (["/dev/a1", "/dev/a1"], [f"/dev/a{number}" for number in range(17)]):
        with pytest.raises(InvalidInput):
            devices_of(names)


@pytest.mark.parametrize(
    ("pattern", "allowed", "refused"),
    [
        ("/dev/ttyUSB0", ["/dev/ttyUSB0"], ["/dev/ttyUSB1", "/dev/ttyUSB01", "/dev/sda"]),
        ("/dev/ttyUSB*", ["/dev/ttyUSB0", "/dev/ttyUSB12"], ["/dev/ttyUSB/0", "/dev/ttyACM0"]),
        ("/dev/serial/by-id/*", ["/dev/serial/by-id/usb-1"], ["/dev/serial/a", "/dev/sda"]),
        ("/dev/video*", ["/dev/video0"], ["/dev/v4l/video0", "/dev/vide"]),
        ("nvidia.com/gpu=*", ["nvidia.com/gpu=all", "nvidia.com/gpu=0"], ["amd.com/gpu=0"]),
        ("nvidia.com/gpu=0", ["nvidia.com/gpu=0"], ["nvidia.com/gpu=all"]),
        ("/dev/a.b0", ["/dev/a.b0"], ["/dev/axb0"]),
    ],
)
def test_a_pattern_allows_what_it_says_and_nothing_else(
    pattern: str, allowed: list[str], refused: list[str]
) -> None:
    found = AllowedDevices(patterns=(pattern,))
    assert [name for name in (*allowed, *refused) if found.allow(Device(name=name))] == allowed


@pytest.mark.parametrize(
    "pattern", ["/dev/*", "/dev/**", "/dev/*/x0", "*", "*/gpu=0", "nvidia.com/*=0", "/etc/*", ""]
)
def test_a_pattern_that_allows_all_of_dev_or_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInput):
        AllowedDevices(patterns=(pattern,))


def test_nothing_is_allowed_unless_the_operator_says_so_and_the_remedy_is_named() -> None:
    with pytest.raises(DeviceUnavailable, match=r'assay\.toml: devices = \["/dev/sda"\]'):
        AllowedDevices().require([Device(name="/dev/sda")])
