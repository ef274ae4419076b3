"""Runners: lease a sandbox, look at the lease, begin afresh, give it back."""

from __future__ import annotations

from typing import Final

import msgspec
from aiohttp import web

from assay.api.answers import empty, json
from assay.api.quotas import deadline, making_a_runner
from assay.api.results import seconds
from assay.api.route import Call, Route
from assay.domain.errors import InvalidInput
from assay.domain.lease import Lease
from assay.runners import Runner


class RunnerRequest(msgspec.Struct, rename="camel"):
    """Which environment, and for how long."""

    execution_environment_id: int | None = 0
    """Poseidon's; `environment` goes before it."""
    inactivity_timeout: float | None = 0
    """Seconds after its last use at which it ends; 0 is never."""
    environment: str | None = None
    """A name."""
    maximum_seconds: float | None = None
    """Seconds after which it ends whatever goes on."""
    deadline_seconds: float | None = None
    """How long to wait for a sandbox."""


class MappedPort(msgspec.Struct, rename="camel"):
    """A port in the sandbox, and where it can be connected to."""

    exposed_port: int
    host_address: str


class RunnerAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """A lease; times are seconds since 1970."""

    runner_id: str
    mapped_ports: list[MappedPort]
    environment: str
    generation: int
    created_at: float
    active_at: float
    expires_at: float | None
    inactivity_seconds: float | None


class RunnerList(msgspec.Struct):
    """Leases."""

    runners: list[RunnerAnswer]


def to_answer(runner: Runner) -> RunnerAnswer:
    """A runner's lease as clients get it."""
    return lease_answer(runner.lease)


def lease_answer(lease: Lease) -> RunnerAnswer:
    """A lease as clients get it."""
    return RunnerAnswer(
        runner_id=lease.runner_id,
        mapped_ports=[
            MappedPort(each.exposed_port, f"{each.host}:{each.port}") for each in lease.ports
        ],
        environment=lease.environment,
        generation=lease.generation,
        created_at=lease.created_at,
        active_at=lease.active_at,
        expires_at=lease.expires_at,
        inactivity_seconds=lease.inactivity_seconds,
    )


async def _create(call: Call) -> web.StreamResponse:
    asked: RunnerRequest = call.body
    with making_a_runner(call):
        runner = await call.services.runners.create(
            # (Those that are derived for graders and for less room are nobody's to claim.)
            call.services.environments.get(_environment(asked)).name,
            owner=call.caller.token_id,
            inactivity_seconds=seconds(asked.inactivity_timeout, "inactivityTimeout"),
            most_seconds=seconds(asked.maximum_seconds, "maximumSeconds"),
            deadline_seconds=deadline(asked.deadline_seconds, call),
        )
    return json(to_answer(runner))


def _environment(asked: RunnerRequest) -> str:
    if asked.environment is not None:
        return asked.environment
    number = asked.execution_environment_id or 0
    if not -(2**63) <= number < 2**63:
        raise InvalidInput("executionEnvironmentId is too large")
    return str(number)


async def _all(call: Call) -> web.StreamResponse:
    owner, forwarder = call.caller.owner, call.services.forwarder
    if forwarder is None:
        leases = [runner.lease for runner in call.services.runners.all(owner=owner)]
    else:
        leases = await forwarder.servers.leases(owner)
    return json(RunnerList([lease_answer(lease) for lease in leases]))


async def _one(call: Call) -> web.StreamResponse:
    return json(to_answer(call.runner))


async def _delete(call: Call) -> web.StreamResponse:
    await call.services.runners.delete(call.runner.lease.runner_id)
    return empty()


async def _reset(call: Call) -> web.StreamResponse:
    return json(to_answer(await call.services.runners.reset(call.runner.lease.runner_id)))


ROUTES: Final = (
    Route(
        method="POST",
        path="/runners",
        handler=_create,
        summary="Lease a sandbox: a runner",
        request=RunnerRequest,
        responses={200: RunnerAnswer},
        problems=(404, 429, 500, 503),
        poseidon=True,
    ),
    Route(
        method="GET",
        path="/runners",
        handler=_all,
        summary="The leases of this token",
        responses={200: RunnerList},
    ),
    Route(
        method="DELETE",
        path="/runners/{runner_id}",
        handler=_delete,
        summary="End a lease and its sandbox",
        responses={204: None},
        poseidon=True,
    ),
    Route(
        method="GET",
        path="/runners/{runner_id}",
        handler=_one,
        summary="A lease",
        responses={200: RunnerAnswer},
    ),
    Route(
        method="POST",
        path="/runners/{runner_id}/reset",
        handler=_reset,
        summary="Go on with a fresh sandbox under the same id; the generation grows",
        responses={200: RunnerAnswer},
        problems=(500, 503),
    ),
)
