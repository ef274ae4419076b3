"""Where things are on this machine: flags over ASSAY_* variables over a file over defaults."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from assay.domain.errors import InvalidInput

CONFIGURATION: Final = Path("/etc/assay/assay.toml")
"""Read when it is there; ASSAY_CONFIG names another file, which must be there."""

RUNTIMES: Final = ("crun", "runc", "runsc")
"""Programs whose place can be set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What the operator of a machine decides.

    | flag             | variable           | key in the file | default                  |
    |------------------|--------------------|-----------------|--------------------------|
    | `--state`        | ASSAY_STATE        | state           | /run/assay               |
    |                  | ASSAY_IMAGES       | images          | /var/lib/assay/images    |
    | `--environments` | ASSAY_ENVIRONMENTS | environments    | none besides Assay's own |
    | `--driver`       | ASSAY_DRIVER       | driver          | the fastest that works   |
    |                  | ASSAY_CRUN         | runtimes.crun   | crun, on PATH            |
    |                  | ASSAY_RUNC         | runtimes.runc   | runc, on PATH            |
    |                  | ASSAY_RUNSC        | runtimes.runsc  | runsc, on PATH           |

    Who isn't root has $XDG_RUNTIME_DIR/assay in the place of /run/assay, and
    $XDG_DATA_HOME/assay/images (~/.local/share/assay/images) in that of /var/lib/assay/images.
    """

    state: Path
    """Sandboxes and findings of this machine; worth nothing after a restart of it."""
    images: Path
    """Images that were pulled or built, unpacked; they outlive a restart."""
    environments: tuple[Path, ...] = ()
    """Folders of environments, searched before those that come with Assay."""
    driver: str | None = None
    """The driver to use when none is named; None: find out."""
    runtimes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """By driver: the program to call instead of the one on PATH."""


def read_settings(
    *,
    state: str | None = None,
    environments: tuple[str, ...] = (),
    driver: str | None = None,
    variables: Mapping[str, str] | None = None,
    configuration: Path = CONFIGURATION,
) -> Settings:
    """Read the settings; arguments are flags. Raises InvalidInput: where, and what is wrong."""
    variables = os.environ if variables is None else variables
    document = _Document.read(variables.get("ASSAY_CONFIG", ""), configuration)
    found_state = _first(state, variables.get("ASSAY_STATE"), document.path("state"))
    found_images = _first(variables.get("ASSAY_IMAGES"), document.path("images"))
    named = tuple(filter(None, variables.get("ASSAY_ENVIRONMENTS", "").split(os.pathsep)))
    written = document.paths("environments")
    folders = _paths(environments) or _paths(named) or written
    runtimes = {**document.runtimes(), **_runtimes_of(variables)}
    settings = Settings(
        state=_path(found_state) if found_state else _default_state(variables),
        images=_path(found_images) if found_images else _default_images(variables),
        environments=folders,
        driver=_first(driver, variables.get("ASSAY_DRIVER"), document.text("driver")),
        runtimes=MappingProxyType(runtimes),
    )
    document.refuse_unknown()
    return settings


class _Document:
    """The file. Every key that is asked for is a known one; others are refused at the end."""

    def __init__(self, file: Path, content: dict[str, Any]) -> None:
        self._file = file
        self._content = content
        self._known: set[str] = set()

    @classmethod
    def read(cls, named: str, otherwise: Path) -> _Document:
        file = Path(named) if named else otherwise
        try:
            return cls(file, tomllib.loads(file.read_text()))
        except FileNotFoundError:
            if named:
                raise InvalidInput(f"ASSAY_CONFIG: there is no file {named}") from None
            return cls(file, {})
        except OSError as error:
            raise InvalidInput(f"{file}: {error.strerror}; make it readable") from error
        except ValueError as error:
            raise InvalidInput(f"{file}: this is not TOML: {error}") from error

    def text(self, key: str) -> str | None:
        value = self._take(key)
        if value is not None and (not isinstance(value, str) or not value):
            raise self._wrong(key, 'a text, such as "crun"')
        return value

    def path(self, key: str) -> str | None:
        value = self.text(key)
        if value is not None and not value.startswith("/"):
            raise self._wrong(key, 'an absolute path, such as "/run/assay"')
        return value

    def paths(self, key: str) -> tuple[Path, ...]:
        values = self._take(key)
        values = [] if values is None else values
        if not isinstance(values, list) or not all(
            isinstance(value, str) and value.startswith("/") for value in values
        ):
            raise self._wrong(key, 'a list of absolute paths, such as ["/srv/environments"]')
        return tuple(Path(value) for value in values)

    def runtimes(self) -> dict[str, str]:
        table = self._take("runtimes")
        table = {} if table is None else table
        if not isinstance(table, dict):
            raise self._wrong("runtimes", 'a table, such as: crun = "/opt/crun/bin/crun"')
        for name, program in table.items():
            if name not in RUNTIMES:
                known = ", ".join(RUNTIMES)
                raise InvalidInput(f"{self._file}: runtimes.{name}: there are only {known}")
            if not isinstance(program, str) or not program:
                raise self._wrong(f"runtimes.{name}", "a program's name or path")
        return dict(table)

    def refuse_unknown(self) -> None:
        unknown = sorted(self._content.keys() - self._known)
        if unknown:
            known = ", ".join(sorted(self._known))
            raise InvalidInput(f"{self._file}: {unknown[0]}: there is no such key; keys: {known}")

    def _take(self, key: str) -> Any:
        self._known.add(key)
        return self._content.get(key)

    def _wrong(self, key: str, wanted: str) -> InvalidInput:
        return InvalidInput(f"{self._file}: {key}: this must be {wanted}")


def _runtimes_of(variables: Mapping[str, str]) -> dict[str, str]:
    found = {name: variables.get(f"ASSAY_{name.upper()}", "") for name in RUNTIMES}
    return {name: program for name, program in found.items() if program}


def _default_state(variables: Mapping[str, str]) -> Path:
    if os.geteuid() == 0:
        return Path("/run/assay")
    return Path(variables.get("XDG_RUNTIME_DIR") or f"/tmp/assay-{os.geteuid()}", "assay")


def _default_images(variables: Mapping[str, str]) -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/assay/images")
    data = variables.get("XDG_DATA_HOME")
    return Path(data or Path.home() / ".local/share", "assay/images")


def _first(*values: str | None) -> str | None:
    return next((value for value in values if value), None)


def _paths(values: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(_path(value) for value in values)


def _path(value: str) -> Path:
    if "\0" in value:
        raise InvalidInput("the path of a folder holds no NUL")
    return Path(value).absolute()
