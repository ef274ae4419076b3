"""Images made of this machine's own files, as layouts on disk: nothing is downloaded for them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from assay.images.manifest import this_architecture

_QUERY: Final = ("dpkg-query", "--show", "--showformat", "${Essential} ${Package}\n")
_DEPENDENCIES: Final = (
    "dpkg-query", "--show", "--showformat", "${Package}\t${Pre-Depends}, ${Depends}\n",
)  # fmt: skip
_OF_INDEX: Final = "application/vnd.oci.image.manifest.v1+json"
_OF_CONFIGURATION: Final = "application/vnd.oci.image.config.v1+json"
_OF_LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A file, a folder (`content` None) or a symbolic link (`link`) of a layer."""

    path: str
    content: bytes | None = None
    link: str = ""
    mode: int = 0o755
    user: int = 0
    group: int = 0


def write_layout(
    folder: Path, layers: Sequence[Iterable[Item]], programs: Mapping[str, Any] | None = None
) -> str:
    """Write an image into a new folder, and return its reference.

    `programs` is the "config" of an image's configuration: Entrypoint, Env, User and so on.
    """
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    archives = [_archive(layer) for layer in layers]
    configuration = {
        "architecture": this_architecture(),
        "os": "linux",
        "config": dict(programs or {}),
        "rootfs": {"type": "layers", "diff_ids": [_digest(archive) for archive in archives]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _OF_INDEX,
        "config": _blob(blobs, _OF_CONFIGURATION, _json(configuration)),
        "layers": [
            _blob(blobs, _OF_LAYER, gzip.compress(archive, 1, mtime=0)) for archive in archives
        ],
    }
    index = {"schemaVersion": 2, "manifests": [_blob(blobs, _OF_INDEX, _json(manifest))]}
    (folder / "index.json").write_bytes(_json(index))
    (folder / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    return f"oci:{folder}"


def file_of_machine(path: str, at: str | None = None) -> Item:
    """A file of this machine, where it is here unless told otherwise."""
    source = Path(path)
    if source.is_symlink() and at is None:
        return Item(path=path, link=str(source.readlink()))
    if source.is_dir():
        return Item(path=path, mode=source.stat().st_mode & 0o755)
    mode = source.stat().st_mode & 0o777 | 0o444
    return Item(path=at or path, content=source.read_bytes(), mode=mode)


def essential_system(*more: str) -> list[Item] | None:
    """The packages that every Debian or Ubuntu has, as installed here; None elsewhere.

    With `more` packages, and what they depend on.
    """
    try:
        listed = _output(*_QUERY)
        needed = closure(more, _output(*_DEPENDENCIES)) if more else set()
    except (OSError, subprocess.CalledProcessError):
        return None
    packages = [line.split()[1] for line in listed.splitlines() if line.startswith("yes ")]
    wanted = sorted({*packages, *needed, "libc6", "base-files"})
    paths = set(_output("dpkg-query", "--listfiles", *wanted).splitlines())
    found = {"/bin/sh": Item(path="/usr/bin/sh", link="dash")} if packages else {}
    for path in sorted(paths):
        if path.startswith("/") and not path.startswith(("/etc", "/usr/share", "/var", "/.")):
            real = _merged(path)
            if Path(real).exists() and real != "/":
                found[real] = file_of_machine(real)
    return [*_merged_links(), *found.values()] if found else None


def closure(packages: Iterable[str], known: str) -> set[str]:
    """Packages with all that they need, of lines "package TAB dependencies" of what is here."""
    needs = {
        name: [word.strip().split()[0].partition(":")[0]
               for word in re.split("[,|]", said) if word.strip()]
        for name, _, said in (line.partition("\t") for line in known.splitlines())
    }  # fmt: skip
    found: set[str] = set()
    open_ones = [each for each in packages if each in needs]
    while open_ones:
        package = open_ones.pop()
        found.add(package)
        open_ones += [each for each in needs[package] if each in needs and each not in found]
    return found


def _merged(path: str) -> str:
    """Packages say /bin/ls; where /bin is a link, the file is in /usr."""
    top = Path("/", path.split("/")[1])
    return f"/usr{path}" if top.is_symlink() and not path.startswith("/usr") else path


def _merged_links() -> Iterator[Item]:
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        top = Path("/", name)
        if top.is_symlink():
            yield Item(path=f"/{name}", link=str(top.readlink()))


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def _archive(items: Iterable[Item]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for item in items:
            entry = tarfile.TarInfo(item.path.lstrip("/"))
            entry.mode, entry.uid, entry.gid = item.mode, item.user, item.group
            if item.link:
                entry.type, entry.linkname = tarfile.SYMTYPE, item.link
                archive.addfile(entry)
            elif item.content is None:
                entry.type = tarfile.DIRTYPE
                archive.addfile(entry)
            else:
                entry.size = len(item.content)
                archive.addfile(entry, io.BytesIO(item.content))
    return written.getvalue()


def _blob(blobs: Path, kind: str, content: bytes) -> dict[str, Any]:
    digest = _digest(content)
    (blobs / digest.removeprefix("sha256:")).write_bytes(content)
    return {"mediaType": kind, "digest": digest, "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _json(data: Any) -> bytes:
    return json.dumps(data).encode()
