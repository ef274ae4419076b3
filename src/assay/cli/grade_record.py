"""What `assay grade` is to do, also where that is what was done before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from assay.cli.server import with_server
from assay.cli.whole_file import whole_file
from assay.domain.errors import InvalidInput
from assay.grading import record
from assay.grading.complete import Complete, complete, read
from assay.grading.kinds import Kinds
from assay.grading.offered import Content, Offered
from assay.grading.results import Result

if TYPE_CHECKING:
    from assay_client.http import Http

_MOST_BYTES: Final = 256 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """One grading."""

    task: Offered
    content: Content
    seed: int
    learner: str
    submitted_at: float
    complete: Complete | None = None
    """What was done before, and is done again."""

    @property
    def digest(self) -> str:
        """Of the task's files."""
        return self.task.bundles[0].digest

    def remarks(self, result: Result) -> list[str]:
        """In what it differs from what was done before."""
        before = self.complete
        if before is None or result.record is None:
            return []
        found = list(record.differences(before.record, result.record))
        if not _is_same(before.grade, result.grade):
            found.append(f"the grade was {_shown(before.grade)}, and is {_shown(result.grade)}")
        return found


def _is_same(old: float | None, new: float | None) -> bool:
    if old is None or new is None:
        return old is new
    return math.isclose(old, new, abs_tol=1e-6)


def _shown(grade: float | None) -> str:
    return "none" if grade is None else f"{grade:g}"


def recorded_work(named: str, server: str, token: str | None, kinds: Kinds) -> Work:
    """What a file holds, or a server has graded. Raises InvalidInput, and what servers say."""
    path = Path(named)
    found = read(_content(path) if path.is_file() else _fetched(named, server, token))
    return Work(
        task=found.offered(kinds),
        content=found.content,
        seed=found.record.seed,
        learner=found.learner,
        submitted_at=found.submitted_at,
        complete=found,
    )


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InvalidInput(f"{path} is too large for a record")
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}") from error


def _fetched(name: str, server: str, token: str | None) -> bytes:
    if not (name.isalnum() and name.isascii()):
        raise InvalidInput(f"there is no file {name}, and it can be no submission's id")

    async def ask(http: Http) -> bytes:
        url = http.url("submissions", name, "record")
        return await http.call("GET", url, answer=bytes, again=True, seconds=120.0)

    return with_server(server, token, ask)


def save_record(path: Path, work: Work, result: Result) -> None:
    """Write what `--record` reads. Raises InvalidInput."""
    assert result.record is not None  # it was graded here
    made = complete(
        work.task, work.content, result.record, learner=work.learner,
        submitted_at=work.submitted_at, grade=result.grade, verdict=result.verdict,
    )  # fmt: skip
    with whole_file(path) as file:
        file.write(msgspec.json.encode(made))
