"""Bytes from an agent, cut into frames in any way, and every frame's payload decoded."""

from __future__ import annotations

from collections.abc import Iterator

from assay.agent import messages
from assay.agent import protocol as wire
from assay.domain.errors import ProtocolViolation
from assay.domain.facts import Facts, Source

DECODERS = {
    wire.READY: messages.Ready.decode,
    wire.REFUSED: messages.to_refusal,
    wire.PONG: wire.to_number,
    wire.EXIT: lambda payload: messages.to_facts(payload, kernel=Source.HOST),
    wire.FAILED: messages.to_refusal,
    wire.OUTPUT: wire.to_output,
    wire.WINDOW: wire.to_window,
}


def fuzz(data: bytes) -> None:
    """The first byte says how the others are cut; however that is, the frames are the same."""
    if not data:
        return
    size, data = data[0] + 1, data[1:]
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    found, whole = list(frames(pieces)), list(frames([data]))
    assert found == whole, "frames depend on how the stream is cut"
    encoded = b"".join(wire.frame(*frame) for frame in found)
    assert data.startswith(encoded), "frames that were not sent"
    for frame in found:
        decode(frame)


def frames(pieces: list[bytes]) -> Iterator[wire.Frame]:
    decoder = wire.FrameDecoder(wire.TO_HOST)
    try:
        for piece in pieces:
            yield from decoder.feed(piece)
    except ProtocolViolation:
        return


def decode(frame: wire.Frame) -> None:
    try:
        read = DECODERS.get(frame.type, wire.fields)(frame.payload)
    except ProtocolViolation:
        return
    if isinstance(read, messages.Ready):
        numbers = [known.number for known in read.known]
        assert len(set(numbers)) == len(numbers)
        assert all(0 <= known.output_end - known.output_start <= 2**20 for known in read.known)
    elif isinstance(read, Facts):
        assert (read.exit_code is None) != (read.signal is None)
        assert 0 <= (read.exit_code or 0) <= 255
        assert len(read.start_step or "") <= 16
