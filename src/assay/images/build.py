"""Build an image from a Dockerfile: buildah's work, with storage of its own."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.domain.errors import AssayError, BuildFailed, ImageUnavailable, InvalidInput
from assay.images.fetch import Fetching, Found, copy_to_layout
from assay.images.image import Progress
from assay.images.program import Patience, run
from assay.images.words import explain

PATIENCE: Final = Patience(seconds=3600, silent_seconds=900)
"""A step may compile for minutes without a word."""

_CONFIGURATION: Final = Path("/etc/containers/registries.conf")
"""Where an operator tells buildah about registries."""

_MOST_FILES: Final = 100_000
_STEP: Final = re.compile(r"(?:\[[^\]]*\] )?STEP (\d+)/(\d+): (.*)")
_INSIDER: Final = re.compile(
    r"(?:ARG|CMD|ENTRYPOINT|ENV|EXPOSE|FROM|HEALTHCHECK|LABEL|MAINTAINER|ONBUILD|RUN(?!.*--mount)|SHELL"
    r"|STOPSIGNAL|USER|VOLUME|WORKDIR)\b",
    re.IGNORECASE,
)
"""A step that takes nothing from the context."""
_OF_A_BASE: Final = re.compile(
    r"initializing source docker:|pinging container registry|reading manifest"
)
"""In an error of buildah's: that it is about an image named by FROM."""

_NOWHERE: Final = "neither XDG_RUNTIME_DIR nor HOME was set"
"""What buildah says within a step, whatever is set, where its user may not write in /tmp."""

_SEARCH: Final = """\
# Where `FROM debian:12` is looked for.
unqualified-search-registries = ["docker.io"]
short-name-mode = "permissive"
"""
_LOOPBACK: Final = """
# Registries on this machine may speak plain HTTP.
[[registry]]
location = "127.0.0.1"
insecure = true

[[registry]]
location = "localhost"
insecure = true
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All that goes into an image."""

    dockerfile: Path
    context: Path
    arguments: Mapping[str, str]

    @property
    def text(self) -> str:
        """Its name; one that says more than the Dockerfile's path only where there is more."""
        if self.context == self.dockerfile.parent and not self.arguments:
            return str(self.dockerfile)
        others = repr((str(self.context), sorted(self.arguments.items())))
        return f"{self.dockerfile}#{hashlib.sha256(others.encode()).hexdigest()[:12]}"

    def inputs(self, *, context: bool = True) -> str:
        """A digest of the Dockerfile, the arguments, and the names and times of the `context`.

        Raises ImageUnavailable when something can't be read, InvalidInput for a context that
        nobody can mean.
        """
        try:
            digest = hashlib.sha256(self.dockerfile.read_bytes())
            digest.update(repr((sorted(self.arguments.items()), context)).encode())
            if not context:
                return digest.hexdigest()
            for number, line in enumerate(_tree(os.fspath(self.context), "")):
                if number > _MOST_FILES:
                    raise InvalidInput(
                        f"{self.context} holds more than {_MOST_FILES} files; give the Dockerfile "
                        "a folder of its own, with what it copies"
                    )
                digest.update(line)
        except OSError as error:
            raise ImageUnavailable(
                f"{error.filename or self.dockerfile} can't be read: {error.strerror}; "
                "name a Dockerfile, or a folder that has one"
            ) from error
        return digest.hexdigest()


def build(recipe: Recipe, storage: Path, fetching: Fetching, *, anew: bool) -> tuple[Found, bool]:
    """Build an image and copy it out of buildah's storage; say if its context can matter.

    With `anew` the images named by FROM are asked for again. Raises BuildFailed, ImageUnavailable
    when one of them can't be had, Unavailable when a program is missing, DiskFull.
    """
    buildah = _Buildah(storage)
    buildah.prepare()
    name = f"assay-{hashlib.sha256(recipe.text.encode()).hexdigest()[:32]}"
    steps = _Steps(recipe, fetching)
    ended = run(
        buildah.command(
            "bud", "--layers", "--isolation", "chroot", "--format", "oci",
            f"--pull={'always' if anew else 'false'}", "--file", str(recipe.dockerfile),
            "--tag", name,
            *(f"--build-arg={key}={value}" for key, value in sorted(recipe.arguments.items())),
            str(recipe.context),
        ),
        package="buildah",
        patience=PATIENCE,
        variables={"TMPDIR": str(fetching.draft), **buildah.variables},
        on_line=steps.see,
    )  # fmt: skip
    if ended.status != 0:
        raise _failure(recipe, ended.status, ended.words)
    found = copy_to_layout(buildah.image(name), recipe.text, fetching, within=buildah.within)
    return found, steps.use_context


