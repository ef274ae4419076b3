"""Firecracker can't run where this is tested: its requests are compared with what its published
description (firecracker.yaml of release 1.9) says of them, in our own words."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from assay.domain.errors import ConnectionLost, RuntimeFailed, RuntimeMissing
from assay.drivers.microvm import Firecracker
from assay.drivers.microvm.firecracker import (
    Request,
    _pass_to,
    ask,
    to_boot,
    to_keep,
    to_restore,
)
from assay.drivers.microvm.guest_kernel import find_kernel, program_of
from assay.drivers.microvm.machine import Machine


@dataclass(frozen=True)
class Body:
    """What a request holds: by name the type, or the words that it may be; which are needed."""

    fields: dict[str, Any]
    needed: frozenset[str]


def needs(*names: str, **fields: Any) -> Body:
    return Body(fields, frozenset(names))


MEMORY = needs(
    "backend_type", "backend_path", backend_type={"File", "Uffd"}, backend_path=str
)  # fmt: skip
KNOWN = {
    ("PUT", "/machine-config"): needs(
        "vcpu_count", "mem_size_mib", vcpu_count=range(1, 33), mem_size_mib=int, smt=bool,
        track_dirty_pages=bool, huge_pages={"None", "2M"},
    ),
    ("PUT", "/boot-source"): needs(
        "kernel_image_path", kernel_image_path=str, initrd_path=str, boot_args=str
    ),
    ("PUT", "/drives/image"): needs(
        "drive_id", "is_root_device", drive_id=str, is_root_device=bool, is_read_only=bool,
        path_on_host=str, cache_type={"Unsafe", "Writeback"}, io_engine={"Sync", "Async"},
    ),
    ("PUT", "/vsock"): needs(
        "guest_cid", "uds_path", guest_cid=range(3, 2**32), uds_path=str
    ),
    ("PUT", "/actions"): needs(
        "action_type", action_type={"FlushMetrics", "InstanceStart", "SendCtrlAltDel"}
    ),
    ("PATCH", "/vm"): needs("state", state={"Paused", "Resumed"}),
    ("PUT", "/snapshot/create"): needs(
        "mem_file_path", "snapshot_path", mem_file_path=str, snapshot_path=str,
        snapshot_type={"Full", "Diff"},
    ),
    ("PUT", "/snapshot/load"): needs(
        "snapshot_path", "mem_backend", snapshot_path=str, mem_backend=MEMORY, resume_vm=bool,
        enable_diff_snapshots=bool,
    ),
}  # fmt: skip
"""`mem_file_path` of a load is deprecated, and either it or `mem_backend` has to be there."""
BEFORE_START = {"/machine-config", "/boot-source", "/drives/image", "/vsock", "/snapshot/load"}
AFTER_START = {"/vm", "/snapshot/create"}


def wrong(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Body):
        return not isinstance(value, dict) or bool(complaints(value, wanted))
    if isinstance(wanted, type):
        return type(value) is not wanted
    return value not in wanted


def complaints(body: Any, known: Body) -> list[str]:
    found = [f"{name} is missing" for name in known.needed - set(body)]
    found += [f"there is no {name}" for name in set(body) - set(known.fields)]
    there = [name for name in body if name in known.fields]
    return found + [name for name in there if wrong(body[name], known.fields[name])]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(
        kernel=tmp_path, initrd=tmp_path, disk=tmp_path, memory_mib=160, processors=2
    )  # fmt: skip


def test_every_request_is_one_that_firecracker_describes(machine: Machine) -> None:
    for request in (*to_boot(machine), *to_keep(), *to_restore()):
        known = KNOWN[request.method, request.path]
        assert complaints(json.loads(json.dumps(dict(request.body))), known) == [], request


@pytest.mark.parametrize(
    "body",
    [{}, {"state": "paused"}, {"state": "Paused", "more": 1}, {"state": True}],
    ids=str,
)
def test_the_comparison_finds_what_is_wrong(body: dict[str, Any]) -> None:
    assert complaints(body, KNOWN["PATCH", "/vm"])


def test_requests_come_in_an_order_that_it_takes(machine: Machine) -> None:
    paths = [request.path for request in (*to_boot(machine), *to_keep())]
    start = paths.index("/actions")
    assert BEFORE_START.isdisjoint(paths[start:])
    assert AFTER_START.isdisjoint(paths[:start])
    assert paths.index("/vm") < paths.index("/snapshot/create")
    assert [request.path for request in to_restore()] == ["/snapshot/load"]  # of a fresh process


def test_a_machine_has_no_network_and_no_disk_that_it_can_write(machine: Machine) -> None:
    requests = {request.path: request.body for request in to_boot(machine)}
    assert not any("network" in path or "mmds" in path for path in requests)
    assert requests["/drives/image"]["is_read_only"] is True


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[socket.socket, list[bytes]]]:
    ours, its = socket.socketpair()
    heard: list[bytes] = []

    def serve() -> None:
        said = b""
        while not said.endswith(b"}") and not (said.startswith(b"CONNECT") and b"\n" in said):
            said += its.recv(65536)
        heard.append(said)
        its.sendall(answer)
        its.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield ours, heard
    finally:
        thread.join()
        ours.close()


PAUSE = Request(method="PATCH", path="/vm", body={"state": "Paused"})


def test_a_request_goes_out_as_json_over_http() -> None:
    with answering(b"HTTP/1.1 204 \r\nServer: Firecracker API\r\n\r\n") as (connection, heard):
        ask(connection, PAUSE)
    head, _, body = heard[0].partition(b"\r\n\r\n")
    assert head.startswith(b"PATCH /vm HTTP/1.1\r\n")
    assert b"Content-Type: application/json" in head
    assert json.loads(body) == {"state": "Paused"}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b'HTTP/1.1 400 \r\nContent-Length: 21\r\n\r\n{"fault_message":"x"}', "fault_message"),
        (b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "200"),
        (b"", ""),
        (b"garbage\r\n\r\n", ""),
    ],
    ids=str,
)
def test_a_refusal_says_what_was_refused_and_why(answer: bytes, told: str) -> None:
    with (
        answering(answer) as (connection, _),
        pytest.raises(RuntimeFailed, match="PATCH /vm") as error,
    ):
        ask(connection, PAUSE)
    assert told in error.value.detail


def test_a_vsock_is_asked_for_by_its_port() -> None:
    with answering(b"OK 1073741824\n") as (connection, heard):
        _pass_to(connection, 1025)
    assert heard == [b"CONNECT 1025\n"]


@pytest.mark.parametrize("answer", [b"", b"NO\n", b"OK x\n", b"x" * 100])
def test_a_vsock_that_nobody_listens_at_is_a_lost_connection(answer: bytes) -> None:
    with answering(answer) as (connection, _), pytest.raises(ConnectionLost):
        _pass_to(connection, 1025)


def test_what_is_missing_is_named_with_where_it_is_to_be_had() -> None:
    problems = Firecracker("firecracker-of-nowhere").problems()
    assert "firecracker-of-nowhere" in problems[0].summary
    assert "releases" in problems[0].remedy


def test_it_boots_the_program_that_is_packed_in_the_distributions_kernel() -> None:
    try:
        image = find_kernel("").image.read_bytes()
    except RuntimeMissing as error:
        pytest.fail(str(error)) if os.environ.get("CI") else pytest.skip(str(error))
    unpacked = program_of(image)
    assert unpacked.startswith(b"\x7fELF")
    assert len(unpacked) > len(image)
    assert program_of(unpacked) is unpacked
