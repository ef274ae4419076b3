"""A Docker or Podman of one's own: all that it keeps and mounts is in namespaces that end with it.

    engine_daemon.py docker|podman COMMAND...      a command with such an engine, as root

Nothing of it is seen on the host but processes, the folder with its socket, and control groups. Its
network has no way out. Where there are both versions of control groups, it sees version 1 alone, as
crun refuses both.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from assay.drivers.linux import kernel
from assay.drivers.linux.cgroups_v1 import show_version_1
from assay.drivers.linux.kernel import MountFlag
from assay.drivers.linux.layout import read_layout

PROGRAMS = {"docker": "dockerd", "podman": "podman"}
VARIABLES = {"docker": "DOCKER_HOST", "podman": "CONTAINER_HOST"}
GROUP = "assay-engine"
"""Of version 2, that it is in."""
_RUNSC = ("--platform=ptrace", "--network=none", "--host-uds=all", "--oci-seccomp")
_SECONDS_TO_START = 60.0
_SECONDS_TO_STOP = 30.0


class Daemon:
    """An engine in a folder, which may be started again where it was."""

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        megabytes: int = 512,
        settings: Mapping[str, object] | None = None,
        own_network: bool = True,
    ) -> None:
        self.name = name
        self._own = ["--net"] if own_network else []
        self.folder = folder
        self.socket = folder / "socket"
        self.work = folder / "work"
        """Everything it keeps; a tmpfs of its own mount namespace."""
        self._megabytes = megabytes
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._namespaces: list[int] = []

    @property
    def endpoint(self) -> str:
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, the first time in namespaces of its own, and wait until it answers."""
        # Exactly these, so that no test's descriptors or streams end up in a shim.
        inside = [sys.executable, "-B", __file__, "--inside", self.name, str(self.folder)]
        if self._namespaces:
            mounts, network = (f"/proc/{os.getpid()}/fd/{each}" for each in self._namespaces)
            command = ["nsenter", f"--mount={mounts}", f"--net={network}", *inside, "again"]
        else:
            self.work.mkdir()
            (self.folder / "settings").write_text(json.dumps(self._settings))
            command = ["unshare", *self._own, "--mount", "--propagation", "private", *inside]
            command.append(str(self._megabytes))
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                cwd=self.folder,  # where Podman's conmon leaves a file `oom`
            )  # fmt: skip
        deadline = time.monotonic() + _SECONDS_TO_START
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "log").read_text(errors="replace")[-2000:]
                self.end()
                raise RuntimeError(f"{self.name} does not start: {said}")
            time.sleep(0.05)
        if not self._namespaces:
            self._namespaces = [
                os.open(f"/proc/{self.pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
                for kind in ("mnt", "net")
            ]

    def answers(self) -> bool:
        """Whether it is there, and does not hang."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(str(self.socket))
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(64)
        return False

    def signal(self, number: signal.Signals) -> None:
        """Send the engine itself a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        """End the engine as an operator does."""
        self._finish(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does."""
        self._finish(signal.SIGKILL)
        self.socket.unlink(missing_ok=True)

    def _finish(self, number: signal.Signals) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(_SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def within(self, *command: str) -> None:
        """Run a program among the engine's own mounts."""
        mounts = f"/proc/{os.getpid()}/fd/{self._namespaces[0]}"
        subprocess.run(["nsenter", f"--mount={mounts}", *command], check=True, timeout=60)

    def end(self) -> None:
        """End it, and whatever it has started and left behind."""
        self.stop()
        for _ in range(100):
            left = [pid for pid in _names(self.folder) if pid != os.getpid()]
            if not left:
                break
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        for each in self._namespaces:
            os.close(each)
        self._namespaces = []
        top = Path("/sys/fs/cgroup")
        for path in ("docker", "libpod_parent", GROUP):
            for hierarchy in (top, *top.iterdir()):
                # Those of another engine that is running are in use, and stay.
                for folder, _, _ in os.walk(hierarchy / path, topdown=False):
                    with contextlib.suppress(OSError):
                        Path(folder).rmdir()


def _names(folder: Path) -> list[int]:
    """The processes that say in their command line that they belong to the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{folder}/".encode() in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


@contextlib.contextmanager
def running(
    name: str, *, megabytes: int = 512, settings: Mapping[str, object] | None = None
) -> Iterator[Daemon]:
    """An engine that is gone at the end, with all that it had; `settings` are Docker's."""
    folder = Path(tempfile.mkdtemp(prefix=f"assay-{name}-"))
    daemon = Daemon(name, folder, megabytes=megabytes, settings=settings)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.end()
        shutil.rmtree(folder)


# --- in the namespaces ----------------------------------------------------------------------------


def _inside(name: str, folder: Path, size: str) -> None:
    if size != "again":
        work = folder / "work"
        kernel.mount("engine", work, "tmpfs", options=f"size={size}m,mode=711")
        if hierarchies := read_layout().hierarchies:
            show_version_1(hierarchies, None)
        else:
            _leave_the_top()
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        {"docker": _configure_docker, "podman": _configure_podman}[name](folder)
        kernel.mount("none", Path("/"), flags=MountFlag.RECURSIVE | MountFlag.SLAVE)
    else:
        # Where process 1 buries nobody, dockerd takes a dead containerd for one that runs.
        (folder / "work/exec/containerd/containerd.pid").unlink(missing_ok=True)
    program, *arguments = {"docker": _docker, "podman": _podman}[name](folder)
    os.execvp(program, [program, *arguments])


def _leave_the_top() -> None:
    """Podman would take all of the machine's processes along, the kernel's own, too."""
    group = Path("/sys/fs/cgroup", GROUP)
    group.mkdir(exist_ok=True)
    (group / "cgroup.procs").write_text("0")


def _configure_docker(folder: Path) -> None:
    work = folder / "work"
    settings = {
        "data-root": f"{work}/data", "exec-root": f"{work}/exec", "pidfile": f"{work}/pid",
        "hosts": [f"unix://{folder}/socket"], "storage-driver": "overlay2",
        "exec-opts": ["native.cgroupdriver=cgroupfs"], "bridge": "none",
        "iptables": False, "ip6tables": False, "ip-forward": False,
        "runtimes": {
            "crun": {"path": "/usr/bin/crun"},
            "runsc": {"path": "/usr/bin/runsc", "runtimeArgs": list(_RUNSC)},
        },
    }  # fmt: skip
    more = json.loads((folder / "settings").read_text())
    (folder / "daemon.json").write_text(json.dumps({**settings, **more}))
    if remapped := more.get("userns-remap"):
        folder.chmod(0o711)
        for name in ("subuid", "subgid"):
            (work / name).write_text(f"{remapped.split(':')[0]}:700000:65536\n")
            kernel.mount(work / name, Path("/etc", name), flags=MountFlag.BIND)


def _docker(folder: Path) -> list[str]:
    return ["dockerd", "--config-file", f"{folder}/daemon.json"]


def _configure_podman(folder: Path) -> None:
    work = folder / "work"
    # Without the right to raise limits, podman's own of open files can't be set.
    (folder / "containers.conf").write_text(
        '[containers]\nlog_driver = "k8s-file"\ndefault_sysctls = []\n'
        'default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'
        # What `exec` leaves of itself is to be gone before a test looks for it.
        "[engine]\nexit_command_delay = 1\n"
        'cgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "crun"\n'
        f'tmp_dir = "{work}/tmp"\n'
    )
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{work}/graph"\nrunroot = "{work}/run"\n'
    )


def _podman(folder: Path) -> list[str]:
    os.environ["CONTAINERS_CONF"] = f"{folder}/containers.conf"
    os.environ["CONTAINERS_STORAGE_CONF"] = f"{folder}/storage.conf"
    options = ["--root", f"{folder}/work/graph", "--runroot", f"{folder}/work/run"]
    service = ["system", "service", "--time=0", f"unix://{folder}/socket"]
    return ["podman", *options, "--tmpdir", f"{folder}/work/tmp", *service]


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--inside"]:
        _inside(arguments[1], Path(arguments[2]), arguments[3])
    if len(arguments) < 2 or arguments[0] not in PROGRAMS:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    name, *command = arguments
    for number in (signal.SIGTERM, signal.SIGHUP):  # the engine is not to be left
        signal.signal(number, lambda *_: sys.exit(1))
    with running(name, megabytes=2048) as daemon:
        environment = {**os.environ, VARIABLES[name]: daemon.endpoint}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
