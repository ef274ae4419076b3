"""YAML that a teacher wrote, or somebody who wishes us ill: read without running anything.

The library is optional: pip install 'assay[inginious]'.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from assay.domain.errors import InvalidTask, Unavailable
from assay.domain.limits import MIB

BYTES_MOST: Final = 8 * MIB
NODES_MOST: Final = 200_000
DEPTH_MOST: Final = 50
_INTEGER_BITS: Final = 63

try:
    import yaml
except ModuleNotFoundError:  # pragma: no cover (the development environment has it)
    yaml = None  # type: ignore[assignment]


def read_document(path: Path) -> dict[str, Any]:
    """A file that holds one mapping. Raises InvalidTask, and Unavailable without the library."""
    where = encodable(str(path))
    try:
        with path.open("rb") as opened:
            content = opened.read(BYTES_MOST + 1)
    except OSError as error:
        raise InvalidTask(f"cannot read {where}: {error.strerror}") from error
    if len(content) > BYTES_MOST:
        raise InvalidTask(f"{where} has more than {BYTES_MOST // MIB} MiB")
    return to_document(content, where)


def encodable(text: str) -> str:
    """The same, with what no encoding has (bytes of a file's name that are no text) written out."""
    return text.encode(errors="backslashreplace").decode()


def require_printable(name: str, what: str) -> None:
    """Raise InvalidTask for a name that can't be shown, nor be part of an address."""
    if not name.isprintable():
        shown = ascii(name[:80])
        raise InvalidTask(f"{shown}: {what} whose name can't be printed; rename it, or remove it")


def to_document(content: bytes, where: str) -> dict[str, Any]:
    """What such a file says. Raises InvalidTask, and Unavailable without the library."""
    document = parse(content, where)
    if not isinstance(document, dict):
        raise InvalidTask(f"{where}: this must be a mapping of names to values")
    return {str(name): value for name, value in document.items()}


def parse(content: bytes, where: str) -> object:
    """What the YAML says, if it is no more than `NODES_MOST` values with all repetitions."""
    if yaml is None:
        raise Unavailable("tasks of INGInious need a library: pip install 'assay[inginious]'")
    try:
        document: object = yaml.load(content, Loader=_loader())
        _count(document, [NODES_MOST], DEPTH_MOST)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, OverflowError) as error:
        told = encodable(" ".join(str(error).split())[:400])
        raise InvalidTask(f"{where}: {told}") from error
    except RecursionError as error:
        raise InvalidTask(f"{where}: it is nested too deeply") from error
    return document


def _loader() -> Any:
    class Loader(yaml.SafeLoader):
        """A safe one: merges (`<<`) can't multiply without end, and texts can be encoded."""

        merged = 0

        def flatten_mapping(self, node: Any) -> None:
            super().flatten_mapping(node)
            self.merged += len(node.value)
            if self.merged > NODES_MOST:
                raise ValueError("it has too many values")

        def construct_scalar(self, node: Any) -> Any:
            value = super().construct_scalar(node)
            if encodable(value) != value:
                raise ValueError("it has half a character (a lone surrogate); write it whole")
            return value

    return Loader


def _count(value: object, left: list[int], depth: int) -> None:
    """Aliases make little text into much: what they repeat counts each time."""
    left[0] -= 1
    if left[0] < 0:
        raise ValueError("it has too many values")
    if depth == 0:
        raise ValueError("it is nested too deeply")
    if isinstance(value, int) and value.bit_length() > _INTEGER_BITS:
        raise ValueError("it has a whole number of more than 64 bits")
    if isinstance(value, dict):
        for name, inner in value.items():
            _count(name, left, depth - 1)
            _count(inner, left, depth - 1)
    elif isinstance(value, list | tuple | set):
        for inner in value:
            _count(inner, left, depth - 1)
