"""An execution in one call: its input in, its output out."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from assay.agent.execution import Completed
from assay.domain.command import Command
from assay.domain.errors import AssayError
from assay.domain.facts import Facts, KilledBy
from assay.domain.outcome import classify
from assay.runners.attachment import Attachment
from assay.runners.values import Ended, Output


async def collect(
    attachment: Attachment, command: Command, stdin: bytes, *, most: int
) -> Completed:
    """Feed it and take its output, of which more than `most` bytes end it."""
    collected = {"stdout": bytearray(), "stderr": bytearray()}
    left, over, facts = most, False, Facts(lost="nothing is known of its end")
    feeding = asyncio.create_task(_feed(attachment, stdin)) if command.stdin else None
    try:
        async for event in attachment.events():
            if isinstance(event, Output):
                collected[event.stream] += event.data[:left]
                over = over or len(event.data) > left
                left = max(0, left - len(event.data))
                attachment.acknowledge(event.offset + len(event.data))
                if over:
                    await attachment.cancel()
            elif isinstance(event, Ended):
                facts = event.facts
    finally:
        if feeding is not None:
            feeding.cancel()
            await asyncio.wait((feeding,))
    if over and facts.lost is None:
        facts = replace(facts, killed_by=KilledBy.OUTPUT)
    return Completed(
        stdout=bytes(collected["stdout"]),
        stderr=bytes(collected["stderr"]),
        facts=facts,
        outcome=classify(facts, command.limits),
        first_output_seconds=attachment.first_output_seconds,
    )


async def _feed(attachment: Attachment, stdin: bytes) -> None:
    with contextlib.suppress(AssayError):  # what happens to it shows in its events
        await attachment.write(stdin)
        await attachment.end_input()
