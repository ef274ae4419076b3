"""A Kubernetes of one's own on this machine: all parts of it but kube-proxy, and a registry.

    kube_cluster.py COMMAND...      a command with such a cluster, as root

Its programs have to be on the PATH. Processes, mounts and networks are in namespaces that end with
it; on the host are a folder, two ports of the loopback that lead there, and control groups.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import kube_configuration as configuration
import trustme
from kube_configuration import NODE, NODES, Node, Places, node_name

MACHINE = Path(__file__).with_name("kube_machine.py")
SERVICES = Path(__file__).with_name("kube_services.py")
PROGRAMS = (
    "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl",
)  # fmt: skip
OTHERS = ("containerd", "docker-registry", "skopeo", "unshare", "nsenter", "ip", "gcc")
_SECONDS_TO_START = 90.0
_CERTIFICATES = {
    "admin": ("admin", "system:masters", ()),
    **{name: (f"system:node:{name}", "system:nodes", ()) for name in map(node_name, NODES)},
    "kubelet-client": ("kubelet-client", "system:masters", ()),
    "apiserver": ("kube-apiserver", "own", ("127.0.0.1", NODE, configuration.API, "kubernetes")),
    "kubelet": ("kubelet", "own", (NODE,)),
    "nobody": ("nobody", "own", ()),
    "accounts": ("accounts", "own", ("accounts",)),
}
"""Whom they are of, which group, and which addresses."""
_PAUSE = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n"


def lacking() -> str:
    """What there must be for a cluster, and is not."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not on the PATH; see docs/kubernetes.md for how to get them"
    missing = [name for name in OTHERS if shutil.which(name) is None]
    if missing or not Path("/usr/lib/cni/ptp").exists():
        return f"lacks {', '.join(missing) or 'containernetworking-plugins'}"
    return ""


def _listeners(count: int) -> list[socket.socket]:
    """At ports that nobody has, of those that are not given away to whoever connects."""
    found: list[socket.socket] = []
    while len(found) < count:
        listener = socket.socket()
        try:
            listener.bind(("127.0.0.1", random.randrange(20000, 30000)))
        except OSError:
            listener.close()
        else:
            listener.listen(128)
            found.append(listener)
    return found


