"""A Nomad of one's own on this machine: an agent that is server and client, an engine, a registry.

    cluster.py [--podman] COMMAND...      a command with such a cluster, as root

The program `nomad` has to be on the PATH, and with Podman in Docker's place its plugin
`nomad-driver-podman`, too. Nothing is seen on the host but processes, ports of the
loopback, a folder and control groups, and all of that ends with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "engine"))

from engine_daemon import PROGRAMS, VARIABLES, Daemon
from nomad_tls import Certificates, Pair, settings

_SECONDS_TO_START = 60.0
_SECONDS_TO_STOP = 20.0
REGISTRY = "docker-registry"


PLUGIN = "nomad-driver-podman"


def lacking(engine: str = "docker") -> str:
    """What there must be for a cluster, and is not."""
    ours = ["nomad", *([PLUGIN] if engine == "podman" else [])]
    for name in ours:
        if shutil.which(name) is None:
            return f"the program {name} is not on the PATH; see docs/nomad.md for how to get it"
    needed = (PROGRAMS[engine], REGISTRY, "skopeo")
    missing = [name for name in needed if shutil.which(name) is None]
    return f"lacks {', '.join(missing)}" if missing else ""


def _free_ports(count: int) -> list[int]:
    """Ports that nobody has, of those that are not given away to whoever connects."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(20000, 30000)
        with contextlib.suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            found.append(port)
    return found


