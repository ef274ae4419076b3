"""What the host may ask of an execution: each handler answers whether that can be done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from assay.agent import protocol as wire
from assay.domain.facts import KilledBy
from assay.drivers.fake.execution import FakeExecution


def _release(execution: FakeExecution, payload: bytes) -> bool:
    return not payload and execution.facts is not None and execution.exit_sent


def _signal(execution: FakeExecution, payload: bytes) -> bool:
    number = wire.to_number(payload)
    if not 1 <= number <= 64:
        raise wire.violation(f"signal {number}")
    execution.signal(number)
    return True


def _resize(execution: FakeExecution, payload: bytes) -> bool:
    execution.resize(*wire.to_size(payload))
    return True


def _cancel(execution: FakeExecution, _: bytes) -> bool:
    if execution.running:
        execution.kill(KilledBy.CANCEL)
    return True


def _attach(execution: FakeExecution, payload: bytes) -> bool:
    offset = wire.to_number(payload)
    if not execution.output.kept <= offset <= execution.output.read:
        return False
    execution.attached = True
    execution.sent = offset
    execution.exit_sent = False
    execution.window_due = execution.input.streamed
    return True


def _acknowledge(execution: FakeExecution, payload: bytes) -> bool:
    offset = wire.to_number(payload)
    if offset > execution.sent:
        return False
    execution.output.acknowledge(offset)
    return True


def _input(execution: FakeExecution, payload: bytes) -> bool:
    offset, data = wire.to_input(payload)
    received = execution.input.received
    end = offset + len(data)
    if not execution.input.streamed or offset > received or end > execution.input.window:
        return False
    if end > received:
        execution.take_input(data[received - offset :])
    return True


def _end(execution: FakeExecution, payload: bytes) -> bool:
    if wire.to_number(payload) != execution.input.received:
        return False
    execution.end_input()
    return True


HANDLERS: Final[dict[int, Callable[[FakeExecution, bytes], bool]]] = {
    wire.RELEASE: _release,
    wire.SIGNAL: _signal,
    wire.RESIZE: _resize,
    wire.CANCEL: _cancel,
    wire.ATTACH: _attach,
    wire.ACK: _acknowledge,
    wire.INPUT: _input,
    wire.END: _end,
}
