"""The fake driver: sandboxes in memory, for fast tests and for simulations."""

from assay.drivers.fake.clock import VirtualTimeLoop, run_in_virtual_time
from assay.drivers.fake.driver import FakeDriver, FakeMachine
from assay.drivers.fake.process import Process, Program

__all__ = [
    "FakeDriver",
    "FakeMachine",
    "Process",
    "Program",
    "VirtualTimeLoop",
    "run_in_virtual_time",
]
