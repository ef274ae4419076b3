"""Known holes of container and virtual machine runtimes, as data.

Only what lets somebody inside harm the host or a neighbour, or gives a program more rights than
it was meant to have. A new one is a new line here; `AS_OF` says when somebody last looked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

AS_OF: Final = "November 2026"


@dataclass(frozen=True, kw_only=True, slots=True)
class Advisory:
    """One hole (or several that were mended together) of one program."""

    ids: tuple[str, ...]
    fixed_in: tuple[str, ...]
    """The first version of each branch that has the fix."""
    what: str
    since: str = ""
    """The first version that has the hole; "" for all."""
    reaches_assay: bool = True
    """False where Assay does not use what has the hole: others on this machine may."""


def _hole(
    ids: str, fixed_in: str, what: str, *, since: str = "", reaches_assay: bool = True
) -> Advisory:
    return Advisory(
        ids=tuple(f"CVE-{number}" for number in ids.split()),
        fixed_in=tuple(fixed_in.split()),
        what=what,
        since=since,
        reaches_assay=reaches_assay,
    )


ADVISORIES: Final[Mapping[str, tuple[Advisory, ...]]] = MappingProxyType(
    {
        "runc": (
            _hole("2019-5736", "1.0.0-rc7", "a container can overwrite runc itself"),
            _hole("2021-30465", "1.0.0-rc95", "a race of mounts shows host folders"),
            _hole(
                "2023-27561 2023-28642", "1.1.5", "links at /proc evade AppArmor and masks",
                since="1.0.0-rc95",
            ),
            _hole(
                "2024-21626", "1.1.12", "a leaked descriptor opens the host's files",
                since="1.0.0-rc93",
            ),
            _hole("2024-45310", "1.1.14 1.2.0-rc.3", "a race makes empty files on the host"),
            _hole(
                "2025-31133 2025-52565 2025-52881", "1.2.8 1.3.3 1.4.0-rc.3",
                "masked paths and /dev/console can be turned into writes to the host's /proc",
            ),
        ),
        "crun": (
            _hole("2019-18837", "0.10.5", "symbolic links of an image lead to the host's files"),
            _hole("2022-27650", "1.4.4", "programs start with inheritable capabilities"),
            _hole(
                "2025-24965", "1.20",
                "an image can write to the host (krun's handler)", reaches_assay=False,
            ),
            _hole(
                "2026-30892", "1.27",
                "`exec -u 1` runs as root", since="1.19", reaches_assay=False,
            ),
            _hole(
                "2026-84042 2026-88264 2026-88265", "1.30",
                "links in an image's /dev lead to the host's files", reaches_assay=False,
            ),
        ),
        "containerd": (
            _hole("2020-15257", "1.3.9 1.4.3", "containers in the host's network reach its shims"),
            _hole("2022-23648", "1.4.13 1.5.10 1.6.1", "an image can read the host's files"),
            _hole(
                "2024-40635", "1.6.38 1.7.27 2.0.4", "a user id above 2^31 becomes root",
            ),
            _hole(
                "2024-25621", "1.7.29 2.0.7 2.1.5 2.2.0", "local users can enter its folders",
            ),
            _hole(
                "2026-46680", "1.7.32 2.0.9 2.2.4 2.3.1", "a user name made of digits becomes root",
            ),
            _hole(
                "2026-53488", "1.7.33 2.0.10 2.1.9 2.2.5 2.3.2",
                "labels of an image can run commands on the host (CRI only)",
            ),
        ),
        "docker": (
            _hole("2024-24557", "24.0.9 25.0.2", "an image can poison the cache of builds"),
            _hole(
                "2024-41110", "23.0.15 25.0.6 26.1.5 27.1.1",
                "requests without a body get past authorization plugins",
            ),
            _hole("2026-34040", "29.3.1", "large requests get past authorization plugins"),
        ),
        "podman": (
            _hole("2022-27649", "4.0.3", "programs start with inheritable capabilities"),
            _hole("2024-1753", "4.9.4 5.0.1", "a build can mount any folder of the host"),
            _hole(
                "2025-9566", "5.6.1", "`kube play` can overwrite the host's files", since="4.0.0"
            ),
            _hole(
                "2026-55686", "5.7.1", "links in an image's WORKDIR make folders on the host",
                since="3.0.0",
            ),
        ),
        "buildah": (
            _hole(
                "2024-1753", "1.29.3 1.31.5 1.33.7 1.34.3 1.35.1",
                "a build can mount any folder of the host",
            ),
            _hole(
                "2024-11218", "1.33.12 1.35.5 1.37.6 1.38.1", "a build can get out by a race",
            ),
        ),
        "skopeo": (
            _hole("2024-3727", "1.14.4 1.15.1", "digests are not checked and may hold paths"),
        ),
        "lxc": (
            _hole("2018-6556", "3.0.2", "lxc-user-nic opens any path as root", since="3.0.0"),
            _hole("2022-47952", "5.0.2", "lxc-user-nic tells which files exist"),
        ),
        "qemu": (
            _hole("2015-3456", "2.3.1 2.4.0", "the floppy controller lets guests out (VENOM)"),
            _hole("2020-14364", "5.2.0", "USB devices let guests write to QEMU's memory"),
            _hole(
                "2024-3446", "7.2.11 8.2.3 9.0.0", "virtio devices corrupt QEMU's memory",
            ),
        ),
        "kata": (
            _hole("2020-2023 2020-2026", "1.10.5 1.11.1", "guests can mount over the host's paths"),
            _hole("2026-24054", "3.26.0", "an empty image hands a disk of the host to the guest"),
            _hole("2026-47243", "3.31.0", "guests get out by virtiofs (runtime-rs)"),
        ),
        "firecracker": (
            _hole("2019-18960", "0.18.1 0.19.1", "vsock overflows a buffer", since="0.18.0"),
            _hole(
                "2020-16843", "0.20.1 0.21.2", "traffic can freeze the network", since="0.20.0"
            ),
            _hole(
                "2026-5747", "1.14.4 1.15.1", "virtio-pci lets guests write beyond their memory",
                since="1.13.0",
            ),
        ),
    }
)  # fmt: skip
