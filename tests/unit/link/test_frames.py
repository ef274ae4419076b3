"""Frames and messages: what one side says is what the other reads, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.domain.devices import Device
from assay.domain.errors import AssayError, InvalidInput, ProtocolViolation, Unavailable
from assay.domain.limits import SandboxLimits
from assay.driver.port import RootFilesystem, SandboxSpec, Secret
from assay.link.frames import Frames, frame
from assay.link.messages import (
    Answer,
    Control,
    Create,
    Hello,
    Request,
    Welcome,
    decode,
    decode_first,
    encode,
    failed,
    raised,
)
from assay.link.spec import to_spec, to_wish


@given(st.lists(st.binary(max_size=50)), st.integers(1, 20))
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    contents: list[bytes], size: int
) -> None:
    sent = b"".join(map(frame, contents))
    reader = Frames(50)
    cut = [sent[start : start + size] for start in range(0, len(sent), size)]
    assert [found for piece in cut for found in reader.feed(piece)] == contents


def test_a_frame_that_is_too_long_is_refused_before_it_has_come() -> None:
    assert list(Frames(10).feed(frame(bytes(10)))) == [bytes(10)]
    with pytest.raises(ProtocolViolation, match="11 bytes"):
        list(Frames(10).feed(frame(bytes(11))[:4]))


@given(st.binary(max_size=200))
def test_what_is_no_message_is_a_violation_and_nothing_else(content: bytes) -> None:
    for kind in (Request, Answer):
        with pytest.raises(ProtocolViolation):
            decode(content, kind)
    with pytest.raises(ProtocolViolation):
        decode_first(content, Hello)


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"destroy","number":1,"sandbox":"../../etc"}',
        '{"type":"destroy","number":-1,"sandbox":"a"}',
        '{"type":"destroy","number":1,"sandbox":""}',
        '{"type":"undo","number":1,"ticket":"../x"}',
        '{"type":"shutdown","number":1}',
        "[" * 100_000,
    ],
)
def test_what_could_mean_harm_is_no_request(text: str) -> None:
    with pytest.raises(ProtocolViolation):
        decode(text.encode(), Request)


def test_another_version_is_said_so_whatever_else_it_says() -> None:
    with pytest.raises(Unavailable, match=r"version 2 .* this one 1.*same release"):
        decode_first(b'{"version":2,"new":true}', Hello)
    hello = Hello(version=1, scope="0" * 16, purpose=Control())
    assert decode_first(encode(hello), Hello) == hello
    assert decode_first(b'{"type":"welcome","version":1,"new":true}', Welcome) == Welcome(version=1)


def test_a_wish_is_what_the_node_makes() -> None:
    spec = SandboxSpec(
        root=RootFilesystem(
            digest="x", path=Path("/there"), environment={"A": "b"}, user=5, group=6,
            working_folder="/srv", owners=True,
        ),
        secret=Secret(bytes(range(32))),
        limits=SandboxLimits(memory_bytes=2**30, processes=7, cpus=0.5, disk_bytes=8, inodes=9),
        devices=(Device(name="/dev/ttyUSB0"),),
        unclaimed_seconds=60,
        labels={"suite": "1"},
    )  # fmt: skip
    request = Create(number=1, ticket="0" * 32, wish=to_wish(spec, "1" * 32))
    wish = decode(encode(request), Request).wish
    made = to_spec(wish, RootFilesystem(digest="y", path=Path("/here")))
    assert made.secret.reveal() == spec.secret.reveal()
    assert (made.root.digest, made.root.path) == ("y", Path("/here"))
    assert (made.root.user, made.root.group, made.root.owners) == (5, 6, True)
    assert (made.limits, made.devices, made.labels) == (spec.limits, spec.devices, spec.labels)


def test_limits_that_make_no_sense_are_refused() -> None:
    root = RootFilesystem(digest="x", path=Path("/"))
    wish = to_wish(SandboxSpec(root=root, secret=Secret(bytes(32))), None)
    wrong = encode(Create(number=1, ticket="0" * 32, wish=wish)).replace(
        b'"processes":64', b'"processes":0'
    )
    with pytest.raises(InvalidInput, match="processes"):
        to_spec(decode(wrong, Request).wish, root)


def test_errors_are_the_same_on_the_other_side_and_strange_ones_a_drivers() -> None:
    back = raised(failed(InvalidInput("no", detail="why")))
    assert (type(back), back.message, back.detail) == (InvalidInput, "no", "why")
    assert raised(failed(AssayError("odd"))).code == "driver_error"
