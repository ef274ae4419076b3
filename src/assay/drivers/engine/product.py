"""Engines as data: where each listens, and how to get it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from assay.driver.port import Problem

_SHIM: Final = "io.containerd."
"""A shim's name begins so, which Docker finds on its PATH without being told of it."""
_UNIX: Final = "unix://"


@dataclass(frozen=True, kw_only=True, slots=True)
class Product:
    """An engine that speaks Docker's API, version 1.41."""

    name: str
    """The driver's name, too."""
    variable: str
    """Of the environment, that says where it listens."""
    usual: str
    """Where it listens if that says nothing."""
    package: str
    """Debian's package of it."""
    start: str
    """The command that starts it."""
    runtimes: str
    """Where its OCI runtimes are configured."""
    without_systemd: str
    """The setting by which it makes control groups itself."""
    keeps_to_group: bool = True
    """Whether a group that it is given for a container holds that and nothing else. Podman puts a
    process of its own beside it, which must not end before it has seen the container's end."""

    hears_all: bool = True
    """Whether its API can be told which system calls to allow, what of /proc to mask, and what a
    volume is to be like. Podman reads the first in a file of its own machine, takes the second as a
    security option, and the third only when it makes a volume by itself."""

    outlives_removal: bool = False
    """Whether it takes a container for removed whose killed programs are still there. Docker waits
    for them."""

    @property
    def remedy(self) -> str:
        """The command that installs and starts it."""
        return f"apt-get install {self.package} && {self.start}"

    def configure(self, runtime: str) -> str:
        """How to make a runtime known to it."""
        return f"name {runtime}'s program in {self.runtimes}, and start {self.name} anew"

    def unknown_runtime(self, runtime: str, known: Collection[str]) -> Problem | None:
        """What is wrong if it is not configured with a runtime; `known`: those that it names."""
        if not runtime or not known or runtime in known or runtime.startswith(_SHIM):
            return None
        return Problem(
            summary=f"{self.name} is not configured with the runtime {runtime}, only with"
            f" {', '.join(sorted(known))}",
            remedy=self.configure(runtime),
        )


DOCKER: Final = Product(
    name="docker", variable="DOCKER_HOST", usual=f"{_UNIX}/var/run/docker.sock",
    package="docker.io", start="systemctl start docker",
    runtimes='/etc/docker/daemon.json, "runtimes"',
    without_systemd='"exec-opts": ["native.cgroupdriver=cgroupfs"] in /etc/docker/daemon.json',
)  # fmt: skip
PODMAN: Final = Product(
    name="podman", variable="CONTAINER_HOST", usual=f"{_UNIX}/run/podman/podman.sock",
    package="podman", start="systemctl start podman.socket",
    runtimes="/etc/containers/containers.conf, [engine.runtimes]",
    without_systemd='cgroup_manager = "cgroupfs" in [engine] of /etc/containers/containers.conf',
    keeps_to_group=False, hears_all=False, outlives_removal=True,
)  # fmt: skip
