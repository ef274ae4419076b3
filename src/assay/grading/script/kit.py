"""What a grading sandbox gets besides the task: commands, modules, what the learner handed in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from assay.agent.entries import Entry, EntryKind
from assay.agent.native import program
from assay.domain.errors import InvalidInput

FOLDER: Final = "/.grading"
PROGRAM: Final = f"{FOLDER}/bin/grading"
JOURNAL: Final = "journal"
_PYTHON: Final = "python"
_SEPARATOR: Final = "/"
_LONGEST: Final = 200

Answer = str | bytes | int | float | list[object] | tuple[str, bytes] | None
"""What a learner handed in for one problem; a file is its name and its content."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kit:
    """Modules for a grader's Python, and scripts beside the commands; by name, with content."""

    modules: Mapping[str, bytes] = field(default_factory=dict)
    scripts: Mapping[str, bytes] = field(default_factory=dict)


@lru_cache(maxsize=1)
def _program() -> bytes:
    return program("grading").read_bytes()


def kit_entries(kit: Kit, answers: Mapping[str, Answer]) -> list[Entry]:
    """All of it as entries beneath FOLDER. Raises InvalidInput, and Unavailable."""
    entries = [Entry(name="bin/grading", mode=0o755, content=_program())]
    for name, content in kit.scripts.items():
        entries.append(Entry(name=f"bin/{name}", mode=0o755, content=content))
    for name, content in kit.modules.items():
        entries.append(Entry(name=f"{_PYTHON}/{name}", content=content))
    return [*entries, Entry(name="input", kind=EntryKind.FOLDER, mode=0o755), *_inputs(answers)]


def _inputs(answers: Mapping[str, Answer]) -> Iterable[Entry]:
    """One file for each answer, so that nothing has to be taken apart, and all of them as JSON."""
    document: dict[str, object] = {}
    for name, answer in answers.items():
        if not name or name.startswith(".") or _SEPARATOR in name or len(name) > _LONGEST:
            raise InvalidInput(f"{name[:80]!r} cannot be the name of an input")
        if isinstance(answer, tuple):
            filename, content = answer
            yield Entry(name=f"input/{name}:filename", content=_bytes(filename))
            document[name] = {"filename": filename, "value": f"{FOLDER}/input/{name}"}
        else:
            content = _bytes(answer)
            document[name] = answer.decode("latin-1") if isinstance(answer, bytes) else answer
        yield Entry(name=f"input/{name}", content=content)
    yield Entry(name="input.json", content=json.dumps({"input": document}).encode())


def _bytes(answer: object) -> bytes:
    """As `getinput` prints it."""
    if isinstance(answer, bytes):
        return answer
    if isinstance(answer, str):
        return answer.encode(errors="surrogateescape")
    if isinstance(answer, bool) or answer is None or not isinstance(answer, int | float):
        return json.dumps(answer).encode()
    return str(answer).encode()


def modules_in(folder: Path, *, under: str = "") -> dict[str, bytes]:
    """The Python modules in a folder of this machine, by their paths in it."""
    return {
        f"{under}{path.relative_to(folder)}": path.read_bytes()
        for path in sorted(folder.rglob("*.py"))
    }


def variables_with_kit(variables: Mapping[str, str], *, home: str) -> dict[str, str]:
    """Those of an environment, so that a grader finds commands and modules."""
    kept = {name: value for name, value in variables.items() if name != "PYTHONDONTWRITEBYTECODE"}
    path = kept.get("PATH", "/usr/bin:/bin")
    return {
        **kept,
        "PATH": f"{FOLDER}/bin:{path}",
        "PYTHONPATH": f"{FOLDER}/{_PYTHON}",
        "HOME": home,
    }
