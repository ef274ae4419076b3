"""Devices of the machine in sandboxes: who has asked for one can use it, nobody else sees it."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import tty
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from assay.agent.session import Session, open_session
from assay.domain.command import Command
from assay.domain.devices import Device
from assay.domain.errors import CapabilityMissing, DeviceUnavailable
from assay.driver.port import SandboxSpec
from assay.drivers.linux import cdi
from assay.drivers.linux.driver import LocalDriver

pytestmark = pytest.mark.root

ZERO, MEMORY = (1, 5), (1, 1)
NAME = f"assay-test-{os.getpid()}"
MakeNode = Callable[..., str]


@pytest.fixture
def node() -> Iterator[MakeNode]:
    """Makes files in the machine's /dev, and removes them."""
    made: list[Path] = []

    def make(
        name: str = NAME, numbers: tuple[int, int] = ZERO, *, mode: int = 0o600, kind: int = 0
    ) -> str:
        path = Path("/dev", name)
        os.mknod(path, (kind or stat.S_IFCHR) | mode, os.makedev(*numbers))
        path.chmod(mode)
        made.append(path)
        return str(path)

    yield make
    for path in made:
        path.unlink()


@pytest.fixture
def link() -> Iterator[Callable[[str], str]]:
    """Makes a link in the machine's /dev, and removes it."""
    path = Path("/dev", f"{NAME}-link")

    def make(target: str) -> str:
        path.symlink_to(target)
        return str(path)

    yield make
    path.unlink(missing_ok=True)


def having(spec: SandboxSpec, *names: str) -> SandboxSpec:
    return replace(spec, devices=tuple(Device(name=name) for name in names))


async def said(session: Session, program: str, *arguments: str) -> str:
    argv = ("/usr/bin/python3", "-c", program, *arguments)
    completed = await session.run(Command(argv=argv))
    assert completed.outcome.success, completed.stderr.decode()
    return completed.stdout.decode()


USE = """
import os, sys
file = os.open(sys.argv[1], os.O_RDWR)
print(os.write(file, b"hello"), os.read(file, 3))
"""


async def test_a_learner_reads_and_writes_the_device_that_was_asked_for(
    driver: LocalDriver, spec: SandboxSpec, node: MakeNode
) -> None:
    path = node()  # which none but root may open on the host
    async with open_session(driver, having(spec, path)) as session:
        assert await said(session, USE, path) == "5 b'\\x00\\x00\\x00'\n"


async def test_who_has_not_asked_does_not_even_see_it(
    driver: LocalDriver, spec: SandboxSpec, node: MakeNode
) -> None:
    path = node()
    look = "import os, sys; print(os.path.lexists(sys.argv[1]), sorted(os.listdir('/dev')))"
    async with (
        open_session(driver, having(spec, path)),
        open_session(driver, spec) as session,
    ):
        there, *names = (await said(session, look, path)).split(maxsplit=1)
        assert there == "False"
        assert NAME not in names[0]


SERIAL = """
import array, errno, fcntl, os, sys, termios, tty
file = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
tty.setraw(file)
settings = termios.tcgetattr(file)
settings[4] = settings[5] = termios.B9600
termios.tcsetattr(file, termios.TCSANOW, settings)
os.write(file, b"measure\\n")
got = os.read(file, 100)
for request in (termios.TIOCSTI, termios.TIOCSTI | 1 << 16 | 1 << 17, termios.TIOCCONS):
    try:
        fcntl.ioctl(file, request, b"x")
    except OSError as error:
        got += b" " + errno.errorcode[error.errno].encode()
print(got.decode())
"""


async def test_a_serial_port_is_talked_to(
    driver: LocalDriver, spec: SandboxSpec, link: Callable[[str], str]
) -> None:
    ours, theirs = os.openpty()
    try:
        tty.setraw(ours)
        os.fchmod(theirs, 0o666)
        port = link(os.ttyname(theirs).removeprefix("/dev/"))
        async with open_session(driver, having(spec, port)) as session:
            answering = asyncio.ensure_future(said(session, SERIAL, port))
            assert await asyncio.to_thread(os.read, ours, 100) == b"measure\n"
            os.write(ours, b"17 degrees")
            assert await answering == "17 degrees EPERM EPERM EPERM\n"
    finally:
        os.close(ours)
        os.close(theirs)


async def test_requests_that_only_devices_know_reach_them(
    driver: LocalDriver, spec: SandboxSpec, node: MakeNode
) -> None:
    """GPIO_GET_CHIPINFO_IOCTL: what isn't on the filter's list would be answered ENOSYS."""
    ask = """
import errno, fcntl, sys
try:
    fcntl.ioctl(open(sys.argv[1], "rb"), 0x8044B401, bytearray(68))
except OSError as error:
    print(errno.errorcode[error.errno])
"""
    path = node()
    async with open_session(driver, spec) as without:
        assert await said(without, ask, "/dev/zero") == "ENOSYS\n"
    async with open_session(driver, having(spec, path)) as session:
        assert await said(session, ask, path) == "ENOTTY\n"


