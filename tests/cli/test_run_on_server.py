"""`assay run --server`: what users see is what they see without it."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Assay, finish, read_until

sys.path.insert(0, str(Path(__file__).parent.parent / "sdk"))

from real_server import SECRET, Server

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    try:
        yield made
    finally:
        made.stop()
    assert list(made.state.glob("*/sandboxes/*")) == []


@pytest.fixture
def remote(assay: Assay, server: Server) -> Assay:
    """The command line, which the variables tell of the server."""
    assay.variables |= {"ASSAY_SERVER_URL": server.url, "ASSAY_TOKEN": SECRET}
    return assay


def test_a_program_runs_as_if_it_ran_here(remote: Assay) -> None:
    remote.write("double.py", "import sys\nprint(int(input()) * 2, *sys.argv[1:])\nsys.exit(3)\n")
    ended = remote("run", "double.py", "one", "-x", stdin=b"21\n")
    assert (ended.stdout, ended.stderr, ended.status) == (b"42 one -x\n", b"", 3)
    assert remote.sandboxes() == [], "none is made here"


def test_a_program_is_compiled_there_first(remote: Assay) -> None:
    remote.write("hello.c", '#include <stdio.h>\nint main() { puts("compiled"); }\n')
    assert remote("run", "hello.c").stdout == b"compiled\n"
    remote.write("wrong.c", "int main() { return x; }\n")
    ended = remote("run", "wrong.c")
    assert ended.status == 1
    assert b"error" in ended.stderr


def test_json_is_the_same(remote: Assay) -> None:
    remote.write("hello.py", "print('hi')\n")
    found = remote("run", "--json", "hello.py").json
    assert (found["outcome"], found["stdout"], found["driver"]) == ("exited", "hi\n", "server")
    assert found["measurements"]["wall_ns"]["source"] == "agent"


def test_files_lie_beside_the_program_and_streams_are_binary(remote: Assay) -> None:
    data = bytes(range(256)) * 40
    folder = remote.write("data/in.bin", data).parent
    ended = remote("run", "--file", folder, "--", "cat", "data/in.bin", "-", stdin=data)
    assert ended.stdout == data + data


def test_a_limit_that_is_passed_has_its_status(remote: Assay) -> None:
    ended = remote("run", "--time", "0.5", "--", "sleep", "5")
    assert ended.status == 124
    assert "passed its time limit of 0.5 s" in ended.complaint


def test_what_cannot_be_started_has_its_status(remote: Assay) -> None:
    ended = remote("run", "--", "no-such-program")
    assert ended.status == 127
    assert "no-such-program" in ended.complaint


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["-e", "cobol", "--", "true"], 110, "cobol"),
        (["--memory", "99", "--", "true"], 2, "--memory"),
        (["--image", "debian", "--", "true"], 2, "--image"),
        (["--token", "wrong-but-long-enough-for-one", "--", "true"], 106, "token"),
        (["--server", "http://127.0.0.1:1", "--", "true"], 105, "no server answers"),
        (["--server", "nonsense", "--", "true"], 2, "no address"),
        (["--time", "100000", "--", "true"], 111, "wall_seconds"),
    ],
)
def test_failures_have_one_line_and_their_status(
    remote: Assay, arguments: list[str], status: int, complaint: str
) -> None:
    ended = remote("run", *arguments)
    assert ended.status == status
    assert complaint in ended.complaint
    assert SECRET not in ended.complaint


def test_ctrl_c_goes_to_the_program(remote: Assay) -> None:
    process = remote.start(
        "run",
        "--",
        "bash",
        "-c",
        "trap 'echo caught; exit 5' INT; echo on; while sleep 0.05; do :; done",
    )
    read_until(process, b"on\n")
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert (ended.stdout, ended.status) == (b"caught\n", 5)


def test_a_program_goes_on_while_the_server_is_killed_and_started_again(
    remote: Assay, server: Server
) -> None:
    script = "for i in $(seq 1 60); do echo $i; read -t 0.1; done; exit 7"
    process = remote.start("run", "--time", "60", "--", "bash", "-c", script)
    read_until(process, b"10\n")
    server.kill()
    again = threading.Thread(target=lambda: (time.sleep(1), server.start()))
    again.start()
    ended = finish(process)
    again.join()
    shown = ended.stdout.split()
    assert shown[-1] == b"60"
    assert [int(line) for line in shown] == list(range(int(shown[0]), 61))
    assert ended.status == 7


def test_without_the_client_it_says_how_to_get_it(assay: Assay, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['assay_client'] = None\n")
    assay.variables |= {"PYTHONPATH": str(tmp_path)}
    ended = assay("run", "--server", "http://127.0.0.1:1", "--", "true")
    assert ended.status == 113
    assert "pip install 'assay[client]'" in ended.complaint
