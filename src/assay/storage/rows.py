"""Records as rows of the tables, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from assay.domain.lease import Lease, PortMapping
from assay.domain.token import Scope
from assay.driver.port import Secret
from assay.storage.records import (
    EnvironmentRecord,
    ExecutionRecord,
    Held,
    SandboxRecord,
    ServerRecord,
    TokenRecord,
)
from assay.storage.statements import Values

_PORTS: Final = msgspec.json.Decoder(tuple[tuple[int, str, int], ...])
_COURSES: Final = msgspec.json.Decoder(frozenset[str])
_HELD: Final = msgspec.json.Decoder(dict[str, Held])

AnyRow = Mapping[str, Any]
"""A row by the names of its columns. SQLite's true and false are 1 and 0."""


def sandbox_values(record: SandboxRecord) -> Values:
    """A sandbox as a row."""
    return {
        "id": record.id,
        "driver": record.driver,
        "environment": record.environment,
        "version": record.version,
        "secret": record.secret.reveal(),
        "created_at": record.created_at,
        "taken": record.taken,
        "server": record.server,
        "epoch": record.epoch,
    }


def sandbox_of(row: AnyRow) -> SandboxRecord:
    """A row as a sandbox."""
    secret, taken = Secret(row["secret"]), bool(row["taken"])
    return SandboxRecord(**{**row, "secret": secret, "taken": taken})


def lease_values(lease: Lease) -> Values:
    """A lease as a row; its id is the `key`, too."""
    ports = [(each.exposed_port, each.host, each.port) for each in lease.ports]
    return {
        "key": lease.runner_id,
        "runner_id": lease.runner_id,
        "sandbox_id": lease.sandbox_id,
        "environment": lease.environment,
        "version": lease.version,
        "owner": lease.owner,
        "generation": lease.generation,
        "created_at": lease.created_at,
        "inactivity_seconds": lease.inactivity_seconds,
        "expires_at": lease.expires_at,
        "active_at": lease.active_at,
        "ports": msgspec.json.encode(ports).decode(),
    }


def lease_of(row: AnyRow) -> Lease:
    """A row as a lease."""
    ports = tuple(
        PortMapping(exposed_port=exposed, host=host, port=port)
        for exposed, host, port in _PORTS.decode(row["ports"])
    )
    return Lease(**{**row, "ports": ports})


def execution_values(record: ExecutionRecord) -> Values:
    """An execution as a row."""
    return {
        "id": record.id,
        "runner_id": record.runner_id,
        "number": record.number,
        "command": record.command,
        "mode": record.mode,
        "created_at": record.created_at,
        "started": record.started,
    }


def execution_of(row: AnyRow) -> ExecutionRecord:
    """A row as an execution."""
    return ExecutionRecord(**{**row, "started": bool(row["started"])})


def server_values(record: ServerRecord) -> Values:
    """A server as a row."""
    return {
        "id": record.id,
        "address": record.address,
        "place": record.place,
        "secret": record.secret.reveal(),
        "epoch": record.epoch,
        "heartbeat_at": record.heartbeat_at,
        "draining": record.draining,
        "held": encoded_held(record.held),
    }


def server_of(row: AnyRow) -> ServerRecord:
    """A row as a server."""
    secret, draining = Secret(row["secret"]), bool(row["draining"])
    held = _HELD.decode(row["held"])
    return ServerRecord(**{**row, "secret": secret, "draining": draining, "held": held})


def encoded_held(held: Mapping[str, Held]) -> str:
    """What tokens have, as a text for a row."""
    return msgspec.json.encode(held).decode()


def environment_values(record: EnvironmentRecord) -> Values:
    """An environment as a row."""
    return {
        "name": record.name,
        "definition": record.definition,
        "updated_at": record.updated_at,
    }


def environment_of(row: AnyRow) -> EnvironmentRecord:
    """A row as an environment."""
    return EnvironmentRecord(**row)


def token_values(record: TokenRecord) -> Values:
    """A token as a row."""
    return {
        "id": record.id,
        "name": record.name,
        "hash": record.hash,
        "prefix": record.prefix,
        "scopes": " ".join(sorted(record.scopes)),
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "revoked_at": record.revoked_at,
        "most_runners": record.most_runners,
        "most_executions": record.most_executions,
        "requests_per_second": record.requests_per_second,
        "burst": record.burst,
        "courses": msgspec.json.encode(sorted(record.courses)).decode(),
    }


def token_of(row: AnyRow) -> TokenRecord:
    """A row as a token."""
    scopes = frozenset(Scope(name) for name in row["scopes"].split())
    courses = _COURSES.decode(row["courses"])
    return TokenRecord(**{**row, "scopes": scopes, "courses": courses})
