"""What may stand after `--image`: a registry's image, a layout, an archive, or a Dockerfile."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.domain.errors import InvalidInput

_MOST_CHARACTERS: Final = 4096
_HEX: Final = re.compile(r"sha256:[0-9a-f]{64}")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-f:]+\])(?::\d{1,5})?"
)
_PART: Final = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_LOOPBACK: Final = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class FromRegistry:
    """An image of a registry, by tag or by digest."""

    repository: str
    """With the registry's host where one was given: "debian", "registry:5000/a/b"."""
    tag: str | None = None
    digest: str | None = None

    @property
    def text(self) -> str:
        """The one way to write it."""
        return (
            f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"
        )

    @property
    def loopback(self) -> bool:
        """Whether the registry is on this machine, where plain HTTP is as good as HTTPS."""
        return _LOOPBACK.fullmatch(self.repository.partition("/")[0]) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class FromLayout:
    """An image of a folder in OCI's layout."""

    folder: Path
    tag: str | None = None

    @property
    def text(self) -> str:
        """The one way to write it."""
        return f"oci:{self.folder}" + (f":{self.tag}" if self.tag else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class FromArchive:
    """An image of a file that `docker save` wrote."""

    file: Path
    name: str | None = None
    """Which of several, as it was called: "debian:12"."""

    @property
    def text(self) -> str:
        """The one way to write it, skopeo's too."""
        return f"docker-archive:{self.file}" + (f":{self.name}" if self.name else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class FromDockerfile:
    """An image that is built."""

    dockerfile: Path

    @property
    def text(self) -> str:
        """The one way to write it."""
        return str(self.dockerfile)


Source = FromRegistry | FromLayout | FromArchive | FromDockerfile


def parse(reference: str) -> Source:
    """Say what a reference names; relative paths are from the current folder.

    Raises InvalidInput. Whether it is there is not looked at, but that a Dockerfile may be named
    by its folder.
    """
    if not reference or len(reference) > _MOST_CHARACTERS or not reference.isprintable():
        raise InvalidInput(
            f"this cannot be an image: {reference[:80]!r}; "
            'say "debian:12", "oci:FOLDER", "docker-archive:FILE" or "./FOLDER-WITH-A-DOCKERFILE"'
        )
    kind, _, rest = reference.partition(":")
    if kind == "oci":
        path, tag = _path_and_tag(rest, reference)
        return FromLayout(folder=path, tag=tag)
    if kind == "docker-archive":
        file, _, name = rest.partition(":")
        if not file:
            raise InvalidInput(f"{reference!r} names no file; say docker-archive:FILE")
        if name:
            _registry(name, reference)
        return FromArchive(file=Path(os.path.abspath(file)), name=name or None)
    if reference.startswith(("./", "../", "/")) or reference in (".", ".."):
        return FromDockerfile(dockerfile=_dockerfile(Path(reference)))
    return _registry(reference.removeprefix("docker://"), reference)


def _dockerfile(path: Path) -> Path:
    absolute = Path(os.path.abspath(path))
    return absolute / "Dockerfile" if absolute.is_dir() else absolute


def _path_and_tag(text: str, reference: str) -> tuple[Path, str | None]:
    """Split at the last colon, unless what follows belongs to the path."""
    path, colon, tag = text.rpartition(":")
    if not colon or "/" in tag:
        path, tag = text, ""
    if not path:
        raise InvalidInput(f"{reference!r} names no folder; say oci:FOLDER or oci:FOLDER:TAG")
    if tag and not _TAG.fullmatch(tag):
        raise InvalidInput(f"{reference!r}: {tag!r} is no tag; letters, digits and . _ - only")
    return Path(os.path.abspath(path)), tag or None


def _registry(text: str, reference: str) -> FromRegistry:
    rest, at, digest = text.partition("@")
    if at and not _HEX.fullmatch(digest):
        raise InvalidInput(f"{reference!r}: after @ comes sha256: and 64 small hexadecimal digits")
    path, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        path, tag = rest, ""
    elif not _TAG.fullmatch(tag):
        raise InvalidInput(f"{reference!r}: {tag!r} is no tag; letters, digits and . _ - only")
    _check_repository(path, reference)
    if digest:
        return FromRegistry(repository=path, digest=digest)
    return FromRegistry(repository=path, tag=tag or "latest")


def _check_repository(path: str, reference: str) -> None:
    first, slash, rest = path.partition("/")
    has_host = slash and ("." in first or ":" in first or first == "localhost")
    if has_host and not _HOST.fullmatch(first):
        raise InvalidInput(f"{reference!r}: {first!r} is no registry's name")
    parts = (rest if has_host else path).split("/")
    if len(path) > 255 or not all(_PART.fullmatch(part) for part in parts):
        raise InvalidInput(
            f"{reference!r} is no image's name: small letters, digits and . _ - between slashes; "
            "a Dockerfile is named by a path that begins with ./ or /"
        )
