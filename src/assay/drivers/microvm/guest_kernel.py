"""The kernel that machines run: a distribution's package of it, with the modules that it takes."""

from __future__ import annotations

import gzip
import lzma
import re
import shutil
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.domain.errors import RuntimeMissing

REMEDY: Final = "apt-get install linux-image-cloud-amd64"
_WANTED: Final = (
    "virtio_ring", "virtio", "virtio_mmio", "virtio_blk", "virtio_console", "erofs", "overlay",
)  # fmt: skip
"""Debian's kernels load no module that another one needs by themselves."""
_SOCKET: Final = ("vsock", "vmw_vsock_virtio_transport_common", "vmw_vsock_virtio_transport")


@dataclass(frozen=True, kw_only=True, slots=True)
class GuestKernel:
    """A kernel's image, its release, and where its modules are."""

    image: Path
    modules_folder: Path

    @property
    def release(self) -> str:
        """Such as 6.1.0-40-cloud-amd64."""
        return self.modules_folder.name

    def modules(self, *, vsock: bool) -> list[tuple[str, bytes]]:
        """Names and contents, in the order in which they are to be loaded. Raises OSError."""
        known = _dependencies(self.modules_folder)
        order: list[str] = []
        for name in (*_WANTED, *(_SOCKET if vsock else ())):
            _add(name, known, order)
        return [(f"{_name(path)}.ko", _content(self.modules_folder / path)) for path in order]


def find_kernel(configured: str, root: Path = Path("/")) -> GuestKernel:
    """The kernel at a configured path, or else the newest that is installed, a small one first.

    Raises RuntimeMissing.
    """
    candidates = [Path(configured)] if configured else sorted(
        (root / "boot").glob("vmlinuz-*"), key=_preference, reverse=True
    )  # fmt: skip
    for image in candidates:
        release = image.name.partition("-")[2]
        for folder in (root / "lib/modules" / release, image.parent / "modules" / release):
            if release and image.is_file() and (folder / "modules.dep").is_file():
                return GuestKernel(image=image, modules_folder=folder)
    if configured:
        raise RuntimeMissing(
            f"{configured} is no kernel with modules: name a vmlinuz-RELEASE whose modules are in"
            f" /lib/modules/RELEASE, or beside it in modules/RELEASE; or: {REMEDY}"
        )
    raise RuntimeMissing(f"no kernel for virtual machines is on this machine; install it: {REMEDY}")


def _preference(image: Path) -> tuple[bool, list[int]]:
    return "cloud" in image.name, [int(number) for number in re.findall(r"\d+", image.name)]


def program_of(image: bytes) -> bytes:
    """The kernel as a program (ELF), out of the image that boot loaders take; as it is otherwise.

    Raises RuntimeMissing where what it is packed with is not on this machine.
    """
    if image.startswith(b"\x7fELF") or image[0x202:0x206] != b"HdrS":
        return image
    begin = (image[0x1F1] + 1) * 512 + int.from_bytes(image[0x248:0x24C], "little")
    packed = image[begin : begin + int.from_bytes(image[0x24C:0x250], "little")]
    if packed.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(packed)
    if packed.startswith(b"\xfd7zXZ"):
        return lzma.LZMADecompressor().decompress(packed)
    name = "lz4" if packed.startswith(b"\x02\x21\x4c\x18") else "zstd"
    if shutil.which(name) is None:
        raise RuntimeMissing(
            f"the kernel is packed with {name}; install it: apt-get install {name}"
        )
    unpacked = subprocess.run(
        [name, "-d", "-c"], input=packed, capture_output=True, check=False, timeout=60
    ).stdout
    if not unpacked.startswith(b"\x7fELF"):
        raise RuntimeMissing("the kernel is packed in a way that is not known here")
    return unpacked


def _dependencies(folder: Path) -> dict[str, tuple[str, list[str]]]:
    """By a module's name: its path, and the paths of those that it needs."""
    known = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, needed = line.partition(":")
        known[_name(path)] = path, needed.split()
    return known


def _name(path: str) -> str:
    return Path(path).name.partition(".ko")[0].replace("-", "_")


def _add(name: str, known: dict[str, tuple[str, list[str]]], order: list[str]) -> None:
    if name not in known:  # it is a part of the kernel itself
        return
    path, needed = known[name]
    for each in needed:
        _add(_name(each), known, order)
    if path not in order:
        order.append(path)


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(content)
    if path.suffix == ".gz":
        return gzip.decompress(content)
    if path.suffix == ".ko":
        return content
    raise RuntimeMissing(
        f"the kernel's module {path} is compressed in a way that is not known here"
    )
