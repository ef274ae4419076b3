"""A wish for a sandbox as a message, and back."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from assay.domain.devices import Device
from assay.domain.limits import SandboxLimits
from assay.driver.port import RootFilesystem, SandboxSpec, Secret
from assay.link.messages import Limits, Wish


def to_wish(spec: SandboxSpec, root: str | None) -> Wish:
    """What a node is told; `root` is the name of the root that was sent, if it is not its own."""
    limits = spec.limits
    return Wish(
        root=root,
        variables=dict(spec.root.environment),
        user=spec.root.user,
        group=spec.root.group,
        working_folder=spec.root.working_folder,
        folders=spec.root.folders,
        owners=spec.root.owners,
        secret=spec.secret.reveal(),
        limits=Limits(
            memory_bytes=limits.memory_bytes,
            processes=limits.processes,
            cpus=limits.cpus,
            disk_bytes=limits.disk_bytes,
            inodes=limits.inodes,
        ),
        network=spec.network,
        devices=tuple(device.name for device in spec.devices),
        unclaimed_seconds=spec.unclaimed_seconds,
        labels=dict(spec.labels),
    )


def to_spec(wish: Wish, root: RootFilesystem) -> SandboxSpec:
    """What a node's driver is told; `root` is the one that the wish names, on this disk.

    Raises InvalidInput for limits and devices that make no sense.
    """
    limits = wish.limits
    return SandboxSpec(
        root=replace(
            root,
            environment=MappingProxyType(wish.variables),
            user=wish.user,
            group=wish.group,
            working_folder=wish.working_folder,
            folders=wish.folders,
            owners=wish.owners,
        ),
        secret=Secret(wish.secret),
        limits=SandboxLimits(
            memory_bytes=limits.memory_bytes,
            processes=limits.processes,
            cpus=limits.cpus,
            disk_bytes=limits.disk_bytes,
            inodes=limits.inodes,
        ),
        network=wish.network,
        devices=tuple(Device(name=name) for name in wish.devices),
        unclaimed_seconds=wish.unclaimed_seconds,
        labels=MappingProxyType(wish.labels),
    )
