"""The configuration file: /etc/assay/assay.toml, or the one that ASSAY_CONFIG names."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from assay.domain.errors import InvalidInput

CONFIGURATION: Final = Path("/etc/assay/assay.toml")
"""Read when it is there; ASSAY_CONFIG names another file, which must be there."""

RUNTIMES: Final = (
    "lean",
    "crun",
    "runc",
    "runsc",
    "lxc",
    "docker",
    "podman",
    "qemu",
    "firecracker",
)
"""Programs, and engines, whose place can be set."""

SERVER: Final = "server"
"""The table of `assay serve`, which other commands leave alone."""

NODE: Final = "node"
"""The table of `assay node`, likewise."""

NODES: Final = "nodes"
"""The table that says where nodes are."""


class Document:
    """The file. Every key that is asked for is a known one; others are refused at the end."""

    def __init__(self, file: Path, content: dict[str, Any]) -> None:
        self._file = file
        self._content = content
        self._known: set[str] = set()

    @classmethod
    def read(cls, variables: Mapping[str, str], otherwise: Path) -> Document:
        """Read the file that the variables name, else `otherwise`. Raises InvalidInput."""
        named = variables.get("ASSAY_CONFIG", "")
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

    @property
    def file(self) -> Path:
        """Where it is, for messages."""
        return self._file

    def table(self, key: str) -> dict[str, Any]:
        """A table, empty if it is not there; what is in it is the caller's to check."""
        value = self._take(key)
        value = {} if value is None else value
        if not isinstance(value, dict):
            raise self._wrong(key, f"a table: [{key}]")
        return value

    def text(self, key: str) -> str | None:
        """A text, or None."""
        value = self._take(key)
        if value is not None and (not isinstance(value, str) or not value):
            raise self._wrong(key, 'a text, such as "crun"')
        return value

    def path(self, key: str) -> str | None:
        """An absolute path, or None."""
        value = self.text(key)
        if value is not None and not value.startswith("/"):
            raise self._wrong(key, 'an absolute path, such as "/run/assay"')
        return value

    def paths(self, key: str) -> tuple[Path, ...]:
        """A list of absolute paths."""
        values = self._take(key)
        values = [] if values is None else values
        if not isinstance(values, list) or not all(
            isinstance(value, str) and value.startswith("/") for value in values
        ):
            raise self._wrong(key, 'a list of absolute paths, such as ["/srv/environments"]')
        return tuple(Path(value) for value in values)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        values = self._take(key)
        values = [] if values is None else values
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise self._wrong(key, 'a list of texts, such as ["/dev/ttyUSB*"]')
        return tuple(values)

    def runtimes(self) -> dict[str, str]:
        """The table of programs, by driver."""
        table = self.table("runtimes")
        for name, program in table.items():
            if name not in RUNTIMES:
                known = ", ".join(RUNTIMES)
                raise InvalidInput(f"{self._file}: runtimes.{name}: there are only {known}")
            if not isinstance(program, str) or not program:
                raise self._wrong(f"runtimes.{name}", "a program's name or path, or an address")
        return dict(table)

    def refuse_unknown(self) -> None:
        """Raise InvalidInput if there is a key that nobody has asked for."""
        unknown = sorted(self._content.keys() - self._known)
        if unknown:
            known = ", ".join(sorted(self._known))
            raise InvalidInput(f"{self._file}: {unknown[0]}: there is no such key; keys: {known}")

    def _take(self, key: str) -> Any:
        self._known.add(key)
        return self._content.get(key)

    def _wrong(self, key: str, wanted: str) -> InvalidInput:
        return InvalidInput(f"{self._file}: {key}: this must be {wanted}")
