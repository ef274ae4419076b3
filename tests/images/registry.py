"""Registries on this machine: Debian's real one, and one that misbehaves as it is told."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from making import Layout


def a_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def real_registry(folder: Path) -> Iterator[str]:
    """Run docker-registry; gives the host and port."""
    host = f"127.0.0.1:{a_free_port()}"
    configuration = folder / "registry.json"  # JSON is YAML
    configuration.write_text(
        json.dumps(
            {
                "version": "0.1",
                "log": {"level": "error", "accesslog": {"disabled": True}},
                "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
                "http": {"addr": host},
            }
        )
    )
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", configuration], stdout=log, stderr=log
        )
    try:
        _wait_for(host, process)
        yield host
    finally:
        process.kill()
        process.wait()


def _wait_for(host: str, process: subprocess.Popen[bytes]) -> None:
    address, _, port = host.partition(":")
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((address, int(port))):
            return
        time.sleep(0.02)
    raise AssertionError("docker-registry doesn't answer")


def push(source: str, target: str, *options: str) -> None:
    subprocess.run(
        ["skopeo", "copy", "-q", "--dest-tls-verify=false", *options, source, f"docker://{target}"],
        check=True,
        capture_output=True,
    )


Answer = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """One request to the registry that misbehaves."""

    protocol_version = "HTTP/1.1"
    answer: Answer

    def do_GET(self) -> None:
        if self.path == "/v2/":
            self.send(b"{}", "application/json")
            return
        with suppress(BrokenPipeError, ConnectionResetError):
            type(self).answer(self)

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def send(
        self, content: bytes, media_type: str, *, status: int = 200, length: int | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def wait(self) -> None:
        """Say nothing until the other side gives up."""
        self.connection.settimeout(60)
        with suppress(OSError):
            self.connection.recv(1)
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def a_bad_registry(answer: Answer) -> Iterator[str]:
    """Run a registry that answers each request for a manifest or a blob so."""
    handler = type("Handler", (Request,), {"answer": staticmethod(answer)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = False
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def honest(layout: Layout, request: Request) -> None:
    """Answer as a registry of this layout would."""
    kind, name = request.path.split("/")[-2:]
    if kind == "manifests" and not name.startswith("sha256:"):
        name = layout.manifests[0]["digest"]
    content = (layout.path / "blobs" / name.replace(":", "/")).read_bytes()
    media_type = "application/octet-stream"
    if kind == "manifests":
        media_type = str(layout.manifests[0]["mediaType"])
    request.send(content, media_type)
