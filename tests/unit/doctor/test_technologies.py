"""What is said of technologies that are not there, or of engines that only seem to be."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from assay.bootstrap.technologies import look_at_technologies
from assay.config import read_settings
from assay.doctor.checks.technologies import technologies
from assay.doctor.facts import Machine
from assay.doctor.findings import Finding, Mark

NAMES = [
    "crun",
    "runc",
    "runsc",
    "lxc",
    "docker",
    "podman",
    "qemu",
    "firecracker",
    "kata",
    "nomad",
    "kubernetes",
    "nodes",
]


def findings(variables: Mapping[str, str]) -> dict[str, list[Finding]]:
    settings = read_settings(variables=variables, configuration=Path("/nonexistent"))
    found: dict[str, list[Finding]] = {name: [] for name in NAMES}
    for each in technologies(Machine(technologies=look_at_technologies(settings))):
        found[each.check].append(each)
    return found


@contextlib.contextmanager
def listening(path: Path, answer: bytes | None) -> Iterator[str]:
    """Something at a socket; None: it accepts and says nothing."""
    over = threading.Event()
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                if answer is None:
                    over.wait()
                else:
                    connection.recv(1024)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            over.set()
            thread.join()


def test_each_technology_that_is_not_there_comes_with_the_way_to_get_it(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nothing")
    variables = {f"ASSAY_{name.upper()}": nowhere for name in NAMES[:4] + NAMES[6:8]}
    engines = {"DOCKER_HOST": f"unix://{nowhere}", "CONTAINER_HOST": f"unix://{nowhere}"}
    found = findings({**variables, **engines})
    for name in NAMES:
        assert found[name][0].mark is Mark.NOTE, name
        assert found[name][0].remedy, name
        assert found[name][0].remedy not in found[name][0].summary
    assert found["runsc"][0].remedy == "apt-get install runsc"
    assert found["docker"][0].remedy.endswith("systemctl start docker")


def test_an_engine_that_answers_lacks_nothing(tmp_path: Path) -> None:
    with listening(tmp_path / "s", b"HTTP/1.0 200 OK\r\n\r\nOK") as address:
        assert findings({"DOCKER_HOST": address})["docker"][0].mark is Mark.OK


def test_an_engine_that_hangs_keeps_nobody_waiting(tmp_path: Path) -> None:
    with listening(tmp_path / "s", None) as address:
        started = time.monotonic()
        [found] = findings({"CONTAINER_HOST": address})["podman"]
        assert time.monotonic() - started < 5.0
    assert "does not answer" in found.summary
    assert found.remedy == "systemctl restart podman.socket"


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.0 404 no\r\n\r\n", b"\0" * 64])
def test_what_listens_and_is_no_engine_is_said(answer: bytes, tmp_path: Path) -> None:
    with listening(tmp_path / "s", answer) as address:
        assert "is no engine" in findings({"DOCKER_HOST": address})["docker"][0].summary


def test_an_engine_of_another_machine_is_asked_for_who_wants_it_only() -> None:
    [found] = findings({"DOCKER_HOST": "tcp://192.0.2.1:2376"})["docker"]
    assert "assay doctor --driver docker" in found.summary


def test_a_nomad_of_no_address_is_a_problem_of_nomads_alone() -> None:
    [found] = findings({"NOMAD_ADDR": "garbage"})["nomad"]
    assert "no address of a Nomad" in found.summary
    assert found.remedy