class _Buildah:
    """How buildah, and skopeo after it, are called so that both use the same storage."""

    within = ("unshare", "--mount", "--propagation", "private", "--")
    """What is mounted for a build is gone when it ends, however it ends."""

    def __init__(self, storage: Path) -> None:
        self._storage = storage / "storage"
        self._run = storage / "run"
        self._registries = storage / "registries.conf"

    def prepare(self) -> None:
        self._storage.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._registries.write_text(_registries())

    @property
    def variables(self) -> dict[str, str]:
        return {"CONTAINERS_REGISTRIES_CONF": str(self._registries)}

    def command(self, *arguments: str) -> list[str]:
        return [
            *self.within, "buildah",
            "--root", str(self._storage), "--runroot", str(self._run),
            "--storage-driver", "overlay", *arguments,
        ]  # fmt: skip

    def image(self, name: str) -> str:
        return f"containers-storage:[overlay@{self._storage}+{self._run}]localhost/{name}:latest"


class _Steps:
    """Makes progress of what buildah writes."""

    def __init__(self, recipe: Recipe, fetching: Fetching) -> None:
        self._recipe = recipe
        self._fetching = fetching
        self._seen = 0
        self._outsiders = 0

    @property
    def use_context(self) -> bool:
        """Whether any step can have taken something from the context.

        What is in the Dockerfile is not enough to tell: what it is FROM may have ONBUILD.
        """
        return self._outsiders > 0 or self._seen == 0

    def see(self, line: str) -> None:
        if found := _STEP.fullmatch(line):
            self._seen += 1
            self._outsiders += _INSIDER.match(found[3]) is None
            self._fetching.on_progress(
                Progress(
                    step=f"building {self._recipe.text}: {found[3][:200]}",
                    done=int(found[1]),
                    total=int(found[2]),
                    unit="steps",
                )
            )


def _failure(recipe: Recipe, status: int | None, words: str) -> AssayError:
    if status is None:
        return BuildFailed(f"building {recipe.text} took too long", detail=words[-4000:])
    if _NOWHERE in words:
        return BuildFailed(
            f"{recipe.text} could not be built: this user may not write in /tmp, where buildah"
            " does; open it to all: chmod 1777 /tmp",
            detail=words[-4000:],
        )
    errors = [line for line in words.splitlines() if line.lower().startswith("error:")]
    last = errors[-1] if errors else (words.splitlines() or ["no reason was given"])[-1]
    if _OF_A_BASE.search(last) or "no space left on device" in last:
        return explain(f"an image that {recipe.text} builds on", last)
    return BuildFailed(f"{recipe.text} could not be built: {last[:500]}", detail=words[-4000:])


def _tree(folder: str, path: str) -> Iterator[bytes]:
    """A line for each thing of a folder, which changes when it does."""
    with os.scandir(folder) as items:
        found = sorted(items, key=lambda item: item.name)
    for item in found:
        facts = item.stat(follow_symlinks=False)
        target = os.readlink(item.path) if stat.S_ISLNK(facts.st_mode) else ""
        size = 0 if stat.S_ISDIR(facts.st_mode) else facts.st_size
        when = 0 if stat.S_ISDIR(facts.st_mode) else facts.st_mtime_ns
        yield os.fsencode(f"{path}{item.name}\0{facts.st_mode}\0{size}\0{when}\0{target}\n")
        if item.is_dir(follow_symlinks=False):
            yield from _tree(item.path, f"{path}{item.name}/")


def _registries() -> str:
    """What the operator has said about registries, and what goes without saying."""
    try:
        said = _CONFIGURATION.read_text()
        known = tomllib.loads(said)
    except (OSError, ValueError):
        said, known = "", {}
    together = said + _LOOPBACK
    if "unqualified-search-registries" not in known:
        together = _SEARCH + together
    try:
        tomllib.loads(together)
    except ValueError:  # a list in another form, which nothing can be added to
        return said
    return together
