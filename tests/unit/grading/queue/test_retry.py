"""What becomes of attempts that failed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.domain.errors import (
    AgentDied,
    PoolExhausted,
    SandboxGone,
    StorageError,
    UnknownEnvironment,
)
from assay.grading.queue.retry import (
    LONGEST_SECONDS,
    MOST_ATTEMPTS,
    SPREAD,
    Again,
    GiveUp,
    after_failure,
    after_loss,
    pause_seconds,
)


@pytest.mark.parametrize(
    "error",
    [SandboxGone("x"), AgentDied("x"), PoolExhausted("x"), StorageError("x"), TypeError("a bug")],
)
def test_what_the_machine_did_is_tried_again(error: Exception) -> None:
    fate = after_failure(error, attempts=1, spread=0.0)
    assert fate == Again(after_seconds=1.0)


def test_what_was_asked_for_wrongly_stays_wrong() -> None:
    fate = after_failure(UnknownEnvironment("no environment x"), attempts=1, spread=0.0)
    assert fate == GiveUp(reason="unknown_environment: no environment x")


def test_the_last_attempt_says_why() -> None:
    fate = after_failure(SandboxGone("killed", detail="9"), attempts=MOST_ATTEMPTS, spread=0.0)
    assert isinstance(fate, GiveUp)
    assert "8 attempts" in fate.reason
    assert "sandbox_gone: killed (9)" in fate.reason
    assert isinstance(after_loss(attempts=MOST_ATTEMPTS, spread=0.0), GiveUp)


@given(st.integers(1, MOST_ATTEMPTS - 1), st.floats(0, 1, exclude_max=True))
def test_delays_grow_to_a_limit(attempts: int, spread: float) -> None:
    fate = after_loss(attempts=attempts, spread=spread)
    assert isinstance(fate, Again)
    base = min(3.0 ** (attempts - 1), LONGEST_SECONDS)
    assert base <= fate.after_seconds <= base * (1 + SPREAD)


def test_all_attempts_together_outlast_ten_minutes() -> None:
    delays = [after_loss(attempts=n, spread=0.0) for n in range(1, MOST_ATTEMPTS)]
    assert sum(each.after_seconds for each in delays if isinstance(each, Again)) > 600


def test_a_worker_with_which_all_fails_takes_less_and_less() -> None:
    assert [pause_seconds(n) for n in (0, 2, 3, 4, 5)] == [0.0, 0.0, 0.5, 1.0, 2.0]
    assert pause_seconds(1000) == 30.0
