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

try:
    import yaml
except ModuleNotFoundError:  # pragma: no cover (the development environment has it)
    yaml = None  # type: ignore[assignment]


def read_document(path: Path) -> dict[str, Any]:
    """A file that holds one mapping. Raises InvalidTask, and Unavailable without the library."""
    try:
        with path.open("rb") as opened:
            content = opened.read(BYTES_MOST + 1)
    except OSError as error:
        raise InvalidTask(f"cannot read {path}: {error.strerror}") from error
    if len(content) > BYTES_MOST:
        raise InvalidTask(f"{path} has more than {BYTES_MOST // MIB} MiB")
    return to_document(content, str(path))


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
        raise InvalidTask(f"{where}: {' '.join(str(error).split())[:400]}") from error
    except RecursionError as error:
        raise InvalidTask(f"{where}: it is nested too deeply") from error
    return document


def _loader() -> Any:
    class Loader(yaml.SafeLoader):
        """A safe one whose merges (`<<`) can't multiply without end."""

        merged = 0

        def flatten_mapping(self, node: Any) -> None:
            super().flatten_mapping(node)
            self.merged += len(node.value)
            if self.merged > NODES_MOST:
                raise ValueError("it has too many values")

    return Loader


def _count(value: object, left: list[int], depth: int) -> None:
    """Aliases make little text into much: what they repeat counts each time."""
    left[0] -= 1
    if left[0] < 0:
        raise ValueError("it has too many values")
    if depth == 0:
        raise ValueError("it is nested too deeply")
    if isinstance(value, dict):
        for name, inner in value.items():
            _count(name, left, depth - 1)
            _count(inner, left, depth - 1)
    elif isinstance(value, list | tuple | set):
        for inner in value:
            _count(inner, left, depth - 1)
