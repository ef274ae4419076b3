"""The one function that judges."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.domain.facts import Facts, KilledBy, Measurement, Source
from assay.domain.limits import ExecutionLimits
from assay.domain.outcome import Outcome, OutcomeKind, classify

LIMITS = ExecutionLimits(wall_seconds=1.0, cpu_seconds=0.5)
FREE = ExecutionLimits(wall_seconds=None, cpu_seconds=None, output_bytes=None)


def measured(value: int) -> Measurement:
    return Measurement(value=value, source=Source.HOST)


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        (Facts(exit_code=0), "exited(0)"),
        (Facts(exit_code=137), "exited(137)"),
        (Facts(signal=11), "signaled(11)"),
        (Facts(signal=9), "signaled(9)"),
        (Facts(signal=9, killed_by=KilledBy.WALL), "timed_out(wall)"),
        (Facts(signal=9, killed_by=KilledBy.CPU), "timed_out(cpu)"),
        (Facts(signal=9, killed_by=KilledBy.OUTPUT), "output_limit"),
        (Facts(signal=9, killed_by=KilledBy.CANCEL), "cancelled"),
        (Facts(signal=9, oom_kills=measured(1)), "out_of_memory"),
        (Facts(exit_code=1, oom_kills=measured(1)), "out_of_memory"),
        (Facts(exit_code=0, oom_kills=measured(1)), "exited(0)"),
        (Facts(exit_code=0, cpu_ns=measured(500_000_001)), "timed_out(cpu)"),
        (Facts(exit_code=0, cpu_ns=measured(500_000_000)), "exited(0)"),
        (Facts(exit_code=0, wall_ns=measured(1_000_000_001)), "timed_out(wall)"),
        (Facts(lost="the agent died"), "lost(the agent died)"),
        (Facts(lost="the agent died", oom_kills=measured(1)), "out_of_memory"),
        (Facts(lost="the agent died", oom_kills=measured(0)), "lost(the agent died)"),
        (Facts(), "lost(no exit status was reported)"),
        (Facts(exit_code=127, start_error="ENOENT"), "exited(127)"),
    ],
)
def test_what_an_end_means(facts: Facts, shown: str) -> None:
    assert str(classify(facts, LIMITS)) == shown


def test_without_limits_no_time_is_too_long() -> None:
    facts = Facts(exit_code=0, wall_ns=measured(10**18), cpu_ns=measured(10**18))
    assert classify(facts, FREE).success


facts_of_all_kinds = st.builds(
    Facts,
    exit_code=st.none() | st.integers(0, 255),
    signal=st.none() | st.integers(1, 64),
    lost=st.none() | st.just("gone"),
    killed_by=st.none() | st.sampled_from(KilledBy),
    wall_ns=st.none() | st.builds(measured, st.integers(0, 2 * 10**9)),
    cpu_ns=st.none() | st.builds(measured, st.integers(0, 10**9)),
    oom_kills=st.none() | st.builds(measured, st.integers(0, 2)),
)


@given(facts_of_all_kinds, st.sampled_from([LIMITS, FREE]))
def test_only_a_known_clean_end_within_its_limits_is_a_success(
    facts: Facts, limits: ExecutionLimits
) -> None:
    outcome = classify(facts, limits)
    if outcome.success:
        assert facts.exit_code == 0
        assert facts.killed_by is None
        assert facts.lost is None
        assert facts.signal is None


def test_success_is_an_exit_with_zero_and_nothing_else() -> None:
    for kind, code in itertools.product(OutcomeKind, (None, 0, 1)):
        outcome = Outcome(kind=kind, code=code)
        assert outcome.success == (kind is OutcomeKind.EXITED and code == 0)
