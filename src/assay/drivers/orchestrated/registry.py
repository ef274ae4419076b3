"""Images where an orchestrator's machines find them: in a registry, to which skopeo brings them.

A root file system becomes one layer, with the agent in it. It is named by its content, so it is
there or it is not, and nobody's change is anybody else's.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from assay.domain.errors import DiskFull, DriverUnavailable, ImageUnavailable
from assay.drivers.linux.copy import Copy, pieces
from assay.drivers.linux.program import find

_REPOSITORY: Final = "assay-root"
_REMEDY: Final = "apt-get install skopeo"
_SECONDS: Final = 240.0
_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_LAYOUT: Final = '{"imageLayoutVersion": "1.0.0"}'
_KIND: Final = "application/vnd.oci.image"


class Registry:
    """One registry, HOST:PORT/FOLDER, as this machine and the orchestrator's call it.

    `table` is the one of the configuration where it is said.
    """

    def __init__(self, place: str, machine: str, *, table: str) -> None:
        self.place = place
        self._table = table
        self._machine = machine
        self._known: set[str] = set()
        self._bringing = threading.Lock()

    def image(self, copy: Copy) -> str:
        """The image of a root, which is brought there if it is not. Takes its time.

        Raises DriverUnavailable, ImageUnavailable, RuntimeFailed or DiskFull.
        """
        if not self.place:
            raise DriverUnavailable(
                "such sandboxes have their images from a registry, and none is named: say"
                f' registry = "HOST:PORT/FOLDER" in [{self._table}] of the configuration'
            )
        name = f"{self.place}/{_REPOSITORY}:{copy.digest}"
        with self._bringing:
            if name not in self._known:
                if not self._has(name):
                    self._bring(copy, name)
                self._known.add(name)
        return name

    def _has(self, name: str) -> bool:
        ended = self._skopeo("inspect", "--raw", *self._verify("--tls-verify"), f"docker://{name}")
        return ended.returncode == 0

    def _bring(self, copy: Copy, name: str) -> None:
        with tempfile.TemporaryDirectory(prefix="assay-image-") as folder:
            try:
                write_layout(Path(folder), copy, self._machine)
            except OSError as error:
                raise DiskFull("there is no room to pack an image", detail=str(error)) from error
            ended = self._skopeo(
                "copy", "--quiet", *self._verify("--dest-tls-verify"),
                f"oci:{folder}:root", f"docker://{name}",
            )  # fmt: skip
        if ended.returncode != 0:
            raise ImageUnavailable(
                f"the registry {self.place} did not take an image; log in with `skopeo login`, as"
                " the user who runs this, if it asks for that",
                detail=ended.stderr.decode(errors="replace")[-1000:].strip(),
            )

    def _verify(self, flag: str) -> tuple[str, ...]:
        # As engines do: a registry of the machine's own need not speak TLS.
        host = self.place.partition("/")[0].rpartition(":")[0]
        return (f"{flag}=false",) if host == "localhost" or host.startswith("127.") else ()

    def _skopeo(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        program = find("skopeo", _REMEDY)
        try:
            return subprocess.run(
                [program, *arguments], capture_output=True, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise ImageUnavailable(
                f"the registry {self.place} did not take an image in {_SECONDS:.0f} s"
            ) from error


def write_layout(folder: Path, copy: Copy, machine: str, command: Sequence[str] = ()) -> None:
    """Write an image of one layer, as an OCI layout whose image is called `root`.

    `command` is what it starts, for who can't say so. It hears no SIGTERM, as the agent does not.
    """
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    layer = _write_layer(blobs, copy)
    configuration = _write(blobs, {
        "architecture": _MACHINES.get(machine, machine), "os": "linux",
        "config": {"StopSignal": "SIGKILL", **({"Entrypoint": list(command)} if command else {})},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    })  # fmt: skip
    manifest = _write(blobs, {
        "schemaVersion": 2, "mediaType": f"{_KIND}.manifest.v1+json",
        "config": {"mediaType": f"{_KIND}.config.v1+json", **configuration},
        "layers": [{"mediaType": f"{_KIND}.layer.v1.tar", **layer}],
    })  # fmt: skip
    named = {"annotations": {"org.opencontainers.image.ref.name": "root"}}
    index = {"mediaType": f"{_KIND}.manifest.v1+json", **manifest, **named}
    (folder / "oci-layout").write_text(_LAYOUT)
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [index]}))


def _write_layer(blobs: Path, copy: Copy) -> Mapping[str, Any]:
    digest, size, draft = hashlib.sha256(), 0, blobs / "draft"
    with draft.open("wb") as file, closing(pieces(copy)) as archive:
        for piece in archive:
            file.write(piece)
            digest.update(piece)
            size += len(piece)
    draft.rename(blobs / digest.hexdigest())
    return {"digest": f"sha256:{digest.hexdigest()}", "size": size}


def _write(blobs: Path, content: Mapping[str, Any]) -> Mapping[str, Any]:
    data = json.dumps(content).encode()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}
