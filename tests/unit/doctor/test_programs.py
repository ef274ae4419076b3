from __future__ import annotations

import gzip
import time
from pathlib import Path

import pytest

from assay.doctor.facts import Program
from assay.doctor.programs import find_programs


def install(root: Path, path: str, says: str) -> None:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{says}\n")
    file.chmod(0o755)


def found(root: Path, path: str | None = None) -> dict[str, Program]:
    return {program.name: program for program in find_programs(root, path)}


@pytest.mark.parametrize(
    ("program", "says", "name", "version"),
    [
        ("crun", "echo 'crun version 1.8.1'; echo 'commit: f8a09'", "crun", "1.8.1"),
        ("runc", "echo 'runc version 1.1.5+ds1'", "runc", "1.1.5+ds1"),
        ("dockerd", "echo 'Docker version 20.10.24+d, build 5d6db84'", "docker", "20.10.24+d"),
        ("containerd", "echo 'containerd containerd.io v1.7.27 05044e'", "containerd", "1.7.27"),
        ("podman", "echo 'podman version 4.3.1'", "podman", "4.3.1"),
        ("buildah", "echo 'buildah version 1.28.2 (image-spec 1.1.0)'", "buildah", "1.28.2"),
        ("lxc-start", "echo 5.0.2", "lxc", "5.0.2"),
        ("runsc", "echo 'runsc version release-20240729.0'", "runsc", "20240729.0"),
        ("qemu-system-x86_64", "echo 'QEMU emulator version 7.2.15 (Debian)'", "qemu", "7.2.15"),
        ("kata-runtime", "echo 'kata-runtime  : 3.2.0'", "kata", "3.2.0"),
        ("firecracker", "echo 'Firecracker v1.5.0'", "firecracker", "1.5.0"),
        ("skopeo", "exit 3", "skopeo", None),
    ],
)  # fmt: skip
def test_every_program_is_asked_for_its_version(
    tmp_path: Path, program: str, says: str, name: str, version: str | None
) -> None:
    install(tmp_path, f"/usr/bin/{program}", says)
    assert found(tmp_path)[name] == Program(
        name=name, path=f"/usr/bin/{program}", version=version, package=None
    )


def test_a_program_that_hangs_has_no_version(tmp_path: Path) -> None:
    install(tmp_path, "/usr/bin/crun", "exec sleep 60")
    began = time.monotonic()
    assert found(tmp_path)["crun"].version is None
    assert time.monotonic() - began < 30


def test_what_is_on_path_comes_before_the_usual_folders(tmp_path: Path) -> None:
    install(tmp_path, "/opt/bin/crun", "echo crun version 2.0")
    install(tmp_path, "/usr/bin/crun", "echo crun version 1.0")
    assert found(tmp_path, "relative:/opt/bin")["crun"].path == "/opt/bin/crun"


def packaged(root: Path, package: str, version: str, changelog: str | None, *paths: str) -> None:
    dpkg = root / "var/lib/dpkg"
    (dpkg / "info").mkdir(parents=True, exist_ok=True)
    (dpkg / "info" / f"{package}.list").write_text("\n".join(paths))
    with (dpkg / "status").open("a") as status:
        status.write(f"Package: {package}\nStatus: install ok installed\nVersion: {version}\n\n")
    if changelog is not None:
        folder = root / "usr/share/doc" / package
        folder.mkdir(parents=True)
        (folder / "changelog.Debian.gz").write_bytes(gzip.compress(changelog.encode()))


def test_the_package_of_a_program_is_found_with_its_changelog(tmp_path: Path) -> None:
    install(tmp_path, "/usr/sbin/runc", "echo runc version 1.1.5+ds1")
    packaged(tmp_path, "crun", "9", None, "/usr/bin/crun")
    packaged(tmp_path, "runc", "1.1.5+ds1-1+deb12u1", "CVE-2024-21626", "/.", "/sbin/runc")
    package = found(tmp_path)["runc"].package
    assert package is not None
    assert (package.name, package.version) == ("runc", "1.1.5+ds1-1+deb12u1")
    assert package.changelog == "CVE-2024-21626"


def test_a_program_of_nobody_has_no_package(tmp_path: Path) -> None:
    install(tmp_path, "/usr/local/bin/runc", "echo runc version 1.4.0")
    packaged(tmp_path, "runc", "1.1.5-1", None, "/usr/sbin/runc")
    assert found(tmp_path)["runc"].package is None


def test_a_broken_changelog_is_no_changelog(tmp_path: Path) -> None:
    install(tmp_path, "/usr/bin/crun", "echo crun version 1.8.1")
    packaged(tmp_path, "crun", "1.8.1-1", "text", "/usr/bin/crun")
    (tmp_path / "usr/share/doc/crun/changelog.Debian.gz").write_bytes(b"\x1f\x8b broken")
    package = found(tmp_path)["crun"].package
    assert package is not None
    assert package.changelog is None
