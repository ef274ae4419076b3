"""What `assay serve` is told: flags over ASSAY_SERVER_* variables over the table [server]."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec

from assay.config.document import CONFIGURATION, SERVER, Document
from assay.config.options import OPTIONS, Address, Advertised, value_of
from assay.config.settings import Settings, default_state
from assay.domain.errors import InvalidInput
from assay.environments import document as shape

ENVIRONMENTS: Final = "environments"
"""The key of the tables of environments, and what the variable is called after."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class ConfiguredEnvironment(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """[server.environments.NAME]; what is left out is the language's own, or a default."""

    language: str | None = None
    """An environment's folder, such as python; without a name and an image, NAME itself."""
    image: str = ""
    pool_size: int = 2
    sandbox: shape.Sandbox = shape.Sandbox()
    execution: shape.Execution = shape.Execution()
    ceiling: shape.Execution = shape.Execution()
    network: bool = False
    devices: list[str] = []
    exposed_ports: list[int] = []
    variables: dict[str, str] = {}
    cpu_shares: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """The settings of one server; `assay.config.options` says what each means."""

    base: Settings
    listen: Address
    database: str
    advertise: Advertised | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_authority: Path | None = None
    trusted_proxies: tuple[str, ...] = ()
    port_host: str = "127.0.0.1"
    allow_host_images: bool = False
    courses: tuple[Path, ...] = ()
    graders: int | None = None
    keep_submissions_days: int | None = None
    webhook_networks: tuple[str, ...] = ()
    most_sandboxes: int = 2000
    parallel_creations: int | None = None
    claim_seconds: float = 10.0
    retain_seconds: float = 60.0
    detached_seconds: float = 300.0
    drain_seconds: float = 30.0
    destroy_on_exit: bool = False
    request_mib: int = 128
    depletion_threshold: float = 0.0
    log_level: str = "info"
    log_format: str = "json"
    environments: Mapping[str, ConfiguredEnvironment] = field(
        default_factory=lambda: MappingProxyType({})
    )

    def secret(self) -> str | None:
        """The secret that is shared with clients, read anew from its file. Raises InvalidInput."""
        if self.token_file is None:
            return self.token
        try:
            found = self.token_file.read_text().strip()
        except (OSError, ValueError) as error:
            raise InvalidInput(f"the token in {self.token_file} cannot be read: {error}") from error
        if len(found) < 16 or not found.isascii() or not found.isprintable():
            raise InvalidInput(
                f"{self.token_file} must hold one line of at least 16 letters: openssl rand -hex 32"
            )
        return found


def read_server_settings(
    base: Settings,
    *,
    flags: Mapping[str, Any] | None = None,
    environments: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    configuration: Path = CONFIGURATION,
) -> ServerSettings:
    """Read the settings of a server. `flags` are by an option's name, None where not given;
    `environments` are texts like "python=4".

    Raises InvalidInput: where, what is wrong, and what to write instead.
    """
    variables = os.environ if variables is None else variables
    file = Document.read(variables, configuration)
    table = file.table(SERVER)
    _refuse_unknown(table, file.file)
    values = {
        option.name: value_of(option, flags or {}, variables, table, file.file)
        for option in OPTIONS
    }
    values["database"] = values["database"] or _default_database(base, variables)
    values["environments"] = _environments(environments, variables, table, file.file)
    settings = ServerSettings(base=base, **values)
    _require_sense(settings)
    return settings


def _refuse_unknown(table: Mapping[str, Any], file: Path) -> None:
    known = sorted({option.name for option in OPTIONS} | {ENVIRONMENTS})
    for key in table:
        if key not in known:
            raise InvalidInput(
                f"{file}: {SERVER}.{key}: there is no such key; keys: {', '.join(known)}"
            )


