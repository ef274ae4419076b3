"""What is said to systemd, on a socket as it makes one."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from assay.bootstrap.systemd import inherited_socket, notify, watchdog_seconds


@pytest.mark.parametrize("abstract", [False, True])
def test_states_are_sent_to_the_socket_that_systemd_names(tmp_path: Path, abstract: bool) -> None:
    name = f"@{tmp_path}/n" if abstract else f"{tmp_path}/n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name.replace("@", "\0"))
        systemd.settimeout(5)
        notify("READY=1", {"NOTIFY_SOCKET": name})
        assert systemd.recv(100) == b"READY=1"


def test_without_systemd_nothing_happens() -> None:
    notify("READY=1", {})
    notify("READY=1", {"NOTIFY_SOCKET": "/nowhere"})
    notify("READY=1", {"NOTIFY_SOCKET": "nonsense"})


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_fed_if_it_is_ours(variables: dict[str, str], seconds: float) -> None:
    assert watchdog_seconds(variables) == seconds


def test_a_socket_that_is_not_for_us_is_left_alone() -> None:
    assert inherited_socket({}) is None
    assert inherited_socket({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) is None
    assert inherited_socket({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2"}) is None
