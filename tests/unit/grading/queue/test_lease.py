"""Leases end on a clock that may jump."""

from assay.grading.queue.lease import LEASE_SECONDS, may_expire, watched


def test_after_a_jump_the_living_have_one_leases_time_to_speak() -> None:
    known = watched(None, clock=1000.0, monotonic=0.0)
    assert not may_expire(known, monotonic=LEASE_SECONDS - 1)
    known = watched(known, clock=1020.0, monotonic=20.0)
    assert may_expire(known, monotonic=20.0)
    for jump in (3600.0, -3600.0):
        jumped = watched(known, clock=1021.0 + jump, monotonic=21.0)
        assert not may_expire(jumped, monotonic=21.0 + LEASE_SECONDS - 1)
        assert may_expire(jumped, monotonic=21.0 + LEASE_SECONDS)


def test_drift_is_no_jump() -> None:
    known = watched(None, clock=1000.0, monotonic=0.0)
    assert watched(known, clock=1100.05, monotonic=100.0) is known
