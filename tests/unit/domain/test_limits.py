"""What limits may be, and ceilings over them."""

import pytest

from assay.domain.errors import InvalidInput, LimitOverCeiling
from assay.domain.limits import MIB, ExecutionLimits, SandboxLimits, require_within


@pytest.mark.parametrize(
    "limits",
    [
        {"wall_seconds": 0},
        {"cpu_seconds": -1.0},
        {"output_bytes": 0},
        {"open_files": 0},
        {"wall_seconds": float("inf")},
        {"wall_seconds": float("nan")},
        {"output_bytes": 2**63},
    ],
)
def test_a_limit_of_an_execution_is_a_positive_number(limits: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        ExecutionLimits(**limits)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "limits", [{"memory_bytes": MIB}, {"processes": 0}, {"cpus": 0.0}, {"inodes": -5}]
)
def test_a_limit_of_a_sandbox_is_a_positive_number(limits: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        SandboxLimits(**limits)  # type: ignore[arg-type]


def test_limits_are_on_unless_they_are_taken_away() -> None:
    limits = ExecutionLimits()
    assert None not in (limits.wall_seconds, limits.cpu_seconds, limits.output_bytes)
    assert ExecutionLimits(wall_seconds=None).wall_seconds is None


def test_a_request_stays_within_its_ceiling() -> None:
    ceiling = ExecutionLimits(wall_seconds=10, cpu_seconds=None, output_bytes=100)
    require_within(ExecutionLimits(wall_seconds=10, output_bytes=99), ceiling)
    require_within(
        ExecutionLimits(wall_seconds=1, cpu_seconds=None, output_bytes=1, open_files=1), ceiling
    )


@pytest.mark.parametrize("wall", [10.1, None])
def test_more_than_the_ceiling_is_refused_by_name(wall: float | None) -> None:
    with pytest.raises(LimitOverCeiling, match="wall_seconds"):
        require_within(ExecutionLimits(wall_seconds=wall), ExecutionLimits(wall_seconds=10))


def test_sandboxes_have_ceilings_too() -> None:
    with pytest.raises(LimitOverCeiling, match="processes"):
        require_within(SandboxLimits(processes=65), SandboxLimits(processes=64))
