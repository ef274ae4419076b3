"""What a server offers: an execution environment with its limits, and how many are kept warm."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

import msgspec

from assay.domain.command import Interpreter
from assay.domain.devices import Device, require_few
from assay.domain.errors import InvalidInput
from assay.domain.limits import ExecutionLimits, SandboxLimits, require_within
from assay.driver.port import RootFilesystem, SandboxSpec, Secret
from assay.environments.interpreter import interpreter_of
from assay.environments.model import ExecutionEnvironment
from assay.environments.plan import variables_in

UNCLAIMED_SECONDS: Final = 900
"""A sandbox ends itself when no server has been connected to it for so long."""
POOL_MOST: Final = 100_000
"""Idle sandboxes of one environment: more is a slip of the pen."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_DERIVED: Final = re.compile(_NAME.pattern + "~[0-9a-z-]{1,60}")
_LONGEST_IMAGE: Final = 1024
_MOST_PORTS: Final = 64
_NO_CEILING: Final = ExecutionLimits(
    wall_seconds=None, cpu_seconds=None, output_bytes=None, open_files=None
)


class Origin(StrEnum):
    """Where an environment was defined, and so whether the API may change it."""

    CONFIGURATION = "configuration"
    API = "api"
    REQUEST = "request"
    """Derived from another one for requests that want less of a sandbox; kept nowhere."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedEnvironment:
    """One environment that clients can have runners of. Raises InvalidInput for nonsense."""

    name: str
    """Poseidon's numbers are names of digits only, such as "21"."""
    image: str = ""
    """A reference to a root file system, or "" for that of `language`."""
    language: str | None = None
    """The environment folder whose steps compile and run sources, such as "python"."""
    sandbox: SandboxLimits = field(default_factory=SandboxLimits)
    execution: ExecutionLimits = field(default_factory=ExecutionLimits)
    """Of an execution that asks for nothing else."""
    ceiling: ExecutionLimits = _NO_CEILING
    """What a request may ask for at most."""
    network: bool = False
    devices: tuple[Device, ...] = ()
    """Of the host; those of the language, unless there are others here."""
    exposed_ports: tuple[int, ...] = ()
    """TCP ports in the sandbox that its runner's owner may connect to."""
    pool_size: int = 0
    """Sandboxes that wait for somebody at any time, if the machine has room for them."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of every command, on top of the image's."""
    cpu_shares: int = 0
    """Poseidon's `cpuLimit`: a share, kept and given back; `sandbox.cpus` is what limits."""
    working_folder: str = ""
    """Where programs start; "": where the image says. Of what is derived for graders."""
    folders: tuple[str, ...] = ()
    """More that sandboxes may write: see `RootFilesystem.folders`."""
    origin: Origin = Origin.API

    def __post_init__(self) -> None:
        names = _DERIVED if self.origin is Origin.REQUEST else _NAME
        if not names.fullmatch(self.name):
            raise InvalidInput(
                f"{self.name[:80]!r} cannot be an environment's name: small letters, digits,"
                " '_', '.' and '-', at most 64, the first one a letter or a digit"
            )
        if not self.image and not self.language:
            raise InvalidInput(f"the environment {self.name!r} needs an image or a language")
        if len(self.image) > _LONGEST_IMAGE or not (self.image or "x").isprintable():
            raise InvalidInput("that cannot be a reference to an image")
        if not 0 <= self.pool_size <= POOL_MOST:
            raise InvalidInput(f"a pool has 0 to {POOL_MOST} sandboxes, not {self.pool_size}")
        if not 0 <= self.cpu_shares < 2**31:
            raise InvalidInput(f"{self.cpu_shares} is no share of processors")
        require_few(self.devices)
        _require_ports(self.exposed_ports)
        _require_variables(self.variables)
        require_within(self.execution, self.ceiling)

    @property
    def is_room(self) -> bool:
        """Whether its sandboxes have folders that the image's do not."""
        return bool(self.working_folder or self.folders)

    def within(self, root: RootFilesystem) -> RootFilesystem:
        """The root of its image as its sandboxes have it."""
        if not self.is_room:
            return root
        folder = self.working_folder or root.working_folder
        return replace(root, working_folder=folder, folders=self.folders)

    @property
    def version(self) -> str:
        """A hash of what its sandboxes are made of.

        Not of the pool's size, of limits of executions, ports or variables: those hold for
        sandboxes that are there already.
        """
        image = self.image or f"language {self.language}"
        made_of: tuple[object, ...] = (image, self.sandbox, self.network, self.devices)
        if self.is_room:
            made_of = (*made_of, self.working_folder, self.folders)
        return hashlib.sha256(msgspec.json.encode(made_of)).hexdigest()[:16]


def to_json(environment: ServedEnvironment) -> bytes:
    """As the database keeps it."""
    return msgspec.json.encode(environment)


def from_json(definition: bytes) -> ServedEnvironment:
    """The reverse of `to_json`. Raises InvalidInput."""
    try:
        return msgspec.json.decode(definition, type=ServedEnvironment)
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"this is no environment: {error}") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Blueprint:
    """A served environment with all that its sandboxes are made of found on this machine."""

    environment: ServedEnvironment
    root: RootFilesystem
    folder: ExecutionEnvironment | None = None
    """That of its language, the tools where the root has them; None without a language."""
    version: str = field(init=False)
    """The environment's version, and which state of its image: a tag moves."""

    def __post_init__(self) -> None:
        # Once: a pool looks at it for every sandbox that it makes and gives away.
        made_of = f"{self.environment.version} {self.root.digest}"
        version = hashlib.sha256(made_of.encode()).hexdigest()[:16]
        object.__setattr__(self, "version", version)

    def variables(self) -> dict[str, str]:
        """Of every command: the image's, the language's, and the environment's own."""
        of_language = {} if self.folder is None else self.folder.variables
        return variables_in(self.root, {**of_language, **self.environment.variables})

    @property
    def devices(self) -> tuple[Device, ...]:
        """What its sandboxes have of the host's: its own, or else its language's."""
        of_language = () if self.folder is None else self.folder.devices
        return self.environment.devices or of_language

    def interpreter(self) -> Interpreter | None:
        """The Python that is to wait for programs in each of its sandboxes, if one is.

        None for graders: what they start says itself which interpreter it wants.
        """
        if self.folder is None or self.environment.is_room:
            return None
        open_files = self.environment.execution.open_files
        return interpreter_of(
            self.folder, self.root, variables=self.variables(), open_files=open_files
        )

    def spec(self, secret: Secret) -> SandboxSpec:
        """What to ask a driver for."""
        return SandboxSpec(
            root=self.root,
            secret=secret,
            limits=self.environment.sandbox,
            network=self.environment.network,
            devices=self.devices,
            unclaimed_seconds=UNCLAIMED_SECONDS,
            labels={"environment": self.environment.name},
        )


def _require_ports(ports: tuple[int, ...]) -> None:
    if len(ports) > _MOST_PORTS or len(set(ports)) < len(ports):
        raise InvalidInput(f"exposed ports are at most {_MOST_PORTS}, each once")
    for port in ports:
        if not 1 <= port <= 65535:
            raise InvalidInput(f"{port} is no TCP port")


def _require_variables(variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        if not name or "=" in name or "\0" in name + value:
            raise InvalidInput(f"{name[:80]!r} cannot be an environment variable")
