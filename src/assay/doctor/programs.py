"""Finds the runtimes on PATH, asks each for its version, and looks up its Debian package."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.doctor.facts import Package, Program
from assay.doctor.files import Files

_FOLDERS: Final = (
    "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin",
)  # fmt: skip
_SECONDS: Final = 1.0
_MOST_OF_A_CHANGELOG: Final = 4 * 1024 * 1024
_VERSION: Final = re.compile(r"(?:^|\s)(?:release-|v)?(\d[^\s,()]*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """A program worth looking for, and the packages that bring it."""

    name: str
    program: str
    packages: tuple[str, ...]


KNOWN: Final = (
    Known(name="crun", program="crun", packages=("crun",)),
    Known(name="runc", program="runc", packages=("runc", "containerd.io")),
    Known(name="docker", program="dockerd", packages=("docker.io", "docker-ce", "moby-engine")),
    Known(name="docker client", program="docker", packages=("docker-cli", "docker-ce-cli")),
    Known(name="containerd", program="containerd", packages=("containerd", "containerd.io")),
    Known(name="podman", program="podman", packages=("podman",)),
    Known(name="buildah", program="buildah", packages=("buildah",)),
    Known(name="skopeo", program="skopeo", packages=("skopeo",)),
    Known(name="lxc", program="lxc-start", packages=("lxc",)),
    Known(name="runsc", program="runsc", packages=("runsc",)),
    Known(name="qemu", program="qemu-system-x86_64", packages=("qemu-system-x86",)),
    Known(name="qemu", program="qemu-system-aarch64", packages=("qemu-system-arm",)),
    Known(name="kata", program="kata-runtime", packages=("kata-containers",)),
    Known(name="firecracker", program="firecracker", packages=("firecracker",)),
)  # fmt: skip


def find_programs(root: Path = Path("/"), path: str | None = None) -> tuple[Program, ...]:
    """Every known program that is there. `path` is a PATH; the usual folders are searched too."""
    files = Files(root)
    folders = [folder for folder in (path or "").split(os.pathsep) if folder.startswith("/")]
    searched = os.pathsep.join(str(files.at(folder)) for folder in (*folders, *_FOLDERS))
    there = [
        (known, found)
        for known in KNOWN
        if (found := shutil.which(known.program, path=searched)) is not None
    ]
    with ThreadPoolExecutor(max_workers=4) as threads:
        return tuple(threads.map(lambda pair: _described(files, *pair), there))


def _described(files: Files, known: Known, found: str) -> Program:
    path = found if files.root == Path("/") else f"/{Path(found).relative_to(files.root)}"
    return Program(
        name=known.name,
        path=path,
        version=_version(found),
        package=_package(files, path, known.packages),
    )


def _version(program: str) -> str | None:
    try:
        answer = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=_SECONDS, check=False, env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    found = _VERSION.search(answer.stdout)
    return found[1] if found else None


def _package(files: Files, path: str, candidates: tuple[str, ...]) -> Package | None:
    """The one of the candidates that is installed and holds the program."""
    # /bin and /sbin are links to those of /usr, or were before they were merged.
    names = {path, f"/usr{path}", path.removeprefix("/usr")}
    for candidate in candidates:
        listed = files.text(f"/var/lib/dpkg/info/{candidate}.list")
        if listed is not None and not names.isdisjoint(listed.splitlines()):
            version = _installed_version(files, candidate)
            if version is not None:
                return Package(
                    name=candidate, version=version, changelog=_changelog(files, candidate)
                )
    return None


def _installed_version(files: Files, package: str) -> str | None:
    status = "\n" + (files.text("/var/lib/dpkg/status") or "")
    _, found, after = status.partition(f"\nPackage: {package}\n")
    entry = after.partition("\n\n")[0]
    version = re.search(r"^Version: (\S+)", entry, re.M)
    return version[1] if found and version else None


def _changelog(files: Files, package: str) -> str | None:
    for name in ("changelog.Debian.gz", "changelog.gz"):
        file = files.at(f"/usr/share/doc/{package}/{name}")
        try:
            with gzip.open(file) as opened:
                return opened.read(_MOST_OF_A_CHANGELOG).decode(errors="replace")
        except (OSError, EOFError, zlib.error):
            continue
    return None