async def test_the_filter_of_one_with_devices_is_no_other_ones(
    driver: LocalDriver, spec: SandboxSpec, node: MakeNode
) -> None:
    ask = """
import errno, fcntl
try:
    fcntl.ioctl(open("/dev/zero", "rb"), 0x8044B401, bytearray(68))
except OSError as error:
    print(errno.errorcode[error.errno])
"""
    seen = []
    for each in (having(spec, node()), spec, having(spec, "/dev/" + NAME), spec):
        async with open_session(driver, each) as session:
            seen.append(await said(session, ask))
    assert seen == ["ENOTTY\n", "ENOSYS\n", "ENOTTY\n", "ENOSYS\n"]


async def test_a_device_may_have_a_name_in_a_folder_which_is_a_link_to_it(
    driver: LocalDriver, spec: SandboxSpec, node: MakeNode
) -> None:
    path, folder = node(), Path("/dev", f"{NAME}-serial/by-id")
    folder.mkdir(parents=True)
    name = folder / "usb-1a86:0"
    try:
        name.symlink_to(path)
        async with open_session(driver, having(spec, str(name), path)) as session:
            for each in (str(name), path):
                assert await said(session, USE, each) == "5 b'\\x00\\x00\\x00'\n"
    finally:
        name.unlink(missing_ok=True)
        folder.rmdir()
        folder.parent.rmdir()


async def refusal(driver: LocalDriver, spec: SandboxSpec, name: str) -> str:
    with pytest.raises(DeviceUnavailable) as raised:
        await driver.create(having(spec, name))
    assert await driver.list() == []
    return raised.value.message


async def test_disks_memory_and_screens_are_shown_to_nobody_whatever_they_are_called(
    lean: LocalDriver, spec: SandboxSpec, node: MakeNode
) -> None:
    loop = node(f"{NAME}-loop", (7, 0), kind=stat.S_IFBLK)
    assert "is a disk: no environment can have it" in await refusal(lean, spec, loop)
    for number, numbers in enumerate([
        MEMORY, (1, 2), (1, 4), (1, 11), (4, 0), (4, 63), (5, 0), (5, 1), (5, 2), (7, 0), (21, 0),
        (10, 229), (10, 200), (10, 237),
    ]):  # fmt: skip
        if numbers[0] == 10 and not Path("/sys/dev/char", f"10:{numbers[1]}").exists():
            continue
        path = node(f"{NAME}-{number}", numbers)
        assert "whatever its operator allows" in await refusal(lean, spec, path), numbers


async def test_what_is_no_device_or_leads_out_of_dev_is_refused(
    lean: LocalDriver, spec: SandboxSpec, node: MakeNode, link: Callable[[str], str], tmp_path: Path
) -> None:
    assert "there is no /dev/assay-none" in await refusal(lean, spec, "/dev/assay-none")
    file = node(f"{NAME}-file", (0, 0), kind=stat.S_IFREG)
    assert await refusal(lean, spec, file) == f"{file} is no device"
    pipe = node(f"{NAME}-pipe", (0, 0), kind=stat.S_IFIFO)
    assert await refusal(lean, spec, pipe) == f"{pipe} is no device"
    outside = tmp_path / "zero"
    os.mknod(outside, stat.S_IFCHR | 0o666, os.makedev(*ZERO))
    assert "is not below /dev" in await refusal(lean, spec, link(str(outside)))


async def test_a_terminal_that_others_may_not_open_is_not_opened_up(
    lean: LocalDriver, spec: SandboxSpec, link: Callable[[str], str]
) -> None:
    ours, theirs = os.openpty()
    try:
        name = os.ttyname(theirs)
        message = await refusal(lean, spec, link(name))
        assert f"chmod o+rw {name}" in message
    finally:
        os.close(ours)
        os.close(theirs)


async def test_a_kernel_of_the_sandboxs_own_refuses_devices(
    runsc: LocalDriver, spec: SandboxSpec
) -> None:
    with pytest.raises(CapabilityMissing, match="the driver runsc can't show /dev/ttyUSB0"):
        await runsc.create(having(spec, "/dev/ttyUSB0"))


# --- the Container Device Interface ---------------------------------------------------------------


@pytest.fixture
def specification() -> Iterator[Callable[..., Path]]:
    """Writes one where all of this machine's are, and removes it."""
    folder, made = Path("/var/run/cdi"), []
    was_there = folder.exists()
    folder.mkdir(mode=0o755, exist_ok=True)

    def write(content: object, ending: str = "json") -> Path:
        path = folder / f"{NAME}-{len(made)}.{ending}"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        path.chmod(0o644)
        made.append(path)
        return path

    yield write
    for path in made:
        path.unlink()
    if not was_there:
        folder.rmdir()