class Cluster:
    """One agent, one engine and one registry, in a folder."""

    def __init__(
        self, folder: Path, engine: str = "docker", *, acl: bool = False, tls: bool = False
    ) -> None:
        self.folder = folder
        self._acl = acl
        self.certificates = Certificates(folder / "certificates") if tls else None
        self.agents_own: Pair | None = self.certificates.agent() if self.certificates else None
        """What the agent shows; read when it starts."""
        self.administrator = self.certificates.pair("administrator") if self.certificates else None
        self.token = ""
        """That may do everything, where access is controlled."""
        (folder / "engine").mkdir()
        self.engine = Daemon(engine, folder / "engine", megabytes=2048, own_network=False)
        self._ports = _free_ports(4)
        self._processes: list[subprocess.Popen[bytes]] = []
        self.agent: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{'https' if self.certificates else 'http'}://127.0.0.1:{self._ports[0]}"

    @property
    def registry(self) -> str:
        return f"127.0.0.1:{self._ports[3]}/assay"

    @property
    def variables(self) -> Mapping[str, str]:
        """By which its driver finds it, and that of its engine."""
        return {
            "NOMAD_ADDR": self.address, "ASSAY_NOMAD_REGISTRY": self.registry,
            "ASSAY_NOMAD_TASK_DRIVER": self.engine.name,
            VARIABLES[self.engine.name]: self.engine.endpoint,
        }  # fmt: skip

    def start(self) -> None:
        self.engine.start()
        self._start_registry()
        self.start_agent()
        self.wait_until_ready()

    def _start_registry(self) -> None:
        configuration = {
            "version": "0.1", "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "registry")}},
            "http": {"addr": f"127.0.0.1:{self._ports[3]}"},
        }  # fmt: skip
        file = self.folder / "registry.json"
        file.write_text(json.dumps(configuration))  # which is YAML, too
        self._processes.append(self._run("registry", REGISTRY, "serve", str(file)))

    def start_agent(self) -> None:
        """Start Nomad, again where it was after it has ended."""
        file = self.folder / "agent.json"
        file.write_text(json.dumps(self._agent()))
        self.agent = self._run(
            "nomad", *self._beside_engine(), "nomad", "agent", "-config", str(file)
        )
        self._processes.append(self.agent)

    def _beside_engine(self) -> list[str]:
        # What it mounts for allocations is to be seen by the engine, and to end with that.
        return ["nsenter", f"--mount=/proc/{self.engine.pid}/ns/mnt"]

    def _agent(self) -> dict[str, object]:
        http, rpc, serf = self._ports[:3]
        return {
            "data_dir": str(self.folder / "nomad"), "bind_addr": "127.0.0.1", "log_level": "WARN",
            "disable_update_check": True, "acl": {"enabled": self._acl},
            "ports": {"http": http, "rpc": rpc, "serf": serf},
            "advertise": {
                "http": f"127.0.0.1:{http}", "rpc": f"127.0.0.1:{rpc}", "serf": f"127.0.0.1:{serf}",
            },
            "server": {
                "enabled": True, "bootstrap_expect": 1, "raft_multiplier": 1,
                "default_scheduler_config": {"memory_oversubscription_enabled": True},
            },
            "client": {
                "enabled": True, "options": {"fingerprint.denylist": "env_aws,env_gce,env_azure"},
            },
            **self._plugin(), **self._tls(),
        }  # fmt: skip

    def _tls(self) -> dict[str, object]:
        if self.certificates is None or self.agents_own is None:
            return {}
        return {"tls": settings(self.certificates.authority, self.agents_own)}

    def _plugin(self) -> dict[str, object]:
        common = {"volumes": {"enabled": True}, "disable_log_collection": True}
        if self.engine.name == "docker":
            config = {**common, "endpoint": self.engine.endpoint, "gc": {"image": False}}
            return {"plugin": [{"docker": {"config": config}}]}
        plugins = self.folder / "plugins"
        plugins.mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            shutil.copy(str(shutil.which(PLUGIN)), plugins / PLUGIN)
        config = {**common, "socket_path": self.engine.endpoint}
        return {"plugin_dir": str(plugins), "plugin": [{PLUGIN: {"config": config}}]}

    def _run(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "GOGC": "400"},  # as docs/nomad.md has it
            )  # fmt: skip

    def ask(self, path: str) -> object:
        """An answer of Nomad's."""
        return self._exchange(path)

    def _exchange(self, path: str, data: bytes | None = None) -> Any:
        headers = {"X-Nomad-Token": self.token} if self.token else {}
        request = urllib.request.Request(f"{self.address}/v1{path}", data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=5, context=self._context) as answer:
            return json.load(answer)

    @property
    def _context(self) -> ssl.SSLContext | None:
        if self.certificates is None or self.administrator is None:
            return None
        return self.certificates.context(self.administrator)

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError, urllib.error.URLError, ValueError):
            if self._acl and not self.token:
                self.token = self._exchange("/acl/bootstrap", b"{}")["SecretID"]
            nodes = self.ask("/nodes?resources=false")
            urllib.request.urlopen(
                f"http://{self.registry.partition('/')[0]}/v2/", timeout=5
            ).close()
            return isinstance(nodes, list) and any(
                each["Status"] == "ready"
                and each["Drivers"].get(self.engine.name, {}).get("Healthy")
                for each in nodes
            )
        return False

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            self.ask("/status/leader")
            return True
        return False

    def wait_until_answers(self) -> None:
        """Return when its agent listens. Raises RuntimeError."""
        self._wait(self._answers)

    def wait_until_ready(self) -> None:
        """Return when it makes sandboxes. Raises RuntimeError."""
        self._wait(self._is_ready)

    def _wait(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _SECONDS_TO_START
        while not holds():
            ended = any(each.poll() is not None for each in self._processes)
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"Nomad does not start: {self._said()}")
            time.sleep(0.1)

    def kill_agent(self) -> None:
        """End Nomad as a crash does."""
        assert self.agent is not None
        self.agent.kill()
        self.agent.wait()
        self._processes.remove(self.agent)

    def _said(self) -> str:
        return (self.folder / "nomad.log").read_text(errors="replace")[-2000:]

    def end(self) -> None:
        """End all of it. Nomad ends before its engine, with its allocations left running."""
        if self.agent is not None and self.agent.poll() is not None:
            print(
                f"Nomad has ended before ({self.agent.returncode}): {self._said()}", file=sys.stderr
            )
        for process in reversed(self._processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(_SECONDS_TO_STOP)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.engine.end()


@contextlib.contextmanager
def running(engine: str = "docker", *, acl: bool = False, tls: bool = False) -> Iterator[Cluster]:
    """A cluster that is gone at the end, with all that it had."""
    folder = Path(tempfile.mkdtemp(prefix="assay-nomad-"))
    cluster = Cluster(folder, engine, acl=acl, tls=tls)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()
        shutil.rmtree(folder, ignore_errors=True)


def main(command: list[str]) -> int:
    engine = "podman" if command[:1] == ["--podman"] else "docker"
    command = command[1:] if engine == "podman" else command
    if not command or lacking(engine):
        print(lacking(engine) or (__doc__ or "").strip(), file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    with running(engine) as cluster:
        environment = {**os.environ, **cluster.variables}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
