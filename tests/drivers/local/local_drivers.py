"""The local drivers, by the runtime that they use: None is `lean`, which uses none."""

from __future__ import annotations

from pathlib import Path

from assay.agent.native import program
from assay.drivers.lean import LeanDriver
from assay.drivers.linux.driver import LocalDriver
from assay.drivers.oci import OciDriver, Runtime

FIRST_USER = 1_000_000_000


def named(runtime: Runtime | None) -> str:
    return runtime.name if runtime is not None else "lean"


def local_driver(
    runtime: Runtime | None, state: Path, *, parallel: int = 4, stock: int = 0
) -> LocalDriver:
    agent = program("agent")
    if runtime is not None:
        return OciDriver(
            runtime=runtime, state=state, agent=agent, first_user=FIRST_USER, parallel=parallel
        )
    return LeanDriver(
        program=program("lean"), state=state, agent=agent, first_user=FIRST_USER,
        stock=stock, parallel=parallel,
    )  # fmt: skip
