"""A cluster with the job of nodes in it that is published, and what the nodes have on this disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nomad_machines import Machines, machines
from orchestrated_fixtures import skip_where

from assay.cli.node_certificates import make

JOB = Path(__file__).parents[3] / "deploy/assay-node.nomad.hcl"
PORT = 7300
_NEEDED = ("nomad", "ip", "nsenter", "openssl")


@dataclass(kw_only=True)
class Site:
    """A cluster with the job of nodes in it, and what the nodes have on this disk."""

    nomad: Machines
    folder: Path
    seen: set[str] = field(default_factory=set)

    @property
    def variables(self) -> dict[str, str]:
        """By which a server finds the nodes."""
        return {
            "ASSAY_NODES": self.addresses,
            "ASSAY_NODES_CERTIFICATES": str(self.certificates / "main"),
        }

    @property
    def certificates(self) -> Path:
        return self.folder / "certificates"

    @property
    def addresses(self) -> str:
        return ",".join(f"{each.address}:{PORT}" for each in self.nomad.clients)

    def state(self, number: int) -> Path:
        return self.folder / "state" / self.nomad.clients[number].name

    def submit(self) -> None:
        """Start the job that is published, with this checkout's program."""
        hosts = [each.address for each in self.nomad.clients]
        list(make(self.certificates, nodes=hosts, servers=["main"], days=2))
        for each in self.nomad.clients:
            (self.certificates / each.name).symlink_to(each.address)
        state, images = self.folder / "state", self.folder / "images"
        name = "$${node.unique.name}"
        flags = [
            f"ASSAY_CONFIG={os.devnull}", f"ASSAY_IMAGES={images}/{name}",
            f"ASSAY_NODE_CERTIFICATES={self.certificates}/{name}",
            sys.executable, "-B", "-m", "assay", "--state", f"{state}/{name}",
        ]  # fmt: skip
        quoted = ", ".join(f'"{each}"' for each in flags)
        self.nomad.nomad(
            "job", "run", "-detach", "-var", "assay=/usr/bin/env", "-var", f"flags=[{quoted}]",
            "-var", 'node_flags=["--stock", "4"]', str(JOB),
        )  # fmt: skip
        self.nomad.until(lambda: self.running() == len(hosts), "the job of nodes does not run")

    def running(self) -> int:
        found = self.nomad.ask("/job/assay-node/allocations")
        return sum(
            each["ClientStatus"] == "running" and each["DesiredStatus"] == "run" for each in found
        )

    def sandboxes(self, number: int) -> set[str]:
        folder = self.state(number) / "lean/sandboxes"
        found = {item.name for item in folder.iterdir()} if folder.is_dir() else set()
        self.seen |= found
        return found

    def kill(self, number: int) -> None:
        """As a machine ends whose power is gone: all that it ran."""
        doomed = self.sandboxes(number)
        self.nomad.clients[number].kill()
        self.nomad.end_all_in(self.nomad.namespace(number))
        for pid in _of(doomed):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def left_over(self) -> list[str]:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        found = [f"mount {line}" for line in mounts if f"{self.folder}/" in line]
        found += [str(path) for path in self.folder.glob("state/*/lean/sandboxes/*")]
        return found + [f"process {pid}" for pid in _of(self.seen)]


def _of(sandboxes: set[str]) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            groups = (path / "cgroup").read_text()
            if any(f"/{sandbox_id}" in groups for sandbox_id in sandboxes):
                found.append(int(path.name))
    return found


@contextlib.contextmanager
def running_site(*, servers: int, clients: int) -> Iterator[Site]:
    """A site that is gone at the end, with all that it had. Without Nomad, the test is skipped."""
    missing = [each for each in _NEEDED if shutil.which(each) is None]
    skip_where(f"lacks {', '.join(missing)}" if missing else "", "Nomad")
    folder = Path(tempfile.mkdtemp(prefix="assay-site-"))
    try:
        with machines(servers=servers, clients=clients) as nomad:
            made = Site(nomad=nomad, folder=folder)
            made.submit()
            yield made
            made.nomad.nomad("job", "stop", "-purge", "assay-node")
        assert made.left_over() == []
    finally:
        shutil.rmtree(folder, ignore_errors=True)
