"""`assay node` as its operators have it: processes that can be killed, cut off and started again.

As a program it runs a command with a node that is thrown away afterwards, as root:

    .venv/bin/python -B tests/drivers/nodes/node_process.py .venv/bin/assay driver check nodes
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from assay.cli.node_certificates import make

SECONDS = 60.0
HERE = "127.0.0.1"


def free_port() -> int:
    with socket.create_server((HERE, 0)) as found:
        port: int = found.getsockname()[1]
        return port


@dataclass(kw_only=True)
class NodeProcess:
    """One node after the other, with a state folder of their own."""

    folder: Path
    certificates: Path
    """Of all; those of this node are in a folder with its address."""
    host: str = HERE
    namespace: str = ""
    """The network namespace that it runs in."""
    port: int = field(default_factory=free_port)
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    seen: set[str] = field(default_factory=set)
    """All sandboxes that were ever there, as far as was looked."""

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def start(self) -> None:
        """Start one, and wait until servers can connect."""
        assert self.process is None
        enter = ["nsenter", f"--net=/run/netns/{self.namespace}"] if self.namespace else []
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("ASSAY_")}
        variables = {"ASSAY_CONFIG": os.devnull, "ASSAY_IMAGES": str(self.folder / "images")}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*enter, sys.executable, "-B", "-m", "assay", "--state", str(self.state), "node",
                 "--listen", self.address, "--certificates", str(self.certificates / self.host),
                 *self.options],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                env={**inherited, **variables}, start_new_session=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], SECONDS)
        line = self.process.stdout.readline() if readable else b""
        assert line.startswith(b"Assay makes sandboxes for servers at"), (line, self.log[-3000:])

    def kill(self) -> None:
        """As a crash does: the process, and nothing else."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """As `systemctl stop` does. Returns the exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        self.sandboxes()
        process, self.process = self.process, None
        assert process is not None
        os.kill(process.pid, number)
        status = process.wait(SECONDS)
        assert process.stdout is not None
        process.stdout.close()
        return status

    def sandboxes(self) -> set[str]:
        """The ids of those that are there."""
        found = self._named("sandboxes")
        self.seen |= found | self._named("prepared")
        return found

    def _named(self, folder: str) -> set[str]:
        return {path.name for path in (self.state / "lean" / folder).glob("*")}

    def left_over(self) -> list[str]:
        """Whatever sandboxes of this node have left on the host."""
        found = [f"folder {path}" for path in self.state.glob("lean/*/*")]
        found += [f"user range {link.name}" for link in (self.state / "users").glob("*")]
        found += [f"note {path}" for path in self.state.glob("node/owners/*/*")]
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        found += [f"mount {line}" for line in mounts if f"{self.folder}/" in line]
        found += [f"group {group}" for group in Path("/sys/fs/cgroup").glob("*/assay/*")
                  if group.name in self.seen]  # fmt: skip
        return found + [f"process {pid}" for pid in self._processes()]

    def _processes(self) -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                groups = (path / "cgroup").read_text()
                if any(f"/{sandbox_id}/" in groups for sandbox_id in self.seen):
                    found.append(int(path.name))
        return found

    def end(self) -> None:
        """For a test that failed in the middle, too: nothing goes on."""
        if self.process is not None:
            self.kill()


@dataclass(kw_only=True)
class Network:
    """A network namespace of a node, as a machine of its own: a cable leads there from here."""

    name: str
    near: str
    far: str
    """Its address; `near` is ours."""

    @property
    def cable(self) -> str:
        return f"{self.name}-0"

    def cut(self) -> None:
        """As somebody does who pulls the cable out: nobody is told."""
        ip("link", "set", self.cable, "down")

    def mend(self) -> None:
        """Plug it in again."""
        ip("link", "set", self.cable, "up")

    def fall_silent(self) -> None:
        """As a machine does whose power is gone: this side sends, and hears nothing."""
        ip("-netns", self.name, "link", "set", f"{self.name}-1", "down")

    def speak_again(self) -> None:
        """The end of that."""
        ip("-netns", self.name, "link", "set", f"{self.name}-1", "up")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=30)


@contextlib.contextmanager
def network(number: int) -> Iterator[Network]:
    """One of up to 60, gone at the end."""
    name = f"an{secrets.token_hex(3)}"
    base = f"198.18.{os.getpid() % 250}.{4 * number}"  # of the range for measurements (RFC 2544)
    first = base.rpartition(".")[0]
    made = Network(name=name, near=f"{first}.{4 * number + 1}", far=f"{first}.{4 * number + 2}")
    try:
        ip("netns", "add", name)
        ip("link", "add", made.cable, "type", "veth", "peer", "name", f"{name}-1", "netns", name)
        ip("address", "add", f"{made.near}/30", "dev", made.cable)
        ip("link", "set", made.cable, "up")
        for command in (
            ("address", "add", f"{made.far}/30", "dev", f"{name}-1"),
            ("link", "set", f"{name}-1", "up"),
            ("link", "set", "lo", "up"),
        ):
            ip("-netns", name, *command)
        yield made
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            ip("link", "del", made.cable)
        with contextlib.suppress(subprocess.CalledProcessError):
            ip("netns", "del", name)


def main(command: list[str]) -> int:
    folder = Path(tempfile.mkdtemp(prefix="assay-node-"))
    list(make(folder / "certificates", nodes=[HERE], servers=["main"], days=2))
    (folder / "node").mkdir()
    node = NodeProcess(folder=folder / "node", certificates=folder / "certificates")
    try:
        node.start()
        variables = {
            "ASSAY_NODES": node.address,
            "ASSAY_NODES_CERTIFICATES": str(folder / "certificates/main"),
            "ASSAY_STATE": str(folder / "state"),
        }
        done = subprocess.run(command, env={**os.environ, **variables}, check=False)
        time.sleep(0.1)
        return done.returncode
    finally:
        node.end()
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
