"""Engines as they are on other machines, on this one: behind TLS, and behind an SSH server."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine_daemon import Daemon

_SECONDS = 20.0
SSHD = "/usr/sbin/sshd"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# --- certificates ---------------------------------------------------------------------------------


def authority(folder: Path) -> Path:
    """Make a folder with an authority: ca.pem and ca-key.pem."""
    folder.mkdir(mode=0o700, parents=True)
    _openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-days", "2", "-subj", "/CN=authority", "-keyout", f"{folder}/ca-key.pem",
        "-out", f"{folder}/ca.pem",
    )  # fmt: skip
    return folder


def certificates(signed_by: Path, folder: Path, names: str = "IP:127.0.0.1") -> Path:
    """Make a folder with ca.pem, and cert.pem and key.pem of somebody of those names."""
    folder.mkdir(mode=0o700, parents=True)
    shutil.copy(signed_by / "ca.pem", folder)
    _openssl(
        "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-subj", "/CN=somebody", "-keyout", f"{folder}/key.pem", "-out", f"{folder}/request",
    )  # fmt: skip
    (folder / "extensions").write_text(
        f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n"
    )
    _openssl(
        "x509", "-req", "-in", f"{folder}/request", "-days", "2", "-CAcreateserial",
        "-CA", f"{signed_by}/ca.pem", "-CAkey", f"{signed_by}/ca-key.pem",
        "-extfile", f"{folder}/extensions", "-out", f"{folder}/cert.pem",
    )  # fmt: skip
    return folder


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


# --- SSH ------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Server:
    """An SSH server on this machine that lets this user in, and how to be its client."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def configuration(self) -> Path:
        """Of a client."""
        return self.folder / "client"

    def address(self, far: Path) -> str:
        """Of an engine behind it."""
        user = pwd.getpwuid(os.geteuid()).pw_name
        place = f"{user}@127.0.0.1:{self.port}{far}"
        return f"ssh://{place}?configuration={self.configuration}"

    def start(self) -> None:
        """Start it, and wait until it listens."""
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", f"{self.folder}/server"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + _SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.02)

    def cut(self) -> None:
        """End it with all connections by it, as a machine does that loses its power."""
        assert self.process is not None
        for child in _children(self.process.pid):
            for each in (*_children(child), child):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
        self.process.kill()
        self.process.wait()

    def trust(self, key: str) -> None:
        """What a client is to take for its key."""
        (self.folder / "known").write_text(f"[127.0.0.1]:{self.port} {key}")


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def key(file: Path) -> str:
    """Make one, and give its public half."""
    made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)]
    subprocess.run(made, check=True, timeout=60)
    return file.with_suffix(".pub").read_text()


@contextlib.contextmanager
def ssh_server() -> Iterator[Server]:
    """A server with keys of its own, gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="assay-ssh-"))
    server = Server(folder=folder, port=free_port())
    host_key = key(folder / "host")
    (folder / "authorized").write_text(key(folder / "own"))
    (folder / "server").write_text(
        f"Port {server.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\n"
        "PermitRootLogin prohibit-password\nPasswordAuthentication no\n"
    )
    server.configuration.write_text(
        f"Host *\nIdentityFile {folder}/own\nIdentitiesOnly yes\n"
        f"UserKnownHostsFile {folder}/known\nGlobalKnownHostsFile /dev/null\n"
    )
    server.trust(host_key)
    try:
        server.start()
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.cut()
        shutil.rmtree(folder)


@contextlib.contextmanager
def behind_tls(folder: Path, *, megabytes: int = 512) -> Iterator[tuple[Daemon, Path, str]]:
    """A Docker that listens at a port as well; the folder of its authority; its address."""
    signed_by = authority(folder / "authority")
    theirs = certificates(signed_by, folder / "engine")
    ours = certificates(signed_by, folder / "ours")
    work = Path(tempfile.mkdtemp(prefix="assay-docker-"))
    port = free_port()
    settings = {
        "hosts": [f"unix://{work}/socket", f"tcp://127.0.0.1:{port}"], "tlsverify": True,
        "tlscacert": f"{theirs}/ca.pem", "tlscert": f"{theirs}/cert.pem",
        "tlskey": f"{theirs}/key.pem",
    }  # fmt: skip
    # Its port is to be this machine's; of its network it is told to change nothing.
    daemon = Daemon("docker", work, megabytes=megabytes, settings=settings, own_network=False)
    try:
        daemon.start()
        yield daemon, signed_by, f"tcp://127.0.0.1:{port}?certificates={ours}"
    finally:
        daemon.end()
        shutil.rmtree(work)