def _default_database(base: Settings, variables: Mapping[str, str]) -> str:
    """What is kept of one state folder's sandboxes makes no sense for another's."""
    if base.state != default_state(variables):
        folder = base.state
    elif os.geteuid() == 0:
        folder = Path("/var/lib/assay")
    else:
        folder = Path(variables.get("XDG_DATA_HOME") or Path.home() / ".local/share", "assay")
    return f"sqlite:///{folder.absolute() / 'server.db'}"


def _environments(
    flags: Sequence[str], variables: Mapping[str, str], table: Mapping[str, Any], file: Path
) -> Mapping[str, ConfiguredEnvironment]:
    """Those of the file; sizes that flags, or else the variable, name win over it."""
    written = table.get(ENVIRONMENTS, {})
    place = f"{file}: {SERVER}.{ENVIRONMENTS}"
    if not isinstance(written, dict):
        raise InvalidInput(f"{place}: this must be tables: [{SERVER}.{ENVIRONMENTS}.python]")
    found = {name: _environment(name, value, f"{place}.{name}") for name, value in written.items()}
    variable = f"ASSAY_SERVER_{ENVIRONMENTS.upper()}"
    named = variables.get(variable, "").split(",")
    sizes, origin = (flags, "--environment") if flags else (filter(None, named), variable)
    for said in sizes:
        name, size = _named_size(said.strip(), origin)
        known = found.get(name) or _environment(name, {}, origin)
        found[name] = known if size is None else msgspec.structs.replace(known, pool_size=size)
    return MappingProxyType(found)


def _named_size(said: str, origin: str) -> tuple[str, int | None]:
    name, equals, size = said.partition("=")
    if equals and not re.fullmatch(r"[0-9]{1,6}", size):
        raise InvalidInput(f"{origin}: {said!r} must be NAME=SIZE, such as python=4")
    return name, int(size) if equals else None


def _environment(name: str, value: Any, place: str) -> ConfiguredEnvironment:
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{place}: {name!r} is no name: lower-case letters, digits, '.', '_', '-', at most 64"
        )
    try:
        made = msgspec.convert(value, ConfiguredEnvironment)
    except msgspec.ValidationError as error:
        problem, _, where = str(error).partition(" - at `$.")
        key = where.rstrip("`")
        hint = shape.HINTS.get(key.rpartition(".")[2], "see docs/serve.md")
        raise InvalidInput(f"{place}{key and '.'}{key}: {problem}; {hint}") from None
    if not 0 <= made.pool_size <= 100_000:
        raise InvalidInput(f"{place}.pool_size: this must be from 0 to 100000")
    if any(not 0 < port < 65536 for port in made.exposed_ports):
        raise InvalidInput(f"{place}.exposed_ports: ports are from 1 to 65535")
    if not made.language and not made.image:
        return msgspec.structs.replace(made, language=name)
    return made


def _require_sense(settings: ServerSettings) -> None:
    """Refuse what can't work together. Raises InvalidInput with the remedy."""
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise InvalidInput("HTTPS needs both tls_certificate and tls_key: give the other one, too")
    if settings.token and settings.token_file:
        raise InvalidInput("token and token_file are the same setting: give one of them")
    if settings.token and len(settings.token) < 16:
        raise InvalidInput("the token must have at least 16 letters: openssl rand -hex 32")
    if settings.advertise is not None:
        _require_several(settings.advertise.address, settings.database)
    wanted = sum(environment.pool_size for environment in settings.environments.values())
    if wanted > settings.most_sandboxes:
        raise InvalidInput(
            f"the pools are to have {wanted} sandboxes, but most_sandboxes is"
            f" {settings.most_sandboxes}: raise it, or make pools smaller"
        )


def _require_several(advertise: Address, database: str) -> None:
    if not database.startswith("postgresql"):
        raise InvalidInput(
            "several servers need a database that all of them reach: give --database"
            " postgresql://…, or leave out --advertise for a server that is alone"
        )
    if not advertise.port or advertise.host in ("0.0.0.0", "::"):  # noqa: S104 - not bound to
        raise InvalidInput(
            f"{advertise} is no address at which other servers reach this one: give --advertise"
            " the host and port that they are to use"
        )
