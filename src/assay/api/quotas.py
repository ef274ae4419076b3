"""How much one token may have at one time, and how long it waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from assay.api.route import Call
from assay.domain.errors import InvalidInput, QuotaExceeded
from assay.runners import RUN, State
from assay.storage.records import NOTHING, Held

_DEADLINE_MOST: Final = 600.0


def deadline(asked: float | None, call: Call) -> float:
    """How many seconds a request waits for a sandbox; 0 is not at all. Raises InvalidInput."""
    if asked is None:
        return call.services.settings.claim_seconds
    if not 0 <= asked <= _DEADLINE_MOST:
        raise InvalidInput(f"deadlineSeconds is from 0 to {_DEADLINE_MOST:,.0f}")
    return asked


@contextmanager
def making_a_runner(call: Call) -> Iterator[None]:
    """Count one more runner while it is made. Raises QuotaExceeded."""
    caller, making = call.caller, call.services.making
    owner, most = caller.token_id, caller.most_runners
    if most is not None:
        held = len(call.services.runners.all(owner=owner)) + making[owner]
        held += _elsewhere(call).runners
        if held >= most:
            raise QuotaExceeded(f"this token may have {most} runners at one time, and has them")
    making[owner] += 1
    try:
        yield
    finally:
        making[owner] -= 1


@contextmanager
def running(call: Call) -> Iterator[None]:
    """Count one more program while a request waits for its end. Raises QuotaExceeded."""
    require_execution(call)
    owner, counts = call.caller.token_id, call.services.running
    counts[owner] += 1
    try:
        yield
    finally:
        counts[owner] -= 1


def _elsewhere(call: Call) -> Held:
    """What the caller's token has at other servers."""
    forwarder = call.services.forwarder
    return NOTHING if forwarder is None else forwarder.servers.others_hold(call.caller.token_id)


def require_execution(call: Call) -> None:
    """Raise QuotaExceeded when the token has as many executions as it may."""
    caller = call.caller
    most, owner = caller.most_executions, caller.token_id
    if most is None:
        return
    now = call.services.running[owner] + _elsewhere(call).executions
    now += sum(
        each.state is State.RUNNING and each.mode != RUN  # which is counted by its request
        for runner in call.services.runners.all(owner=owner)
        for each in runner.executions()
    )
    if now >= most:
        raise QuotaExceeded(f"this token may have {most} executions at one time, and has them")
