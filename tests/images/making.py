"""Images made by hand, byte by byte: what honest tools would never write."""

from __future__ import annotations

import gzip
import hashlib
import json
import platform
import subprocess
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIGURATION = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
END = bytes(1024)
TIME = 1_700_000_000


def entry(
    name: str | bytes,
    content: bytes = b"",
    *,
    kind: bytes = b"0",
    mode: int = 0o644,
    owner: int = 0,
    group: int = 0,
    time: int = TIME,
    target: str | bytes = b"",
    size: int | bytes | None = None,
    extended: Mapping[str, str | bytes] | None = None,
) -> bytes:
    """One entry of a tar archive; `size` may lie."""
    name, target = _bytes(name), _bytes(target)
    number = len(content) if size is None else size
    told = number if isinstance(number, bytes) else b"%011o\0" % number
    header = b"".join(
        (
            name[:100].ljust(100, b"\0"),
            b"%07o\0" % mode,
            _owner(owner),
            _owner(group),
            told.ljust(12, b"\0"),
            b"%011o\0" % time,
            b" " * 8,
            kind,
            target[:100].ljust(100, b"\0"),
            b"ustar\00000",
            bytes(247),
        )
    )
    header = header[:148] + b"%06o\0 " % sum(header) + header[156:]
    before = records(extended) if extended else b""
    return before + header + content + bytes(-len(content) % 512)


def folder(name: str, *, mode: int = 0o755, **others: Any) -> bytes:
    return entry(name, kind=b"5", mode=mode, **others)


def link(name: str, target: str | bytes) -> bytes:
    return entry(name, kind=b"2", target=target, mode=0o777)


def same(name: str, target: str) -> bytes:
    return entry(name, kind=b"1", target=target)


def records(extended: Mapping[str, str | bytes], kind: bytes = b"x") -> bytes:
    """An extended header."""
    content = b""
    for key, value in extended.items():
        rest = b" " + key.encode() + b"=" + _bytes(value) + b"\n"
        length = len(rest) + 1
        while len(str(length)) + len(rest) != length:
            length = len(str(length)) + len(rest)
        content += str(length).encode() + rest
    return entry("extended", content, kind=kind)


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


def _owner(number: int) -> bytes:
    return b"%07o\0" % number if number < 1 << 21 else b"\x80" + number.to_bytes(7, "big")


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def zstd(content: bytes) -> bytes:
    return subprocess.run(
        ["zstd", "-q", "-c"], input=content, capture_output=True, check=True
    ).stdout


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content, 1, mtime=0)


def plain(content: bytes) -> bytes:
    return content


def zeros(count: int) -> bytes:
    """So many zeros as a gzip stream, made without having them all in memory."""
    packer = zlib.compressobj(9, wbits=31)
    block = bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(count // len(block))]
    return b"".join((*parts, packer.flush()))


class Layout:
    """A folder in OCI's layout."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "blobs/sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self.manifests: list[dict[str, Any]] = []

    @property
    def reference(self) -> str:
        return f"oci:{self.path}"

    def blob(self, content: bytes) -> dict[str, Any]:
        name = digest(content)
        (self.path / "blobs" / name.replace(":", "/")).write_bytes(content)
        return {"digest": name, "size": len(content)}

    def document(self, content: Any, media_type: str) -> dict[str, Any]:
        return {"mediaType": media_type, **self.blob(json.dumps(content).encode())}

    def image(
        self,
        *layers: Iterable[bytes] | bytes,
        pack: Any = gzipped,
        tag: str = "latest",
        config: Mapping[str, Any] | None = None,
        whole: Mapping[str, Any] | None = None,
        manifest: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Add an image of these archives; the rest overrides what would be right."""
        archives = [
            layer if isinstance(layer, bytes) else b"".join(layer) + END for layer in layers
        ]
        configuration = {
            "architecture": ARCHITECTURE,
            "os": "linux",
            "config": config or {},
            "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in archives]},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "hand"}] * len(archives),
            **(whole or {}),
        }
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.document(configuration, CONFIGURATION),
            "layers": [{"mediaType": LAYER, **self.blob(pack(one))} for one in archives],
            **(manifest or {}),
        }
        found = self.document(document, str(document["mediaType"]))
        self.list({**found, "annotations": {"org.opencontainers.image.ref.name": tag}})
        return found

    def list(self, *manifests: dict[str, Any]) -> None:
        """Have the layout's index name these too."""
        self.manifests += manifests
        index = {"schemaVersion": 2, "manifests": self.manifests}
        (self.path / "index.json").write_text(json.dumps(index))