def accelerator(path: str, **edits: object) -> dict[str, object]:
    nodes = [{"path": "/dev/accelerator/0", "hostPath": path, "permissions": "rw"}]
    return {
        "cdiVersion": "0.6.0",
        "kind": "assay.test/accelerator",
        "containerEdits": edits,
        "devices": [{"name": "0", "containerEdits": {"deviceNodes": nodes}}],
    }


async def test_all_that_belongs_to_a_device_is_shown_but_for_what_could_do_harm(
    driver: LocalDriver,
    spec: SandboxSpec,
    node: MakeNode,
    specification: Callable[..., Path],
    tmp_path: Path,
) -> None:
    library, data, ran = tmp_path / "lib.so.1", tmp_path / "data", tmp_path / "ran"
    library.write_text("library")
    data.mkdir()
    (data / "model").write_text("model")
    mounts = [
        {"hostPath": str(library), "containerPath": "/opt/vendor/lib/lib.so.1"},
        {"hostPath": str(data), "containerPath": "/opt/vendor/data", "options": ["rw", "bind"]},
        {"hostPath": "/usr/bin/python3", "containerPath": "/usr/bin/python3"},
        {"hostPath": "/etc/shadow", "containerPath": "/tmp/shadow"},
    ]
    hook = {"hookName": "createContainer", "path": "/usr/bin/touch", "args": ["touch", str(ran)]}
    specification(accelerator(node(), mounts=mounts, hooks=[hook], env=["ACCELERATOR=0"]))
    device = Device(name="assay.test/accelerator=0")
    assert cdi.variables([device]) == {"ACCELERATOR": "0"}
    assert len(cdi.find(device).left_out) == 2
    look = """
import os
os.chdir("/opt/vendor")
print(open("lib/lib.so.1").read(), open("data/model").read(), os.path.exists("/tmp/shadow"))
for path in ("lib/lib.so.1", "data/model", "data/new"):
    try:
        open(path, "w")
    except OSError as error:
        print(error.strerror)
"""
    async with open_session(driver, having(spec, device.name)) as session:
        assert await said(session, USE, "/dev/accelerator/0") == "5 b'\\x00\\x00\\x00'\n"
        readonly = "Read-only file system\n"
        assert await said(session, look) == "library model False\n" + 3 * readonly
    assert not ran.exists()


async def test_a_specification_can_not_give_what_no_environment_may_have(
    lean: LocalDriver, spec: SandboxSpec, node: MakeNode, specification: Callable[..., Path]
) -> None:
    name = "assay.test/accelerator=0"
    memory = node(f"{NAME}-memory", MEMORY)
    file = specification(accelerator(memory))
    assert "whatever its operator allows" in await refusal(lean, spec, name)
    file.write_text(json.dumps(accelerator("/dev/zero")))
    file.chmod(0o666)
    assert "by others than root" in await refusal(lean, spec, name)
    file.chmod(0o644)
    for target in ("/etc/passwd", "/dev/../etc/x", "/dev/shm/x", "/dev/null"):
        text = json.dumps(accelerator("/dev/zero")).replace("/dev/accelerator/0", target)
        file.write_text(text)
        assert "/etc/cdi" in await refusal(lean, spec, name)
    gone = {"hostPath": "/nowhere/lib.so", "containerPath": "/opt/lib.so"}
    file.write_text(json.dumps(accelerator("/dev/zero", mounts=[gone])))
    assert "write its specification anew" in await refusal(lean, spec, name)
    file.write_text("{")
    assert f"{file} is no specification" in await refusal(lean, spec, name)
    file.write_text(json.dumps(accelerator("/dev/zero")))
    specification(accelerator("/dev/full"))
    assert "remove one of them" in await refusal(lean, spec, name)
    assert "nvidia-ctk cdi generate" in await refusal(lean, spec, "nvidia.com/gpu=all")


async def test_specifications_are_yaml_as_well(
    lean: LocalDriver, spec: SandboxSpec, specification: Callable[..., Path]
) -> None:
    pytest.importorskip("yaml")
    specification(
        'cdiVersion: "0.5.0"\nkind: assay.test/accelerator\ndevices:\n- name: "0"\n'
        "  containerEdits:\n    deviceNodes:\n    - path: /dev/accelerator/0\n"
        "      hostPath: /dev/zero\n",
        "yaml",
    )
    async with open_session(lean, having(spec, "assay.test/accelerator=0")) as session:
        assert await said(session, USE, "/dev/accelerator/0") == "5 b'\\x00\\x00\\x00'\n"
