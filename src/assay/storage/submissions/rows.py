"""Submissions and lines as rows, and back."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Final

from assay.domain.line import Line
from assay.domain.submission import NewSubmission, Priority, State, Submission
from assay.storage.rows import AnyRow
from assay.storage.statements import Values

_FIELDS: Final = tuple(field.name for field in fields(Submission))


def new_id(now: float, random: bytes | None = None) -> str:
    """32 hexadecimal digits: milliseconds, so that newer ones are greater, and 80 random bits."""
    chance = os.urandom(10) if random is None else random
    return f"{max(int(now * 1000), 0):012x}{chance.hex()}"


def digest_of(new: NewSubmission) -> bytes:
    """By which a second submission with the same key is known to be the same."""
    digest = hashlib.sha256(new.content)
    for word in (new.course, new.task, new.learner):
        digest.update(b"\0" + word.encode())
    return digest.digest()[:16]


def submission_values(new: NewSubmission, name: str, now: float, turn: int) -> Values:
    """What was handed in as a row that waits in its line."""
    return {
        "id": name,
        "owner": new.owner,
        "key": new.key,
        "digest": digest_of(new),
        "course": new.course,
        "task": new.task,
        "learner": new.learner,
        "priority": int(new.priority),
        "state": State.WAITING.value,
        "submitted_at": now,
        "environment": new.environment,
        "task_hash": new.task_hash,
        "seed": new.seed,
        "attempts": 0,
        "claim": 0,
        "turn": turn,
        "not_before": None,
        "lease_until": None,
        "holder": None,
        "claimed_at": None,
        "finished_at": None,
        "seconds": None,
        "original": new.original,
        "revision": 0,
        "received_at": new.received_at,
        "sending_seconds": None if new.received_at is None else max(now - new.received_at, 0.0),
        "graded_at": None,
        "response_seconds": None,
        "verdict": None,
        "grade": None,
        "version": None,
    }


def submission_of(row: AnyRow) -> Submission:
    """A row as a submission."""
    known = {name: row[name] for name in _FIELDS}
    known["priority"], known["state"] = Priority(known["priority"]), State(known["state"])
    return Submission(**known)


def blob_in(rows: Sequence[AnyRow], column: str) -> bytes | None:
    """The bytes of the one row that there is, if any."""
    return bytes(rows[0][column]) if rows and rows[0][column] is not None else None


def fitting(sizes: Sequence[int], most: int) -> int:
    """How many of the first ones may be in memory together: one at least."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if count and total > most:
            return count
    return len(sizes)


def line_values(line: Line) -> Values:
    """A line as a row, without what is its course's."""
    values = asdict(line)
    del values["weight"], values["seconds"]
    return values


def line_of(row: AnyRow) -> Line:
    """A row of a line with its course as a line."""
    weight = 1.0 if row["weight"] is None else row["weight"]
    return Line(**{**row, "weight": weight})
