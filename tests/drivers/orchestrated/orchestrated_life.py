"""What is tried with every orchestrator: a sample of the suites, and the life that is recorded."""

from __future__ import annotations

import contextlib
from pathlib import Path

from assay.domain.errors import SandboxGone
from assay.driver.port import Driver, RootFilesystem, SandboxSpec, SandboxState
from assay.testing import CONFORMANCE, HOSTILE

_SAMPLE = (
    "sandboxes/create-list-examine-destroy", "sandboxes/cancelled-create-leaves-nothing",
    "reattachment/programs-run-on-alone", "memory/eating-memory", "files/filling-the-disk",
    "leakage/looking-around-as-root", "leakage/impersonating-the-agent", "processes/bomb-fork",
)  # fmt: skip
CASES = [case for case in (*CONFORMANCE, *HOSTILE) if case.name in _SAMPLE]


def empty_root(folder: Path) -> RootFilesystem:
    for name in ("proc", "dev", "tmp", "workspace", ".assay"):
        (folder / name).mkdir(parents=True)
    return RootFilesystem(digest="empty", path=folder, owners=True)


async def live(driver: Driver, other: Driver, spec: SandboxSpec) -> None:
    """A sandbox's life; `other` is of a server that was not there before."""
    first = await driver.create(spec)
    assert await driver.list() == [first.id]
    assert await driver.examine(first.id) == SandboxState(running=True)
    await (await driver.connect(first.id)).aclose()
    await (await other.connect(first.id)).aclose()
    await other.destroy(first.id)
    assert await driver.examine(first.id) is None
    with contextlib.suppress(SandboxGone):
        await other.connect(first.id)
        raise AssertionError("it is gone")
