"""Wheels for both machines: made twice, and installed where neither compiler nor checkout is."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
MACHINES = ("x86_64", "aarch64")
HERE = os.uname().machine
NATIVE = ROOT / "src" / "assay" / "native"
PLATFORMS = ("manylinux_2_17", "manylinux2014", "musllinux_1_1")


def lacking(message: str) -> NoReturn:
    pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)


def build(folder: Path, machine: str) -> Path:
    if not (NATIVE / machine / "agent").is_file():
        lacking(f"lacks the programs for {machine}: make -C agent MACHINE={machine}")
    subprocess.run(
        [Path(sys.prefix, "bin", "hatchling"), "build", "--target", "wheel", "--directory", folder],
        cwd=ROOT,
        env={**os.environ, "ASSAY_MACHINE": machine, "SOURCE_DATE_EPOCH": "1700000000"},
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob(f"*_{machine}.whl")
    return wheel


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("wheels")
    return {machine: build(folder, machine) for machine in MACHINES}


def test_two_builds_are_equal_to_the_byte(wheels: dict[str, Path], tmp_path: Path) -> None:
    for machine, wheel in wheels.items():
        again = build(tmp_path, machine)
        assert again.name == wheel.name
        assert digest(again) == digest(wheel)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("machine", MACHINES)
def test_a_wheel_holds_one_machines_programs_and_says_so(
    wheels: dict[str, Path], machine: str
) -> None:
    with zipfile.ZipFile(wheels[machine]) as wheel:
        names = wheel.namelist()
        (about,) = (name for name in names if name.endswith("/WHEEL"))
        tags = set(re.findall(r"^Tag: (\S+)$", wheel.read(about).decode(), re.MULTILINE))
        modes = {info.filename: info.external_attr >> 16 for info in wheel.infolist()}
    programs = {name for name in names if "/native/" in name}

    assert programs == {
        f"assay/native/{machine}/{name}"
        for name in ("agent", "grading", "guest", "lean", "probe", "floor")
    }
    assert all(modes[name] & 0o111 for name in programs)
    assert tags == {f"py3-none-{platform}_{machine}" for platform in PLATFORMS}
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert "assay/_environments/python/environment.toml" in names
    assert "assay/_courses/introduction/greeting/task.toml" in names
    assert "assay/storage/migrations/env.py" in names
    assert any(name.startswith("assay/storage/migrations/versions/v0001") for name in names)
    assert not any(name.startswith(("tests", "build_wheel")) for name in names)


@pytest.mark.parametrize(
    ("machine", "platforms"),
    [
        ("x86_64", ["musllinux_1_2", "musllinux_1_1"]),
        ("aarch64", ["manylinux_2_28", "manylinux_2_17"]),
    ],
)
def test_pip_chooses_the_wheel_of_its_machine(
    wheels: dict[str, Path], machine: str, platforms: list[str], tmp_path: Path
) -> None:
    """Platforms: what pip on such a system takes, its own first."""
    pip(
        *("install", "--no-index", "--find-links", str(wheels[machine].parent), "--no-deps"),
        *("--target", str(tmp_path), "--only-binary", ":all:", "--no-compile"),
        *[word for name in platforms for word in ("--platform", f"{name}_{machine}")],
        "assay",
    )
    assert [path.name for path in (tmp_path / "assay" / "native").iterdir()] == [machine]


def pip(*arguments: str, **environment: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr


# --- an empty place -------------------------------------------------------------------------------


def locked_dependencies() -> str:
    """The lines of the lock for what Assay needs to run, and what that needs."""
    lock = (ROOT / "requirements.lock").read_text()
    blocks = dict(re.findall(r"^([a-z0-9-]+)(==(?:.*\\\n)+.*\n)", lock, re.MULTILINE))
    wanted, found = ["assay"], set[str]()
    while wanted:
        for line in metadata.requires(wanted.pop()) or []:
            name = re.split(r"[^A-Za-z0-9-]", line)[0].lower()
            if "extra ==" not in line and name in blocks and name not in found:
                found.add(name)
                wanted.append(name)
    return "".join(name + blocks[name] for name in sorted(found))


@pytest.fixture(scope="module")
def installed(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fresh virtual environment with the wheel and what it needs; its folder of programs."""
    if HERE not in wheels:
        pytest.skip(f"there is no wheel for {HERE}")
    folder = tmp_path_factory.mktemp("empty")
    home, place = folder / "home", folder / "venv"
    home.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    into = ("--python", str(place / "bin" / "python"), "install", "--no-compile")
    (folder / "needed.txt").write_text(locked_dependencies())
    try:
        pip(*into, "--require-hashes", "-r", str(folder / "needed.txt"))
    except AssertionError as error:
        lacking(f"the index that pip uses can't be reached: {error}")
    pip(*into, "--no-index", "--find-links", str(wheels[HERE].parent), "assay", HOME=str(home))
    yield place / "bin"
    shutil.rmtree(folder)


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`assay ARGUMENTS` with an empty home and a PATH that has the runtime and no compiler."""
    tools = installed.parent.parent / "tools"
    tools.mkdir(exist_ok=True)
    runtime = shutil.which("crun", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if runtime is None:
        lacking("lacks crun")
    (tools / "crun").unlink(missing_ok=True)
    (tools / "crun").symlink_to(runtime)
    home = installed.parent.parent / "home"
    return subprocess.run(
        [installed / "assay", *arguments],
        env={
            "PATH": str(tools),
            "HOME": str(home),
            "ASSAY_STATE": str(home / "state"),
            "ASSAY_IMAGES": str(home / "images"),
        },
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_installed_command_says_its_version(installed: Path) -> None:
    assert run(installed, "--version").stdout == f"assay {metadata.version('assay')}\n"


@pytest.mark.root
def test_the_installed_command_runs_a_program_in_a_sandbox(installed: Path) -> None:
    (installed.parent.parent / "home" / "hello.py").write_text("print('from a wheel')\n")
    ran = run(installed, "run", "hello.py")
    assert (ran.stdout, ran.returncode) == ("from a wheel\n", 0), ran.stderr


def test_the_other_machines_wheel_holds_an_agent_that_starts(
    wheels: dict[str, Path], tmp_path: Path
) -> None:
    (other,) = set(MACHINES) - {HERE}
    with zipfile.ZipFile(wheels[other]) as wheel:
        agent = Path(wheel.extract(f"assay/native/{other}/agent", tmp_path))
    agent.chmod(0o755)
    emulator = shutil.which(f"qemu-{other}-static")
    if emulator is None:
        lacking(f"lacks qemu-{other}-static (package qemu-user-static)")
    ran = subprocess.run([emulator, agent], capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr.startswith("usage: agent")


# --- the client -----------------------------------------------------------------------------------


def build_client(folder: Path) -> list[Path]:
    subprocess.run(
        [Path(sys.prefix, "bin", "hatchling"), "build", "--directory", folder],
        cwd=ROOT / "sdk",
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
        check=True,
        capture_output=True,
    )
    return sorted(folder.glob("assay_client*"))


def test_the_clients_wheel_is_typed_reproducible_and_needs_nothing_of_the_server(
    tmp_path: Path,
) -> None:
    one, two = build_client(tmp_path / "one"), build_client(tmp_path / "two")
    assert [digest(path) for path in one] == [digest(path) for path in two]
    (wheel,) = (path for path in one if path.suffix == ".whl")
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
        (about,) = (name for name in names if name.endswith("/METADATA"))
        needed = re.findall(r"^Requires-Dist: (\S+)", opened.read(about).decode(), re.MULTILINE)
    assert "assay_client/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert all(name.startswith("assay_client") for name in names)
    assert {re.split(r"[^a-z]", need)[0] for need in needed} == {"aiohttp", "msgspec"}