class Cluster:
    """One machine that is all of a cluster, in a folder."""

    def __init__(self, folder: Path, *, kubelet: bool = True) -> None:
        self.folder = folder
        self._has_kubelet = kubelet
        self._outside = _listeners(2)
        api, registry = (each.getsockname()[1] for each in self._outside)
        self.places = Places(
            folder=folder, work=folder / "work", api=api, registry=registry,
            etcd=12379, peers=12380, group=f"assay-kube-{secrets.token_hex(4)}",
        )  # fmt: skip
        self._machine: subprocess.Popen[bytes] | None = None
        self.pid = 0
        """Of process 1 of its namespaces."""
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def kubeconfig(self) -> Path:
        """An administrator's."""
        return self.folder / "admin.kubeconfig"

    @property
    def registry(self) -> str:
        return f"127.0.0.1:{self.places.registry}/assay"

    @property
    def variables(self) -> Mapping[str, str]:
        """By which its driver finds it."""
        return {
            "KUBECONFIG": str(self.kubeconfig), "ASSAY_KUBERNETES_REGISTRY": self.registry,
            "ASSAY_KUBERNETES_NAMESPACE": "default",
        }  # fmt: skip

    # --- starting ---------------------------------------------------------------------------------

    def start(self) -> None:
        (self.folder / "work").mkdir()
        self.folder.chmod(0o711)  # who is root in a pod is somebody else here
        self._make_certificates()
        for user in ("admin", *map(node_name, NODES)):
            file = self.folder / f"{user}.kubeconfig"
            file.touch(mode=0o600)
            file.write_text(configuration.kubeconfig(self.places, user))
        self._start_machine()
        self._start_relay()
        self.run("etcd", configuration.etcd(self.places))
        self.start_api()
        self.run("registry", configuration.registry(self.places))
        self._wait("the API server", lambda: self._api_is_ready())
        self.run("controllers", configuration.controllers(self.places))
        self.run("scheduler", configuration.scheduler(self.places))
        if self._has_kubelet:
            self.run("services", [sys.executable, "-B", str(SERVICES), str(self.folder),
                                  str(self.places.api)])  # fmt: skip
            self._push_pause()
            self.start_node(1)
        self._wait("the account of pods", lambda: self._has_account())

    def start_node(self, number: int) -> None:
        """Start one of those that there can be; returns when it takes pods."""
        node = self._node(number)
        node.folder.mkdir()
        self._make_groups(node)
        runc = shutil.which("runc") or "/usr/sbin/runc"
        self.run(_part("containerd", number), configuration.containerd(node, runc))
        self._wait("containerd", lambda: self._sees(node.socket))
        self.start_kubelet(number)
        self._wait("the node", lambda: self._node_is_ready(node))

    def end_node(self, number: int) -> None:
        """End one, as its machine does that is switched off, and have it forgotten."""
        for name in ("kubelet", "containerd"):
            if _part(name, number) in self._processes:
                self.kill(_part(name, number))
        self.kubectl("delete", "node", node_name(number), "--ignore-not-found")

    def _node(self, number: int) -> Node:
        return Node(places=self.places, number=number)

    def start_api(self) -> None:
        self.run("apiserver", configuration.api_server(self.places))

    def start_kubelet(self, number: int = 1) -> None:
        self.run(_part("kubelet", number), configuration.kubelet(self._node(number)))

    def _make_certificates(self) -> None:
        folder = self.places.certificates
        folder.mkdir(mode=0o700)
        authority = trustme.CA(key_type=trustme.KeyType.RSA)
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        for name, (common, group, addresses) in _CERTIFICATES.items():
            made = authority.issue_cert(
                *(addresses or ("client",)), common_name=common, organization_name=group,
                key_type=trustme.KeyType.RSA,
            )  # fmt: skip
            certificate, key = self.places.pair(name)
            made.private_key_pem.write_to_path(str(key))
            for blob in made.cert_chain_pems:
                blob.write_to_path(str(certificate), append=True)

    def _start_machine(self) -> None:
        command = [
            "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child=SIGKILL",
            "--propagation", "private",
            sys.executable, "-B", str(MACHINE), "inside", str(self.folder), "3072",
        ]  # fmt: skip
        with (self.folder / "machine.log").open("ab") as log:
            self._machine = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        assert self._machine.stdout is not None
        if self._machine.stdout.readline().strip() != b"ready":
            raise RuntimeError(f"there is no machine for Kubernetes: {self.said('machine')}")
        children = Path(f"/proc/{self._machine.pid}/task/{self._machine.pid}/children")
        (self.pid,) = (int(each) for each in children.read_text().split())

    def _start_relay(self) -> None:
        numbers = [each.fileno() for each in self._outside]
        ports = (self.places.api, self.places.registry)
        pairs = [f"{number}:{port}" for number, port in zip(numbers, ports, strict=True)]
        self._spawn(
            "relay", ["nsenter", f"--target={self.pid}", "--net", sys.executable, "-B",
                      str(MACHINE), "relay", *pairs], pass_fds=numbers,
        )  # fmt: skip

    def run(self, name: str, command: list[str]) -> None:
        """Start a program in there."""
        inside = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid"]
        self._spawn(name, [*inside, *command])

    def _spawn(self, name: str, command: list[str], **more: Any) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                **more,
            )  # fmt: skip

    def _make_groups(self, node: Node) -> None:
        for hierarchy in self._hierarchies():
            (hierarchy / node.group).mkdir(parents=True, exist_ok=True)

    def _hierarchies(self) -> list[Path]:
        top = Path("/sys/fs/cgroup")
        return [top] if (top / "cgroup.controllers").exists() else [*top.iterdir()]

    def _push_pause(self) -> None:
        source, root = self.folder / "pause.c", self.folder / "pause"
        root.mkdir()
        source.write_text(_PAUSE)
        subprocess.run(["gcc", "-static", "-Os", "-o", root / "pause", source], check=True)
        from assay.driver.port import RootFilesystem
        from assay.drivers.linux.copy import Copy
        from assay.drivers.orchestrated.registry import write_layout

        copy = Copy(
            root=RootFilesystem(digest="pause", path=root), folders=(), programs=()
        )  # fmt: skip
        layout = self.folder / "layout"
        write_layout(layout, copy, os.uname().machine, ("/pause",))
        self._wait(
            "the registry", lambda: self._answers(f"http://127.0.0.1:{self.places.registry}/v2/")
        )
        subprocess.run(
            ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{layout}:root",
             f"docker://{self.places.pause}"], check=True,
        )  # fmt: skip

    # --- looking ----------------------------------------------------------------------------------

    def kubectl(self, *arguments: str, given: str = "") -> str:
        """What kubectl answers to an administrator. Raises CalledProcessError."""
        return subprocess.run(
            ["kubectl", f"--kubeconfig={self.kubeconfig}", *arguments], input=given, text=True,
            check=True, capture_output=True, timeout=60,
        ).stdout  # fmt: skip

    def ask(self, path: str) -> Any:
        """An answer of the API server's."""
        return json.loads(self.kubectl("get", "--raw", path))

    def _answers(self, url: str) -> bool:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(url, timeout=5, context=self.context("admin")) as answer,
        ):
            return bool(answer.status == 200)
        return False

    def context(self, user: str) -> ssl.SSLContext:
        """To ask the API server as that one."""
        context = ssl.create_default_context(cafile=str(self.places.certificates / "ca.pem"))
        context.load_cert_chain(*self.places.pair(user))
        return context

    def _api_is_ready(self) -> bool:
        return self._answers(f"https://127.0.0.1:{self.places.api}/readyz")

    def _node_is_ready(self, node: Node) -> bool:
        with contextlib.suppress(subprocess.CalledProcessError):
            found = self.ask(f"/api/v1/nodes/{node.name}")
            conditions = found["status"].get("conditions", [])
            ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
            return ready and not found["spec"].get("taints")
        return False

    def _has_account(self) -> bool:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.kubectl("get", "serviceaccount", "default")
            return True
        return False

    def _sees(self, path: Path) -> bool:
        return Path(f"/proc/{self.pid}/root{path}").exists()

    def _wait(self, for_what: str, done: Callable[[], bool]) -> None:
        """Return when it is so. Raises RuntimeError."""
        deadline = time.monotonic() + _SECONDS_TO_START
        while not done():
            ended = [name for name, each in self._processes.items() if each.poll() is not None]
            if ended or time.monotonic() > deadline:
                which = ended or ["kubelet", "containerd", "apiserver"]
                said = "\n".join(f"{name}: {self.said(name)}" for name in which)
                raise RuntimeError(f"{for_what} does not come: {said}")
            time.sleep(0.1)

    def said(self, name: str) -> str:
        """The end of what a part has written."""
        file = self.folder / f"{name}.log"
        return file.read_text(errors="replace")[-3000:] if file.exists() else ""

    # --- ending -----------------------------------------------------------------------------------

    def kill(self, name: str) -> None:
        """End a part as a crash does."""
        process = self._processes.pop(name)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for pid in children:  # nsenter waits for what it has started
            os.kill(int(pid), signal.SIGKILL)
        process.wait(10)

    def wait_for_api(self) -> None:
        self._wait("the API server", self._api_is_ready)

    def end(self) -> None:
        """End all of it: with process 1 of its namespaces, whoever is in there."""
        if self._machine is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid or self._machine.pid, signal.SIGKILL)
            self._machine.wait(30)
            assert self._machine.stdout is not None
            self._machine.stdout.close()
        for process in self._processes.values():
            process.terminate()
            process.wait(30)
        for listener in self._outside:
            listener.close()
        for hierarchy in self._hierarchies():
            for folder, _, _ in os.walk(hierarchy / self.places.group, topdown=False):
                _remove(Path(folder))


def _part(name: str, number: int) -> str:
    """A node's program, as it is called here."""
    return name if number == 1 else f"{name}{number}"


def _remove(group: Path) -> None:
    for _ in range(50):
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:  # who is dead may still be in it
            time.sleep(0.1)
        else:
            return


@contextlib.contextmanager
def running(*, kubelet: bool = True) -> Iterator[Cluster]:
    """A cluster that is gone at the end, with all that it had."""
    folder = Path(tempfile.mkdtemp(prefix="assay-kube-"))
    cluster = Cluster(folder, kubelet=kubelet)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()
        shutil.rmtree(folder, ignore_errors=True)


def main(command: list[str]) -> int:
    if not command or lacking():
        print(lacking() or (__doc__ or "").strip(), file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    with running() as cluster:
        environment = {**os.environ, **cluster.variables}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
