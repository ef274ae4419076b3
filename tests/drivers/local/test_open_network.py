"""The suite's case of the network, on sandboxes that somebody has opened: it has to fail there."""

from __future__ import annotations

import subprocess

import pytest

from assay.driver.port import RootFilesystem, Sandbox, SandboxSpec
from assay.drivers.linux.driver import LocalDriver
from assay.testing import HOSTILE, Verdict, check_case

pytestmark = pytest.mark.root

(ALONE,) = (case for case in HOSTILE if case.name == "network/loopback-alone")
WAY_OUT = "out0"


def ip(sandbox: Sandbox, *arguments: str) -> None:
    """As the host's root, in a sandbox's network."""
    network = f"--net=/proc/{sandbox.facts['process']}/ns/net"
    subprocess.run(["nsenter", network, "ip", *arguments], check=True, timeout=10)


class Opened:
    """A driver whose sandboxes get one more interface, and which is as it was otherwise."""

    def __init__(self, driver: LocalDriver, *, up: bool) -> None:
        self._driver = driver
        self._up = up

    def __getattr__(self, name: str) -> object:
        return getattr(self._driver, name)

    async def create(self, spec: SandboxSpec) -> Sandbox:
        made = await self._driver.create(spec)
        ip(made, "link", "add", WAY_OUT, "type", "veth", "peer", "name", "out1")
        if self._up:
            ip(made, "link", "set", WAY_OUT, "up")
        return made


async def test_an_interface_that_is_up_is_seen_by_the_suite(
    driver: LocalDriver, root: RootFilesystem
) -> None:
    result = await check_case(Opened(driver, up=True), ALONE, root=root)  # type: ignore[arg-type]
    assert result.verdict is Verdict.FAILED
    assert WAY_OUT in result.reason


async def test_one_that_is_down_is_none_and_so_is_none_at_all(
    driver: LocalDriver, root: RootFilesystem
) -> None:
    for tried in (Opened(driver, up=False), driver):
        result = await check_case(tried, ALONE, root=root)  # type: ignore[arg-type]
        assert result.verdict is Verdict.PASSED, result.reason
