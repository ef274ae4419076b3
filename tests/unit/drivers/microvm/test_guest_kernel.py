from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import pytest

from assay.domain.errors import RuntimeMissing
from assay.drivers.microvm.guest_kernel import find_kernel


def install(root: Path, release: str, *, suffix: str = "") -> None:
    boot, modules = root / "boot", root / "lib/modules" / release
    boot.mkdir(exist_ok=True)
    (boot / f"vmlinuz-{release}").write_bytes(b"kernel")
    (modules / "kernel").mkdir(parents=True)
    pack = {"": bytes, ".xz": lzma.compress, ".gz": gzip.compress}[suffix]
    lines = []
    needs = {"virtio_ring": [], "virtio": ["virtio_ring"], "virtio_blk": ["virtio", "virtio_ring"]}
    for name, needed in needs.items():
        (modules / f"kernel/{name}.ko{suffix}").write_bytes(pack(name.encode()))
        lines.append(
            f"kernel/{name}.ko{suffix}: {' '.join(f'kernel/{each}.ko{suffix}' for each in needed)}"
        )
    (modules / "modules.dep").write_text("\n".join(reversed(lines)) + "\n")


def test_a_small_kernel_is_preferred_and_then_the_newest(tmp_path: Path) -> None:
    for release in ("6.1.9-9-cloud-amd64", "6.1.10-3-cloud-amd64", "6.12.1-1-amd64"):
        install(tmp_path, release)
    assert find_kernel("", tmp_path).release == "6.1.10-3-cloud-amd64"


def test_a_kernel_without_its_modules_is_none(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/vmlinuz-6.1").write_bytes(b"")
    with pytest.raises(RuntimeMissing, match="apt-get install linux-image"):
        find_kernel("", tmp_path)
    with pytest.raises(RuntimeMissing, match="is no kernel with modules"):
        find_kernel(str(tmp_path / "boot/vmlinuz-6.1"), tmp_path)


@pytest.mark.parametrize("suffix", ["", ".xz", ".gz"])
def test_modules_come_after_those_that_they_need(tmp_path: Path, suffix: str) -> None:
    install(tmp_path, "6.1-cloud", suffix=suffix)
    modules = find_kernel("", tmp_path).modules(vsock=False)
    assert modules == [
        ("virtio_ring.ko", b"virtio_ring"), ("virtio.ko", b"virtio"),
        ("virtio_blk.ko", b"virtio_blk"),
    ]  # fmt: skip
