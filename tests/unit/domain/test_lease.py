"""When a lease ends by the clock."""

from dataclasses import replace

from assay.domain.lease import Lease

LEASE = Lease(
    runner_id="r-1", sandbox_id="s", environment="bash", version="1", owner="", generation=1,
    created_at=100.0, inactivity_seconds=None, expires_at=None, active_at=110.0,
)  # fmt: skip


def test_a_lease_without_limits_never_ends_by_itself() -> None:
    assert LEASE.ends_at(busy=False) is None


def test_inactivity_counts_from_the_last_activity() -> None:
    assert replace(LEASE, inactivity_seconds=20.0).ends_at(busy=False) == 130.0


def test_what_goes_on_holds_inactivity_off_but_not_the_end_of_its_life() -> None:
    lease = replace(LEASE, inactivity_seconds=20.0, expires_at=125.0)
    assert lease.ends_at(busy=True) == 125.0
    assert replace(lease, expires_at=500.0).ends_at(busy=True) == 500.0
    assert replace(lease, expires_at=None).ends_at(busy=True) is None
    assert lease.ends_at(busy=False) == 125.0
