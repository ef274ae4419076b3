"""What becomes of an attempt that failed, and not by the learner's fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from assay.domain.errors import AssayError, InvalidInput

MOST_ATTEMPTS: Final = 8
FIRST_SECONDS: Final = 1.0
FACTOR: Final = 3.0
LONGEST_SECONDS: Final = 300.0
"""With these an outage of ten minutes costs nobody a result."""
SPREAD: Final = 0.25
"""The part of a delay by which it may be longer: not all come back at the same moment."""
LOST_WORKER: Final = "the worker that had it ended, or was not heard of for too long"


@dataclass(frozen=True, kw_only=True, slots=True)
class Again:
    """It is tried again."""

    after_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class GiveUp:
    """It is over, without a grade."""

    reason: str


Fate = Again | GiveUp


def after_failure(error: Exception, *, attempts: int, spread: float) -> Fate:
    """What an error means for a submission; `attempts` counts this one, `spread` is in [0, 1).

    What was asked for wrongly (a task's fault) stays wrong. Everything else may pass.
    """
    if isinstance(error, InvalidInput):
        return GiveUp(reason=reason_of(error))
    return _after(reason_of(error), attempts, spread)


def after_loss(*, attempts: int, spread: float) -> Fate:
    """What it means that a worker is gone."""
    return _after(LOST_WORKER, attempts, spread)


def _after(reason: str, attempts: int, spread: float) -> Fate:
    if attempts >= MOST_ATTEMPTS:
        return GiveUp(reason=f"{attempts} attempts failed; the last one: {reason}")
    delay = FIRST_SECONDS * FACTOR ** max(attempts - 1, 0)
    return Again(after_seconds=min(delay, LONGEST_SECONDS) * (1 + SPREAD * spread))


def reason_of(error: Exception) -> str:
    """An error in words, for operators."""
    if isinstance(error, AssayError):
        return f"{error.code}: {error.message}" + (f" ({error.detail})" if error.detail else "")
    return f"{type(error).__name__}: {error}"


def pause_seconds(failures: int) -> float:
    """How long a worker waits for more when those of so many learners in a row have failed with it.

    What is broken for all should not use up everybody's attempts.
    """
    return 0.0 if failures < 3 else min(0.5 * 2.0 ** min(failures - 3, 10), 30.0)
