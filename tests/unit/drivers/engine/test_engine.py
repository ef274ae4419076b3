"""What an engine is asked, and what is made of answers of one that is broken or malicious."""

from __future__ import annotations

import contextlib
import socket
import tarfile
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from assay.bootstrap.drivers import is_driver
from assay.config import read_settings
from assay.domain.errors import (
    AssayError,
    CreateTimeout,
    DiskFull,
    DriverUnavailable,
    InvalidInput,
    RuntimeFailed,
)
from assay.drivers.engine import DOCKER, EngineDriver
from assay.drivers.engine.container import Plan, configuration
from assay.drivers.engine.engine import Engine, NotThere
from assay.drivers.engine.seed import seed


@contextlib.contextmanager
def answering(folder: Path, *answers: bytes | None) -> Iterator[Engine]:
    """Something that says this, one after the other, whatever it is asked; None: nothing, and it
    goes on holding.
    """
    path = folder / "socket"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    over = threading.Event()

    def serve() -> None:
        with contextlib.suppress(OSError):
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    if answer is None:
                        over.wait()
                    else:
                        connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Engine(DOCKER, path, seconds=0.3)
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)  # nobody asks any more
        thread.join()
        listener.close()


def said(status: int, body: bytes, *more: bytes) -> bytes:
    head = (b"HTTP/1.1 %d x" % status, b"Content-Length: %d" % len(body), *more)
    return b"\r\n".join((*head, b"", body))


def test_an_engine_that_does_not_answer_is_an_error_in_time(tmp_path: Path) -> None:
    with answering(tmp_path, None) as engine, pytest.raises(CreateTimeout, match="restart docker"):
        engine.version()


def test_where_no_engine_listens_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(DriverUnavailable, match=r"apt-get install docker\.io && systemctl start"):
        Engine(DOCKER, tmp_path / "nothing").version()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", DriverUnavailable),
        (b"\0\1\2 what?\r\n\r\n", DriverUnavailable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort", DriverUnavailable),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (17 << 20), DriverUnavailable),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000 + b"\r\n\r\n", DriverUnavailable),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", DriverUnavailable),
        (said(500, b'{"message":"write /x: no space left on device"}'), DiskFull),
        (said(404, b'{"message":"no such container"}'), NotThere),
        (said(409, b"[[[["), RuntimeFailed),
        (said(500, b'{"message":{"a":1}}'), RuntimeFailed),
    ],
)
def test_every_broken_answer_is_one_of_our_errors(
    tmp_path: Path, answer: bytes, error: type[AssayError]
) -> None:
    with answering(tmp_path, answer) as engine, pytest.raises(error):
        engine.version()


def test_an_answer_that_comes_before_the_end_of_what_is_sent_is_read(tmp_path: Path) -> None:
    full = said(500, b'{"message":"write /layer.tar: no space left on device"}')
    endless = (b"x" * 65536 for _ in range(1000))
    with answering(tmp_path, full) as engine, pytest.raises(DiskFull):
        engine.import_image("assay", endless)


def test_a_container_that_somebody_else_is_removing_is_asked_for_again(tmp_path: Path) -> None:
    busy = said(409, b'{"message": "removal is already in progress"}')
    with answering(tmp_path, busy, busy, said(204, b"")) as engine:
        engine.remove("assay")
    (tmp_path / "socket").unlink()
    with answering(tmp_path, busy, said(404, b'{"message": "no such container"}')) as engine:
        engine.remove("assay")


@pytest.mark.parametrize("body", [b"null", b"3", b"[]", b'"a"', b"not data", b""])
def test_an_answer_of_another_kind_says_nothing(tmp_path: Path, body: bytes) -> None:
    with answering(tmp_path, said(200, body)) as engine:
        assert engine.inspect("a") == {}


@pytest.mark.parametrize("body", [b"null", b"[3]", b"[{}]", b'[{"Names":null}]'])
def test_a_list_of_another_kind_names_no_container(tmp_path: Path, body: bytes) -> None:
    with answering(tmp_path, said(200, body)) as engine:
        assert set(engine.named("label", "value")) <= {""}


def test_a_container_has_no_more_than_its_agent_needs() -> None:
    plan = Plan(image="i", runtime="", parent="", devices=(), labels={"a": "b"})
    body = configuration(plan)
    confinement = body["HostConfig"]
    assert confinement["CapDrop"] == ["ALL"]
    assert confinement["CapAdd"] == ["DAC_OVERRIDE"]
    assert confinement["NetworkMode"] == "none"
    assert confinement["ReadonlyRootfs"] is True
    assert confinement["Memory"] == confinement["MemorySwap"] > 0
    assert confinement["PidsLimit"] > 0
    assert "no-new-privileges" in confinement["SecurityOpt"]
    assert not {"Binds", "Mounts", "Privileged", "PidMode"} & confinement.keys()
    assert confinement["Devices"] == []
    assert "Runtime" not in confinement
    assert body["User"] == "0:0"


def test_the_image_holds_a_program_and_a_pipe_for_its_plan(tmp_path: Path) -> None:
    lean = tmp_path / "lean"
    lean.write_bytes(b"program")
    image = seed(lean)
    assert image == seed(lean)
    with tarfile.open(fileobj=BytesIO(image.archive)) as archive:
        assert archive.getmember("plan").isfifo()
        program = archive.extractfile("lean")
        assert program is not None
        assert program.read() == b"program"
        assert {each.uid for each in archive} == {0}
    lean.write_bytes(b"another")
    assert seed(lean).tag != image.tag


@pytest.mark.parametrize("name", ["docker", "podman", "docker:crun", "docker:io.x.v2", "lean"])
def test_a_drivers_name_may_say_an_engines_runtime(name: str) -> None:
    assert is_driver(name)


@pytest.mark.parametrize(
    "name", ["docker:", "docker:../x", "docker:a b", "lean:crun", "docker:a:b", ":crun", "Docker"]
)
def test_other_names_are_no_drivers(name: str) -> None:
    assert not is_driver(name)


def test_an_engines_own_variable_says_where_it_listens_if_no_other_does() -> None:
    variables = {"DOCKER_HOST": "unix:///a", "CONTAINER_HOST": "unix:///b"}
    nowhere = Path("/nonexistent")
    settings = read_settings(variables=variables, configuration=nowhere)
    assert dict(settings.runtimes) == {"docker": "unix:///a", "podman": "unix:///b"}
    ours = {**variables, "ASSAY_DOCKER": "unix:///c"}
    assert read_settings(variables=ours, configuration=nowhere).runtimes["docker"] == "unix:///c"
    far = {"DOCKER_HOST": "tcp://h:1", "DOCKER_CERT_PATH": "/c"}
    found = read_settings(variables=far, configuration=nowhere).runtimes["docker"]
    assert found == "tcp://h:1?certificates=/c"


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:2376", "ssh://host", "unix://x", "/a"])
def test_an_engine_of_another_machine_is_refused(endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no socket of this machine"):
        EngineDriver(
            product=DOCKER, endpoint=endpoint, state=tmp_path, agent=tmp_path, lean=tmp_path
        )
