"""Real sandboxes, and a check after each test that nothing of them is left."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from local_drivers import FIRST_USER, LXC, Technology, local_driver, named, program_of

from assay.driver.port import Mount, RootFilesystem, SandboxSpec, Secret
from assay.drivers.linux.driver import LocalDriver
from assay.drivers.linux.process import Process
from assay.drivers.linux.spares import PREFIX
from assay.drivers.oci import CRUN, RUNC, RUNSC

LAST_USER = 1_300_000_000
"""From there on they are those of other tests, which may run at the same time."""
SECONDS_TO_VANISH = 3.0
"""As the published suites have it. A group that one of ours has left behind, and that another test
takes, is ours until it has been given to its users."""


def left_over(state: Path) -> list[str]:
    """Everything that sandboxes of this state folder could have left."""
    everybody = Path("/proc").glob("[0-9]*")
    processes = (path for path in everybody if _is_ours(path) or _names(path, state))
    # Find none: it has ended, and only its parent (the machine's process 1) has not noticed yet.
    found = [f"process {path.name}" for path in processes if Process.find(int(path.name))]
    found += [f"user range {link.name}" for link in (state / "users").glob("*")]
    folders = (path for kind in ("sandboxes", "prepared") for path in state.glob(f"*/{kind}/*"))
    found += [f"folder {path}" for path in folders]
    top = Path("/sys/fs/cgroup")
    learners = [
        group for group in top.glob("*/assay/*/learners")
        if not group.parent.name.startswith(PREFIX)
    ]  # fmt: skip
    groups = [*learners, *top.glob("unified/assay/*/")]
    found += [f"group {group}" for group in groups if _is_ours(group)]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [f"mount {line}" for line in mounts if str(state) in line]
    return found


def _names(process: Path, state: Path) -> bool:
    """A kernel of the sandbox's own runs as nobody, but says where it keeps its things."""
    try:
        return str(state).encode() in (process / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def _is_ours(path: Path) -> bool:
    try:
        return FIRST_USER <= path.stat().st_uid < LAST_USER
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def state() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="assay-oci-"))
    try:
        yield folder
        deadline = time.monotonic() + SECONDS_TO_VANISH
        while (left := left_over(folder)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert left == []
        assert not _is_ours(Path("/dev/null"))  # crun gives away its standard streams
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def root(tmp_path: Path) -> RootFilesystem:
    """The machine's own programs, in folders that only root may enter."""
    tmp_path.chmod(0o755)
    for name in ("proc", "dev", "tmp", "workspace", ".assay", "etc", "usr", "var/tmp"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path("/", name).is_symlink():
            (tmp_path / name).symlink_to(f"usr/{name}")
    mounts = tuple(Mount(source=Path("/", name), target=f"/{name}") for name in ("usr", "etc"))
    return RootFilesystem(digest="test", path=tmp_path, mounts=mounts)


class OpenDriver(Protocol):
    """Opens a driver on the test's state folder, as another server would; None is `lean`."""

    def __call__(
        self, runtime: Technology = CRUN, parallel: int = 4, stock: int = 0
    ) -> AbstractAsyncContextManager[LocalDriver]: ...


@pytest.fixture
def open_driver(state: Path) -> OpenDriver:
    @asynccontextmanager
    async def opened(
        runtime: Technology = CRUN, parallel: int = 4, stock: int = 0
    ) -> AsyncIterator[LocalDriver]:
        driver = local_driver(runtime, state, parallel=parallel, stock=stock)
        try:
            yield driver
        finally:
            for sandbox_id in await driver.list():
                await driver.destroy(sandbox_id)
            await driver.aclose()

    return opened


@pytest.fixture(params=[None, CRUN, RUNC, LXC], ids=named)
async def driver(
    request: pytest.FixtureRequest, open_driver: OpenDriver, need: Callable[[Technology], None]
) -> AsyncIterator[LocalDriver]:
    need(request.param)
    async with open_driver(request.param) as opened:
        yield opened


@pytest.fixture
async def lean(open_driver: OpenDriver) -> AsyncIterator[LocalDriver]:
    async with open_driver(None) as opened:
        yield opened


@pytest.fixture
async def crun(open_driver: OpenDriver) -> AsyncIterator[LocalDriver]:
    async with open_driver() as opened:
        yield opened


@pytest.fixture
def need() -> Callable[[Technology], None]:
    """Skips at home what isn't installed; where CI says that all is, fails."""

    def needed(technology: Technology) -> None:
        program, remedy = program_of(technology)
        if program and shutil.which(program) is None:
            missing = f"{program} is not installed: {remedy}"
            pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)

    return needed


@pytest.fixture
async def runsc(
    open_driver: OpenDriver, need: Callable[[Technology], None]
) -> AsyncIterator[LocalDriver]:
    need(RUNSC)
    async with open_driver(RUNSC) as opened:
        yield opened


@pytest.fixture
async def lxc(
    open_driver: OpenDriver, need: Callable[[Technology], None]
) -> AsyncIterator[LocalDriver]:
    need(LXC)
    async with open_driver(LXC) as opened:
        yield opened


@pytest.fixture
def spec(root: RootFilesystem) -> SandboxSpec:
    return SandboxSpec(root=root, secret=Secret(secrets.token_bytes(32)))
