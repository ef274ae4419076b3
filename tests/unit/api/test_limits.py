import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.api.limits import Buckets, Rate, refusal_fields, take
from assay.domain.errors import InvalidInput, QuotaExceeded, RateLimited

RATE = Rate(per_second=2.0, burst=3)


def test_a_burst_passes_and_the_next_one_must_wait() -> None:
    full_at = 0.0
    for _ in range(3):
        verdict = take(full_at, RATE, 100.0)
        assert verdict.allowed
        full_at = verdict.full_at
    verdict = take(full_at, RATE, 100.0)
    assert not verdict.allowed
    assert verdict.retry_after_seconds == pytest.approx(0.5)
    assert take(full_at, RATE, 100.5).allowed


def test_a_refusal_takes_nothing() -> None:
    empty = 0.0
    for _ in range(3):
        empty = take(empty, RATE, 100.0).full_at
    assert take(empty, RATE, 100.1).full_at == empty


@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=200),
    st.floats(0.1, 1000),
    st.integers(1, 50),
)
def test_no_more_than_the_burst_and_the_rate_ever_pass(
    pauses: list[float], per_second: float, burst: int
) -> None:
    rate, now, full_at, passed = Rate(per_second=per_second, burst=burst), 0.0, 0.0, 0
    for pause in pauses:
        now += pause
        verdict = take(full_at, rate, now)
        full_at, passed = verdict.full_at, passed + verdict.allowed
    assert passed <= burst + per_second * now + 1e-3


@given(st.floats(0.1, 1000), st.integers(1, 50))
def test_who_waits_as_told_passes(per_second: float, burst: int) -> None:
    rate, now, full_at = Rate(per_second=per_second, burst=burst), 1000.0, 0.0
    for _ in range(2 * burst):
        verdict = take(full_at, rate, now)
        now += verdict.retry_after_seconds
        verdict = take(full_at, rate, now)
        assert verdict.allowed
        full_at = verdict.full_at


def test_buckets_are_bounded_and_the_emptiest_are_kept() -> None:
    now = 0.0
    buckets = Buckets(most=100, clock=lambda: now)
    for _ in range(3):
        buckets.take("greedy", RATE)
    for stranger in range(10_000):
        buckets.take(f"stranger {stranger}", RATE)
    assert len(buckets) <= 100
    with pytest.raises(RateLimited):
        buckets.take("greedy", RATE)


def test_those_that_are_full_again_are_forgotten_first() -> None:
    now = 0.0
    buckets = Buckets(most=10, clock=lambda: now)
    for stranger in range(10):
        buckets.take(f"stranger {stranger}", RATE)
    now = 60.0
    buckets.take("new", RATE)
    assert len(buckets) == 1


def test_each_asker_has_a_bucket_of_its_own() -> None:
    buckets = Buckets(clock=lambda: 0.0)
    for _ in range(3):
        buckets.take("one", RATE)
    assert buckets.wait_seconds("one", RATE) == pytest.approx(0.5)
    assert buckets.wait_seconds("other", RATE) == 0.0
    buckets.take("other", RATE)


@pytest.mark.parametrize(("per_second", "burst"), [(0, 1), (-1, 1), (1, 0), (float("nan"), 1)])
def test_rates_that_make_no_sense_are_refused(per_second: float, burst: int) -> None:
    with pytest.raises(InvalidInput):
        Rate(per_second=per_second, burst=burst)


def test_a_refusal_says_when_to_come_again() -> None:
    fields = refusal_fields(RateLimited("too many", retry_after_seconds=1.2))
    assert fields == {"Retry-After": "2", "RateLimit": '"requests";r=0;t=2'}
    assert refusal_fields(QuotaExceeded("too many"))["Retry-After"] == "1"
