"""What QEMU's machines are told of the processor."""

from __future__ import annotations

import pytest

from assay.drivers.microvm.qemu import _clock

STEADY = "processor\t: 0\nflags\t\t: fpu tsc constant_tsc nonstop_tsc\nbogomips\t: 4890.80\n"


def test_a_kernel_is_told_how_fast_a_steady_counter_runs() -> None:
    assert _clock(STEADY) == "tsc_early_khz=2445400 tsc=reliable"


@pytest.mark.parametrize("lacking", ["constant_tsc", "nonstop_tsc", "bogomips"])
def test_a_counter_that_may_change_its_pace_is_no_clock(lacking: str) -> None:
    assert _clock(STEADY.replace(lacking, "")) == "tsc_early_khz=1000000"
