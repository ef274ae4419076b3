"""Bytes from the other side of the link, cut into frames in any way, and every frame decoded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from assay.domain.errors import AssayError, InvalidInput, ProtocolViolation, Unavailable
from assay.driver.port import RootFilesystem
from assay.link.frames import Frames, frame
from assay.link.messages import (
    Answer,
    Create,
    Failed,
    Hello,
    Request,
    Welcome,
    decode,
    decode_first,
    encode,
    raised,
)
from assay.link.spec import to_spec, to_wish

MOST = 4096
ROOT = RootFilesystem(digest="none", path=Path("/"))


def fuzz(data: bytes) -> None:
    """The first byte says how the others are cut; however that is, the frames are the same."""
    if not data:
        return
    size, data = data[0] + 1, data[1:]
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    found, whole = list(frames(pieces)), list(frames([data]))
    assert found == whole, "frames depend on how the stream is cut"
    assert data.startswith(b"".join(map(frame, found))), "frames that were not sent"
    for content in found:
        try_all(content)


def frames(pieces: list[bytes]) -> Iterator[bytes]:
    reader = Frames(MOST)
    try:
        for piece in pieces:
            yield from reader.feed(piece)
    except ProtocolViolation:
        return


def try_all(content: bytes) -> None:
    for kind in (Hello, Welcome | Failed):
        try:
            said = decode_first(content, kind)
        except (ProtocolViolation, Unavailable):
            continue
        assert decode_first(encode(said), kind) == said
    for kind in (Request, Answer):
        try:
            said = decode(content, kind)
        except ProtocolViolation:
            continue
        assert decode(encode(said), kind) == said
        if isinstance(said, Failed):
            assert isinstance(raised(said), AssayError)
        if isinstance(said, Create):
            try_wish(said)


def try_wish(said: Create) -> None:
    try:
        spec = to_spec(said.wish, ROOT)
    except InvalidInput:
        return
    assert to_wish(spec, said.wish.root) == said.wish
