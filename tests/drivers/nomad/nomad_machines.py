"""Several Nomad servers on this machine, and clients that are machines of their own to the network.

Each client is in a network namespace whose cable leads to a bridge, where the servers are. Whatever
is here ends with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SECONDS_TO_START = 60.0
_SECONDS_TO_STOP = 30.0
_NO_CLOUD = "env_aws,env_gce,env_azure,env_digitalocean,cni,consul,vault"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=30)


@dataclass(kw_only=True)
class Agent:
    """A process of Nomad's with a folder, which may be killed and started again."""

    name: str
    folder: Path
    address: str
    configuration: Mapping[str, Any]
    http: int
    namespace: str = ""
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert self.process is None
        self.folder.mkdir(exist_ok=True)
        file = self.folder / "agent.json"
        file.write_text(json.dumps(self.configuration))
        enter = ["nsenter", f"--net=/run/netns/{self.namespace}"] if self.namespace else []
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*enter, "nomad", "agent", "-config", str(file)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "GOMEMLIMIT": "200MiB"},
            )  # fmt: skip

    def kill(self) -> None:
        """End it as a crash does, and nothing else."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def said(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2000:]


@dataclass(kw_only=True)
class Machines:
    """The servers, the clients, and the network between them."""

    folder: Path
    clients: list[Agent] = field(default_factory=list)
    servers: list[Agent] = field(default_factory=list)
    mark: str = field(default_factory=lambda: secrets.token_hex(2))
    groups_of_others: list[Path] = field(default_factory=lambda: groups())
    """An idle Nomad's are empty, and it can't do without them."""

    @property
    def net(self) -> str:
        return f"198.19.{os.getpid() % 250}"  # of the range for measurements (RFC 2544)

    @property
    def hub(self) -> str:
        return f"{self.net}.1"

    @property
    def bridge(self) -> str:
        return f"anb{self.mark}"

    @property
    def addresses(self) -> str:
        """Of all servers, as NOMAD_ADDR has them."""
        return " ".join(f"http://{each.address}:{each.http}" for each in self.servers)

    def prepare(self, *, servers: int, clients: int) -> None:
        """Lay the cables, and say what each agent is to be like."""
        ip("link", "add", self.bridge, "type", "bridge")
        ip("address", "add", f"{self.hub}/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        rpc = [f"{self.hub}:{4700 + 10 * number}" for number in range(servers)]
        serf = [f"{self.hub}:{4701 + 10 * number}" for number in range(servers)]
        for number in range(servers):
            self.servers.append(self._server(number, serf, servers))
        for number in range(clients):
            self._cable(number)
            self.clients.append(self._client(number, rpc))

    def namespace(self, number: int) -> str:
        return f"an{self.mark}c{number}"

    def cable(self, number: int) -> str:
        return f"{self.namespace(number)}-0"

    def _cable(self, number: int) -> None:
        name, near = self.namespace(number), self.cable(number)
        ip("netns", "add", name)
        ip("link", "add", near, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", near, "master", self.bridge)
        ip("link", "set", near, "up")
        ip("-netns", name, "address", "add", f"{self.net}.{11 + number}/24", "dev", "eth0")
        ip("-netns", name, "link", "set", "eth0", "up")
        ip("-netns", name, "link", "set", "lo", "up")

    def cut(self, number: int) -> None:
        """As somebody does who pulls the cable out: nobody is told."""
        ip("link", "set", self.cable(number), "down")

    def mend(self, number: int) -> None:
        ip("link", "set", self.cable(number), "up")

    def _server(self, number: int, serf: Sequence[str], count: int) -> Agent:
        ports = {"http": 4702 + 10 * number, "rpc": 4700 + 10 * number, "serf": 4701 + 10 * number}
        return self._agent(f"server-{number}", self.hub, ports, server={
            "enabled": True, "bootstrap_expect": count, "raft_multiplier": 1,
            "heartbeat_grace": "5s", "min_heartbeat_ttl": "5s",
            "server_join": {"retry_join": list(serf), "retry_interval": "1s"},
            "default_scheduler_config": {"memory_oversubscription_enabled": True},
        })  # fmt: skip

    def _client(self, number: int, rpc: Sequence[str]) -> Agent:
        ports = {"http": 4646, "rpc": 4647, "serf": 4648}
        made = self._agent(f"client-{number}", f"{self.net}.{11 + number}", ports, client={
            "enabled": True, "servers": list(rpc), "network_interface": "eth0",
            "options": {"fingerprint.denylist": _NO_CLOUD},
        }, plugin=[{"raw_exec": {"config": {"enabled": True}}}])  # fmt: skip
        made.namespace = self.namespace(number)
        return made

    def _agent(self, name: str, address: str, ports: Mapping[str, int], **more: Any) -> Agent:
        folder = self.folder / name
        place = {kind: f"{address}:{port}" for kind, port in ports.items()}
        configuration = {
            "name": name, "data_dir": str(folder / "data"), "bind_addr": address,
            "log_level": "WARN", "disable_update_check": True, "ports": dict(ports),
            "advertise": place, **more,
        }  # fmt: skip
        return Agent(
            name=name, folder=folder, address=address, configuration=configuration,
            http=ports["http"],
        )  # fmt: skip

    def start(self) -> None:
        for each in (*self.servers, *self.clients):
            each.start()
        self.until(lambda: self.ready() == len(self.clients), "the clients are not ready")

    def ask(self, path: str) -> Any:
        """An answer of any server that lives."""
        for each in self.servers:
            if each.process is not None:
                with contextlib.suppress(OSError, ValueError):
                    url = f"http://{each.address}:{each.http}/v1{path}"
                    with urllib.request.urlopen(url, timeout=5) as answer:
                        return json.load(answer)
        raise OSError("no server answers")

    def ready(self) -> int:
        with contextlib.suppress(OSError):
            return sum(1 for each in self.ask("/nodes") if each["Status"] == "ready")
        return 0

    def leader(self) -> Agent:
        """The server that leads."""
        place = self.ask("/status/leader")
        (found,) = (
            each for each in self.servers if each.configuration["advertise"]["rpc"] == place
        )
        return found

    def until(self, holds: Any, otherwise: str, seconds: float = _SECONDS_TO_START) -> float:
        """Wait until it holds; says for how long. Raises RuntimeError."""
        started = time.monotonic()
        while not holds():
            if time.monotonic() - started > seconds:
                raise RuntimeError(f"{otherwise}: {[each.said for each in self.servers]}")
            time.sleep(0.1)
        return time.monotonic() - started

    def nomad(self, *arguments: str) -> str:
        """Run a command of Nomad's; returns its output."""
        server = next(each for each in self.servers if each.process is not None)
        done = subprocess.run(
            ["nomad", *arguments], capture_output=True, text=True, timeout=120,
            env={**os.environ, "NOMAD_ADDR": f"http://{server.address}:{server.http}"},
        )  # fmt: skip
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def end(self) -> None:
        for each in (*self.clients, *self.servers):
            each.stop()
        for number in range(len(self.clients)):
            self.end_all_in(self.namespace(number))
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "del", self.namespace(number))
        with contextlib.suppress(subprocess.CalledProcessError):
            ip("link", "del", self.bridge)
        self._unmount()
        for each in groups():
            if each not in self.groups_of_others:
                with contextlib.suppress(OSError):
                    each.rmdir()

    def end_all_in(self, namespace: str) -> None:
        """Whatever a killed client has left in its network: tasks, and what Nomad holds them by."""
        with contextlib.suppress(subprocess.CalledProcessError):
            found = subprocess.run(
                ["ip", "netns", "pids", namespace], check=True, capture_output=True, text=True
            )
            for pid in found.stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)

    def _unmount(self) -> None:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        found = [line.split()[4] for line in mounts if f" {self.folder}/" in line]
        for place in reversed(found):
            subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)


def groups() -> list[Path]:
    """All control groups of any Nomad on this machine, the innermost first."""
    tops = Path("/sys/fs/cgroup").glob("*/nomad")
    return [Path(each) for top in tops for each, _, _ in os.walk(top, topdown=False)]


@contextlib.contextmanager
def machines(*, servers: int, clients: int) -> Iterator[Machines]:
    """A cluster that is gone at the end, with all that it had."""
    folder = Path(tempfile.mkdtemp(prefix="assay-nomads-"))
    made = Machines(folder=folder)
    try:
        made.prepare(servers=servers, clients=clients)
        made.start()
        yield made
    finally:
        made.end()
        shutil.rmtree(folder, ignore_errors=True)
